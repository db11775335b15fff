"""Everything about a run that can be found wrong before it begins: ``--dry-run``."""

from __future__ import annotations

import importlib.util
import os

import numpy as np

from rvrt_cli.data.clips import ClipSource, MixedSource
from rvrt_cli.errors import DeviceError, OutputError
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.train.batches import open_sources
from rvrt_cli.train.create_engine import check_device
from rvrt_cli.train.launch import Cluster
from rvrt_cli.train.recipe import Recipe
from rvrt_cli.train.resume import find_checkpoint
from rvrt_cli.train.settings import RunSettings
from rvrt_cli.train.validate import load_validation


def check_run(settings: RunSettings, config: ModelConfig, recipe: Recipe, cluster: Cluster) -> ClipSource:
    """Raise what the run would meet: settings, devices, a clip of each source, all validation clips, the folder of the run.

    → the training data. Writes nothing.
    """
    cluster.check()
    recipe.check(config, cluster.world)
    find_checkpoint(settings, config, recipe)
    _check_out(settings)
    if settings.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise DeviceError(
            "TensorBoard is not installed; run `pip install tensorboard`, or leave --tensorboard out."
        )
    source = open_sources(settings.sources)
    largest = max(recipe.stages, key=lambda stage: stage.patch_gt_px)
    parts = [part for part, _ in source.parts] if isinstance(source, MixedSource) else [source]
    for part in parts:
        part.sample(np.random.default_rng(recipe.seed), largest.frames, largest.patch_gt_px)
    for spec in settings.validation:
        load_validation(spec, config)
    check_device(settings.backend, settings.device, cluster.devices)
    return source


def _check_out(settings: RunSettings) -> None:
    """The nearest folder that exists must be one that can be written."""
    place = settings.out.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"{settings.out} cannot be written, because of {place}; choose another --out.")
