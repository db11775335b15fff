"""Rows hold means over the steps that counted and the worst of all ranks; the rest of a run is foreseen by its pixels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from doubles import FakeEngine

from rvrt_cli.train import meter
from rvrt_cli.train.batches import SourceSpec
from rvrt_cli.train.engine import RankInfo, StepResult
from rvrt_cli.train.meter import Meter, TimeLeft
from rvrt_cli.train.recipe import Recipe, Stage
from rvrt_cli.train.settings import RunSettings
from rvrt_cli.train.validate import ValidationSpec

SETTINGS = RunSettings(Path("run"), "light-s", (SourceSpec("noise"),), log_interval=2)
RECIPE = Recipe(stages=(Stage(5, 2, 2, 16),))
BATCH: Any = SimpleNamespace(gt=np.zeros((1, 2, 16, 16, 3), np.uint8))


class Clock:
    """Time as a test says."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class SlowPeer(FakeEngine):
    """One of two; the other one waits 3 s and needs 500 MiB."""

    def reduce(self, values: np.ndarray) -> np.ndarray:
        return values + np.array([0, 0, 0, 4.0, 0.75, 500.0])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(meter, "time", clock)
    return clock


def _step(loss: float, finite: bool = True) -> StepResult:
    return StepResult(loss, 2.0, finite, False)


def test_skipped_steps_are_left_out_of_the_means(clock: Clock) -> None:
    stream: Any = SimpleNamespace(waited_s=0.0)
    measured = Meter(SETTINGS, RECIPE, RankInfo(), FakeEngine(), stream, 0)
    clock.now = 1.0
    measured.add(1, BATCH, _step(float("nan"), finite=False))
    assert measured.row(1e-3, 1) is None
    clock.now = 2.0
    measured.add(2, BATCH, _step(0.5))
    row = measured.row(1e-3, 1)
    assert row is not None
    assert (row.loss, row.grad_norm, row.step_s, row.skipped) == (0.5, 2.0, 1.0, 1)


def test_validation_is_left_out_and_waiting_counted(clock: Clock) -> None:
    stream: Any = SimpleNamespace(waited_s=0.0)
    measured = Meter(SETTINGS, RECIPE, RankInfo(), FakeEngine(), stream, 0)
    clock.now, stream.waited_s = 1.0, 0.25
    measured.add(1, BATCH, _step(0.5))
    clock.now = 11.0
    measured.leave_out(10.0, True)
    clock.now = 12.0
    seconds, _ = measured.add(2, BATCH, _step(0.5))
    row = measured.row(1e-3, 0)
    assert row is not None
    assert (seconds, row.step_s, row.data_wait) == (1.0, 1.0, 0.125)
    assert measured.totals()[:2] == (1.0, 0.125)


def test_rows_hold_the_worst_of_all_ranks(clock: Clock) -> None:
    stream: Any = SimpleNamespace(waited_s=0.0)
    measured = Meter(SETTINGS, RECIPE, RankInfo(0, 2), SlowPeer(), stream, 0)
    for step in (1, 2):
        clock.now = float(step)
        measured.add(step, BATCH, _step(0.5))
    row = measured.row(1e-3, 0)
    assert row is not None
    assert (row.step_s, row.data_wait, row.memory_mib) == (2.0, 0.75, 500.0)
    assert row.samples_per_s == 1.0  # two steps of two clips in 4 s


def test_the_time_left_counts_later_stages_and_validations() -> None:
    recipe = Recipe(stages=(Stage(10, 2, 2, 16), Stage(10, 4, 2, 32)))
    settings = RunSettings(
        Path("run"), "light-s", (), validation=(ValidationSpec("set", "x"),), val_interval=5
    )
    left = TimeLeft(settings, recipe)
    assert left.after(1, 1.0) == pytest.approx(9 + 10 * 8)
    left.validated(3.0)
    assert left.after(7, 1.0) == pytest.approx(3 + 10 * 8 + 3 * 3.0)  # validations after 10, 15 and 20
    assert left.after(20, 8.0) == 0.0
