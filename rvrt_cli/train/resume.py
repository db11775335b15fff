"""From where a run goes on, and what must not be continued."""

from __future__ import annotations

from rvrt_cli.errors import OutputError, WeightsError
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.train.checkpoint import Checkpoint, list_checkpoints, load_latest
from rvrt_cli.train.recipe import Recipe
from rvrt_cli.train.settings import RunSettings


def find_checkpoint(settings: RunSettings, config: ModelConfig, recipe: Recipe) -> Checkpoint | None:
    """The checkpoint from which a run goes on, or None where it begins.

    Errors: :class:`OutputError` for a folder that holds a run which is not to be resumed, or a longer one;
    :class:`WeightsError` for checkpoints that are damaged or of another network.
    """
    folder = settings.out / "checkpoints"
    if not settings.resume:
        if list_checkpoints(folder):
            raise OutputError(
                f"{settings.out} already holds a training run; continue it with --resume auto or choose another --out."
            )
        return None
    checkpoint = load_latest(folder)
    if checkpoint is not None and checkpoint.config != config:
        raise WeightsError(
            f"The checkpoints in {folder} belong to another architecture than {settings.model}; "
            "resume with the --model that they were made with or choose another --out."
        )
    if checkpoint is not None and checkpoint.step > recipe.steps:
        raise OutputError(
            f"The run in {settings.out} has already made {checkpoint.step} steps, more than the {recipe.steps} asked for; "
            "give more --steps or choose another --out."
        )
    return checkpoint
