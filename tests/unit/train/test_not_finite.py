"""What is said of a loss that is no number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from doubles import FakeEngine, NoiseSource

from rvrt_cli.train import not_finite
from rvrt_cli.train.batches import BatchMaker
from rvrt_cli.train.engine import RankInfo, StepResult
from rvrt_cli.train.recipe import Recipe, Stage

RESULT = StepResult(float("nan"), 1.0, False, False, 1.0, float("nan"))


@pytest.mark.parametrize(
    ("bad", "named"),
    [([[0.0], [1.0]], "batch 4, rank 1: noise"), ([[1.0], [1.0]], "batch 4, ranks 0, 1: noise")],
)
def test_the_ranks_and_their_clips_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: list[list[float]], named: str
) -> None:
    monkeypatch.setattr(not_finite, "gather", lambda *_: np.array(bad))
    maker = BatchMaker(NoiseSource(), Recipe(stages=(Stage(9, 2, 2, 16),)), 4, 0, 2)
    error = not_finite.explain_not_finite(5, RESULT, maker, FakeEngine(), RankInfo(0, 2), tmp_path)
    assert f"The loss is nan at step 5 (seed 0, {named}" in str(error)
