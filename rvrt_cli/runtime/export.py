"""Writes a network as an ONNX graph for one input size, for other programs."""

from __future__ import annotations

from pathlib import Path

from rvrt_cli.atomic import write_bytes
from rvrt_cli.errors import UsageError
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.runtime.graph import build_graph
from rvrt_cli.weights.files import Weights


def export_onnx(weights: Weights, path: Path, frames: int, height: int, width: int, precision: str = "fp32") -> None:
    """Write the graph (opset 20) ``lq (1, t, h, w, c)`` in [0, 1] → ``sr (1, t, s·h, s·w, 3)``, not clipped, both float32.

    ``precision``: "fp32" or "fp16" (parameters and arithmetic). Errors: :class:`UsageError` for a size that the network
    does not take, :class:`OutputError` when the file cannot be written.
    """
    check_size(weights.config, frames, height, width)
    if precision not in ("fp32", "fp16"):
        raise UsageError(f"The precision of an exported graph is fp32 or fp16, not {precision!r}.")
    write_bytes(path, build_graph(weights.config, weights.tensors, frames, height, width, half=precision == "fp16"))


def check_size(config: ModelConfig, frames: int, height: int, width: int) -> None:
    """Refuse what a graph of fixed size cannot pad inside.

    Errors: :class:`UsageError` naming the smallest size, or the multiple that is needed.
    """
    if frames < 2 or frames % 2:
        raise UsageError(
            f"A graph takes an even number of frames, not {frames}; use {max(2, frames + frames % 2)}."
        )
    if min(height, width) < config.min_size:
        raise UsageError(
            f"This model takes {config.min_size} pixels or more on each side, not {height}x{width}."
        )
    if config.upscale == 1 and (height % 4 or width % 4):
        raise UsageError(f"This model takes sides that are multiples of 4 pixels, not {height}x{width}.")
