"""Writes a network as an ONNX graph for one input size, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rvrt_cli.errors import UsageError
from rvrt_cli.inference.graph import OUTPUT, build_graph
from rvrt_cli.system.files import write_bytes
from rvrt_cli.weights.files import Weights


def export_onnx(
    weights: Weights, path: Path, frames: int, height: int, width: int, precision: str = "fp32"
) -> None:
    """Write the graph (opset 20) ``lq (1, t, h, w, c)`` in [0, 1] → ``sr (1, t, s·h, s·w, 3)``, not clipped, both float32.

    Any number of frames and any size from 1 up; what the network cannot take is padded inside. ``precision``: "fp32" or
    "fp16" (parameters and arithmetic). Errors: :class:`UsageError` for a size below 1, :class:`OutputError` when the file cannot be written.
    """
    check_size(frames, height, width)
    if precision not in ("fp32", "fp16"):
        raise UsageError(f"The precision of an exported graph is fp32 or fp16, not {precision!r}.")
    write_bytes(
        path,
        build_graph(
            weights.config, weights.tensors, frames, height, width, half=precision == "fp16", outputs=any_size
        ),
    )


def any_size(model: Any, lq: Any) -> dict[str, Any]:
    """The result of a traced network for a size that it may not take as it is; see :class:`AnySize`."""
    from rvrt_cli.model.any_size import AnySize

    return {OUTPUT: AnySize(model, model.config)(lq)}


def check_size(frames: int, height: int, width: int) -> None:
    """Errors: :class:`UsageError` unless frames, height and width are 1 or more."""
    if min(frames, height, width) < 1:
        raise UsageError(f"A graph takes one frame of one pixel or more, not {frames} of {height}x{width}.")
