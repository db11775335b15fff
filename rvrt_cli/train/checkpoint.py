"""Checkpoints: the whole state of a run in one safetensors file that appears whole or not at all.

Tensors carry the network's canonical names behind a prefix (``weights/``, ``ema/``, ``adam_m/``, ``adam_v/``), so
a checkpoint belongs to no framework. Everything else is one JSON record in the file's metadata.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from rvrt_cli.atomic import write_bytes
from rvrt_cli.errors import WeightsError
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.train.recipe import Recipe

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
    """Of the loop: best metric, seconds trained, data sources, model name."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"checkpoint-{step:08d}.safetensors"


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in ``folder``, oldest first."""
    return sorted(folder.glob("checkpoint-*.safetensors"))


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


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Errors: :class:`WeightsError` for a file that is missing, damaged or no checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"The checkpoint {path} cannot be read ({error}); remove it and resume from an older one."
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
        raise WeightsError(
            f"The checkpoint {path} is damaged ({error}); remove it and resume from an older one."
        ) from error


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest readable checkpoint of a run, or None where there is none.

    Files appear atomically, so an unreadable one was damaged later; an older one is used then.
    Errors: :class:`WeightsError` when there are checkpoints but none can be read.
    """
    problem: WeightsError | None = None
    for path in reversed(list_checkpoints(folder)):
        try:
            return load_checkpoint(path)
        except WeightsError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def prune_checkpoints(folder: Path, keep: int) -> None:
    """Remove all but the newest ``keep`` checkpoints."""
    for path in list_checkpoints(folder)[:-keep]:
        path.unlink(missing_ok=True)
