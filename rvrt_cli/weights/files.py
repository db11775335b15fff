"""Weight files: load any supported format under our names, checked against its preset; save as ``.safetensors``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rvrt_cli.errors import UsageError, WeightsError
from rvrt_cli.model.config import PRESETS, ModelConfig
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.system.files import write_bytes
from rvrt_cli.weights.names import canonical_tensors, compare, detect, differences, nearest_preset, related
from rvrt_cli.weights.raw import RawFile, read_bytes
from rvrt_cli.weights.read_ckpt import parse_ckpt
from rvrt_cli.weights.read_pth import ZIP_MAGIC, parse_pth
from rvrt_cli.weights.read_safetensors import parse_safetensors

CONFIG_KEY = "rvrt_config"
"""Metadata key under which our files hold their configuration as JSON."""

DTYPES: dict[str, type[np.floating]] = {"fp32": np.float32, "fp16": np.float16}


@dataclass(frozen=True)
class Weights:
    """A network's parameters: canonical name → float32 array, in the order of :func:`parameter_shapes`, all finite.

    ``metadata``: strings stored in the file (title, recipe, licence ...). ``sha256``: of the file, lower-case hex; empty for
    weights that come from no file. ``source``: format and naming scheme in words.
    """

    config: ModelConfig
    tensors: dict[str, np.ndarray]
    metadata: dict[str, str] = field(default_factory=dict)
    sha256: str = ""
    source: str = ""

    @property
    def preset(self) -> str:
        """The preset that the network belongs to: what it was trained as, where the file says so, else the nearest one.

        Its configuration may differ from today's preset of that name; the file's own is what runs.
        """
        trained_as = self.metadata.get("model", "")
        if trained_as in PRESETS and related(self.config, trained_as):
            return trained_as
        return nearest_preset(self.config)

    @property
    def parameter_count(self) -> int:
        """Number of learned values."""
        return sum(array.size for array in self.tensors.values())


def load_weights(path: Path) -> Weights:
    """Read a weight file in any supported format, told apart by content.

    Formats: ``.safetensors`` (ours, with the configuration; or with published names), PyTorch ``.pth`` (zip and legacy),
    MindSpore ``.ckpt``. No framework is needed and no pickle is executed. Published files are matched against the preset that
    their names and shapes belong to.

    Errors: :class:`WeightsError` naming the file and what is wrong: damaged, hostile, or a tensor that is missing, extra,
    misshapen or not finite.
    """
    path = Path(path)
    raw, sha256 = _read(path)
    try:
        if CONFIG_KEY in raw.metadata:
            config = ModelConfig.from_json(raw.metadata[CONFIG_KEY])
            shapes = parameter_shapes(config)
            compare(raw.tensors, shapes, config)
            tensors = {name: raw.tensors[name] for name in shapes}
            source = f"{raw.format}, rvrt names"
        else:
            config, scheme = detect(raw.tensors)
            tensors = canonical_tensors(raw.tensors, config, scheme)
            source = f"{raw.format}, {scheme} names"
    except WeightsError as error:
        raise WeightsError(f"The weight file {path} {_clause(str(error))}.") from error
    _check_values(path, tensors)
    metadata = {key: value for key, value in raw.metadata.items() if key != CONFIG_KEY}
    return Weights(config, tensors, metadata, sha256, source)


def read_raw(path: Path) -> RawFile:
    """Read a weight file in any supported format under its own names, without matching it against a preset."""
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[RawFile, str]:
    data = read_bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    suffix = path.suffix.lower()
    if data.startswith(ZIP_MAGIC):
        return parse_pth(path, data), sha256
    if suffix == ".safetensors" or data[8:9] == b"{":
        return parse_safetensors(path, data), sha256
    if data.startswith(b"\n") or suffix == ".ckpt":  # a protobuf whose first field is number 1
        return parse_ckpt(path, data), sha256
    if data.startswith(b"\x80") or suffix in (".pth", ".pt"):
        return parse_pth(path, data), sha256
    raise WeightsError(
        f"{path} is no weight file in a known format; give a .safetensors, .pth or .ckpt file."
    )


def _clause(sentence: str) -> str:
    """A message as the rest of a sentence that begins with the file's name."""
    text = sentence.rstrip(".")
    return text if text.startswith(("does not", "holds", "has ", "describes")) else f"cannot be used: {text}"


def _check_values(path: Path, tensors: dict[str, np.ndarray]) -> None:
    for name, array in tensors.items():
        if array.dtype != np.float32:
            raise WeightsError(
                f"Tensor {name!r} of {path} holds {array.dtype} instead of floating-point numbers."
            )
        if not np.isfinite(array).all():
            raise WeightsError(
                f"Tensor {name!r} of {path} holds NaN or infinite values; the training run diverged or the file is damaged."
            )


def save_weights(path: Path, weights: Weights, dtype: str = "fp32") -> str:
    """Write a ``.safetensors`` file with the configuration inside, atomically; → its SHA-256.

    ``dtype``: "fp32", or "fp16" for half the size. Errors: :class:`WeightsError` when the tensors do not belong to the
    configuration or a value does not fit fp16; :class:`UsageError` for another dtype or suffix.
    """
    from safetensors.numpy import save

    path = Path(path)
    if dtype not in DTYPES:
        raise UsageError(f"Unknown dtype {dtype!r}; choose fp32 or fp16.")
    if path.suffix.lower() != ".safetensors":
        raise UsageError(f"{path} must end in .safetensors, the format that rvrt writes.")
    try:
        compare(weights.tensors, parameter_shapes(weights.config), weights.config)
    except WeightsError as error:
        raise WeightsError(f"The weights for {path} {_clause(str(error))}.") from error
    with np.errstate(over="ignore"):
        arrays = {name: np.ascontiguousarray(array, DTYPES[dtype]) for name, array in weights.tensors.items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise WeightsError(
                f"Tensor {name!r} does not fit {dtype} or is not finite; {path} was not written."
            )
    data = save(arrays, {**weights.metadata, CONFIG_KEY: weights.config.to_json()})
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def summary(weights: Weights) -> dict[str, object]:
    """What ``rvrt weights info`` shows, as plain JSON values."""
    return {
        "preset": weights.preset,
        # A file made before a preset changed keeps its own configuration, which is what runs.
        "differs_from_preset": differences(weights.config, weights.preset),
        "parameters": weights.parameter_count,
        "tensors": len(weights.tensors),
        "source": weights.source,
        "sha256": weights.sha256,
        "metadata": weights.metadata,
        "config": vars(weights.config),
    }
