"""A loss or gradient that is no number: which step, which clips of the batch, and what to do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from rvrt_cli.errors import NonFiniteError, RvrtError
from rvrt_cli.train.batches import BatchMaker
from rvrt_cli.train.checkpoint import list_checkpoints, step_of
from rvrt_cli.train.engine import Engine, RankInfo, StepResult, gather

_NAMED_CLIPS = 8
"""Clips of a batch that an error names."""


def explain_not_finite(
    step: int, result: StepResult, maker: BatchMaker, engine: Engine, rank_info: RankInfo, out: Path
) -> NonFiniteError:
    """Names the step, the ranks, the clips and what to do; the same on every rank, all of which must call it.

    ``step``: counted from 1; its batch has the number before. ``out``: the folder of the run.
    """
    what = f"gradient's norm is {result.grad_norm}" if np.isfinite(result.loss) else f"loss is {result.loss}"
    flags = [float(not np.isfinite(result.own_loss))]
    bad = [flags] if rank_info.world == 1 else gather(engine, rank_info, flags).tolist()
    ranks = [rank for rank, (flag,) in enumerate(bad) if flag]
    clips = []
    with suppress(RvrtError):
        for rank in ranks or range(rank_info.world):
            clips += replace(maker, rank=rank).origins(step - 1)
    more = f" and {len(clips) - _NAMED_CLIPS} more" if len(clips) > _NAMED_CLIPS else ""
    where = f"seed {maker.recipe.seed}, batch {step - 1}"
    if ranks and rank_info.world > 1:
        where += f", rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
    if clips:
        where += f": {'; '.join(clips[:_NAMED_CLIPS])}{more}"
    saved = list_checkpoints(out / "checkpoints")
    again = f"go on from step {step_of(saved[-1])} with --resume auto and" if saved else "start again with"
    return NonFiniteError(
        f"The {what} at step {step} ({where}); {again} a smaller --lr or with --clip-grad 1."
    )
