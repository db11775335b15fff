"""``--backend auto``: which framework trains, and why, in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rvrt_cli.system.hardware import ascend_cards, installed, torch_cuda
from rvrt_cli.train.export import exported_engine
from rvrt_cli.train.recipe import Recipe

AUTO = "auto"


@dataclass(frozen=True)
class BackendChoice:
    """``backend``: "mindspore" or "torch"; ``reason``: why, for a line of output."""

    backend: str
    reason: str


def choose_backend(device: str, recipe: Recipe, continued: Path | None) -> BackendChoice:
    """MindSpore where it is installed and can do what is asked for, otherwise PyTorch.

    ``continued``: weights that an earlier part of the run exported; the run goes on in their framework, because only that
    gives the bits of an uninterrupted run. Whether PyTorch is installed is left to the engine, which says how to get it.
    """
    if continued is not None and (engine := exported_engine(continued)):
        backend = "mindspore" if engine.startswith("MindSpore") else "torch"
        return BackendChoice(backend, "with which this run began")
    if not installed("mindspore"):
        return BackendChoice("torch", "because MindSpore is not installed")
    if recipe.precision == "bf16":
        return BackendChoice("torch", "because MindSpore trains in fp32 and fp16 here")
    if recipe.compile:
        return BackendChoice("torch", "to which --compile belongs")
    if device == "cuda" or (device == AUTO and not ascend_cards() and torch_cuda()):
        return BackendChoice("torch", "which can use the NVIDIA card")
    return BackendChoice("mindspore", "which is installed and can do what is asked for")
