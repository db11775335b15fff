"""Trained weights as a file that the rest of the tool loads, with what a model card needs in its metadata."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

from rvrt_cli.model.config import ModelConfig
from rvrt_cli.package import __version__
from rvrt_cli.train.checkpoint import Tensors
from rvrt_cli.train.recipe import Recipe
from rvrt_cli.weights.files import Weights, save_weights

LAST_NAME = "last.safetensors"
BEST_NAME = "best.safetensors"
"""The exported weights in the folder of a run: after its last checkpoint, and of its best validation."""


def export_weights(
    path: Path,
    config: ModelConfig,
    weights: Tensors,
    recipe: Recipe,
    *,
    model: str,
    step: int,
    seconds: float,
    metrics: dict[str, dict[str, float]],
    data: list[str],
    initial: str,
    engine: str,
    command: str,
) -> None:
    """Write ``weights`` as ``.safetensors`` atomically.

    Metadata (strings): title, model, step, seconds, recipe and metrics as JSON, data, initial, engine, command,
    rvrt_version, date. Errors: :class:`DiskFullError`, :class:`OutputError`; :class:`WeightsError` for non-finite values.
    """
    metadata = {
        "title": f"{model}, step {step} of {recipe.steps}",
        "model": model,
        "step": str(step),
        "seconds": f"{seconds:.0f}",
        "recipe": recipe.to_json(),
        "metrics": json.dumps(metrics, sort_keys=True),
        "data": "; ".join(data),
        "initial": initial,
        "engine": engine,
        "command": command,
        "rvrt_version": __version__,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    save_weights(path, Weights(config, weights, metadata))


def exported_step(path: Path) -> int | None:
    """The step of exported weights; None where there are none that can be read."""
    step = _exported(path).get("step", "")
    return int(step) if step.isdigit() else None


def exported_engine(path: Path) -> str:
    """The engine that trained exported weights, in words; empty where there are none that can be read."""
    return _exported(path).get("engine", "")


def _exported(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "numpy") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}
