"""Checkpoints: the whole state of a run in one safetensors file that appears whole or not at all.

Tensors carry the network's canonical names behind a prefix (``weights/``, ``ema/``, ``adam_m/``, ``adam_v/``), so
a checkpoint belongs to no framework. Everything else is one JSON record in the file's metadata.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from rvrt_cli.errors import WeightsError
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.system.files import translate_write_errors, write_bytes
from rvrt_cli.train.recipe import Recipe


class DamagedCheckpointError(WeightsError):
    """A checkpoint that was changed after it was written; an older one may be intact."""


FORMAT = 1
_KEY = "rvrt_checkpoint"
_PREFIXES = ("weights", "ema", "adam_m", "adam_v")

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class EngineState:
    """What an engine needs to go on: float32 arrays by canonical name, and counters."""

    weights: Tensors
    ema: Tensors
    """Empty without moving average."""
    adam_m: Tensors
    adam_v: Tensors
    updates: int = 0
    """Updates that the optimizer has made (steps less the skipped ones): its bias correction."""
    flow_updates: int = 0
    """The same for the optical-flow network, which starts later."""
    scale: float = 65536.0
    """Of the loss under fp16."""
    scale_age: int = 0
    """Finite steps since the scale last changed."""
    skipped: int = 0
    """Steps skipped because of a non-finite gradient under fp16."""


@dataclass(frozen=True)
class Checkpoint:
    """A run after ``step`` steps."""

    step: int
    config: ModelConfig
    recipe: Recipe
    state: EngineState
    record: dict = field(default_factory=dict)
    """Of the loop: model, initial weights, training data, validation sets, best and last metrics, seconds trained."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"checkpoint-{step:08d}.safetensors"


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in ``folder``, oldest first."""
    return sorted(folder.glob("checkpoint-*.safetensors"))


def step_of(path: Path) -> int:
    """After how many steps the checkpoint at ``path`` was written, from its name."""
    return int(path.stem.rpartition("-")[2])


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically.

    Errors: :class:`rvrt_cli.errors.DiskFullError`, :class:`rvrt_cli.errors.OutputError`; older files stay as they are.
    """
    from safetensors.numpy import save

    state = checkpoint.state
    tensors = {
        f"{prefix}/{name}": np.ascontiguousarray(array, np.float32)
        for prefix in _PREFIXES
        for name, array in getattr(state, prefix).items()
    }
    counters = {f.name: getattr(state, f.name) for f in fields(state) if f.name not in _PREFIXES}
    record = {
        "format": FORMAT,
        "step": checkpoint.step,
        "config": json.loads(checkpoint.config.to_json()),
        "recipe": asdict(checkpoint.recipe),
        "counters": counters,
        "record": checkpoint.record,
    }
    write_bytes(path, save(tensors, {_KEY: json.dumps(record, sort_keys=True)}))


def is_checkpoint(path: Path) -> bool:
    """Whether ``path`` is a file with the state of a run; False for any other file, damaged ones too."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "numpy") as file:
            return _KEY in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Errors: :class:`DamagedCheckpointError`; :class:`WeightsError` for a file that cannot be read, of another version or no checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except OSError as error:
        raise WeightsError(f"The checkpoint {path} cannot be read: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise DamagedCheckpointError(
            f"The checkpoint {path} is damaged ({error}); remove it and resume from an older one."
        ) from error
    if _KEY not in metadata:
        raise WeightsError(f"{path} holds weights but no training state; use --init to start from them.")
    try:
        record = json.loads(metadata[_KEY])
        if record["format"] != FORMAT:
            raise WeightsError(
                f"{path} was written by another version of rvrt (format {record['format']}); resume with that one."
            )
        parts: dict[str, Tensors] = {prefix: {} for prefix in _PREFIXES}
        for name, array in tensors.items():
            prefix, _, rest = name.partition("/")
            parts[prefix][rest] = array
        known = {f.name for f in fields(EngineState)}
        counters = {name: value for name, value in record["counters"].items() if name in known}
        return Checkpoint(
            record["step"],
            ModelConfig.from_json(json.dumps(record["config"])),
            Recipe.from_json(json.dumps(record["recipe"])),
            EngineState(parts["weights"], parts["ema"], parts["adam_m"], parts["adam_v"], **counters),
            record["record"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedCheckpointError(
            f"The checkpoint {path} is damaged ({error}); remove it and resume from an older one."
        ) from error


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint of a run, or None where there is none.

    Files appear atomically, so a damaged one was damaged later; an older one is used then, and :func:`rename_damaged` moves
    the damaged ones out of the way. Errors: :class:`WeightsError` when there are checkpoints but none can be used.
    """
    problem: DamagedCheckpointError | None = None
    for path in reversed(list_checkpoints(folder)):
        try:
            return load_checkpoint(path)
        except DamagedCheckpointError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def newer_checkpoints(folder: Path, step: int) -> list[Path]:
    """Checkpoints of later steps: where ``step`` is that of :func:`load_latest`, the damaged ones."""
    return [path for path in list_checkpoints(folder) if step_of(path) > step]


def rename_damaged(path: Path) -> Path:
    """Rename a damaged checkpoint so that it is taken for one no more; → its new path."""
    target = path.with_name(f"{path.name}.damaged")
    with translate_write_errors(target):
        os.replace(path, target)
    return target


def prune_checkpoints(folder: Path, keep: int, newest: int) -> None:
    """Remove all but ``keep`` checkpoints: the one of step ``newest``, which was just written, and those before it."""
    written = checkpoint_path(folder, newest)
    others = [path for path in list_checkpoints(folder) if path != written]
    for path in others[: max(0, len(others) - (keep - 1))]:
        path.unlink(missing_ok=True)
