"""Writes a network as a file for other programs: ONNX, or MindIR for MindSpore Lite and Ascend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rvrt_cli import backend
from rvrt_cli.atomic import atomic_path, write_bytes
from rvrt_cli.errors import DeviceError, UsageError
from rvrt_cli.model.config import CLIP_SIZE, ModelConfig
from rvrt_cli.runtime.graph import build_graph

if TYPE_CHECKING:
    from rvrt_cli.weights import Weights


def export_onnx(weights: Weights, path: Path, frames: int, height: int, width: int, precision: str = "fp32") -> None:
    """Write the ONNX graph (opset 20) for one input size: ``lq (1, t, h, w, c)`` → ``sr (1, t, s·h, s·w, 3)``, both float32.

    ``precision``: "fp32" or "fp16" (parameters and arithmetic). Errors: :class:`UsageError` for a size the network cannot
    take, :class:`OutputError` when the file cannot be written.
    """
    check_size(weights.config, frames, height, width)
    if precision not in ("fp32", "fp16"):
        raise UsageError(f"The precision of an exported graph is fp32 or fp16, not {precision!r}.")
    write_bytes(path, build_graph(weights.config, weights.tensors, frames, height, width, half=precision == "fp16"))


def export_mindir(weights: Weights, path: Path, frames: int, height: int, width: int) -> None:
    """Write MindIR for one input size, float32; needs MindSpore.

    Errors: as :func:`export_onnx`; :class:`DeviceError` when MindSpore is not installed or cannot export.
    """
    check_size(weights.config, frames, height, width)
    if path.suffix != ".mindir":
        raise UsageError(f"A MindIR file is called .mindir, not {path.name!r}; MindSpore adds the ending itself.")
    backend.select("mindspore")
    try:
        import mindspore
    except ImportError as error:
        raise DeviceError("MindIR needs MindSpore; run `pip install mindspore==2.8.0` or export ONNX.") from error

    from rvrt_cli.backend import mindspore as primitives
    from rvrt_cli.model.rvrt import RVRT

    primitives.set_device("cpu")
    primitives.set_mode(True)
    model = RVRT(weights.config)
    primitives.load_tensors(model, weights.tensors)
    model.set_train(False)
    lq = primitives.from_numpy(np.zeros((1, frames, height, width, weights.config.in_channels), np.float32))
    with atomic_path(path) as temporary:
        try:
            mindspore.export(model, lq, file_name=str(temporary), file_format="MINDIR")
        except (RuntimeError, ValueError, TypeError) as error:
            raise DeviceError(f"MindSpore could not export this network: {str(error).strip().splitlines()[0]}") from error


def check_size(config: ModelConfig, frames: int, height: int, width: int) -> None:
    """Errors: :class:`UsageError` unless the network takes this size as it is (a graph does not pad)."""
    if frames < CLIP_SIZE or frames % CLIP_SIZE:
        raise UsageError(f"An exported graph takes an even number of frames, at least {CLIP_SIZE}; got {frames}.")
    multiple = config.size_multiple
    smallest = -(-config.min_size // multiple) * multiple
    for name, size in (("height", height), ("width", width)):
        if size < smallest or size % multiple:
            raise UsageError(f"The {name} of an exported graph must be a multiple of {multiple}, at least {smallest}; got {size}.")
