"""The clock of a run: a continued run's skipping is told and kept out of its speed; stages count while they work."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rvrt_cli.upscale import progress as progress_module
from rvrt_cli.upscale.progress import RunClock


class Clock:
    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


def test_a_continued_run_says_how_far_it_has_skipped(clock: Clock) -> None:
    run = RunClock(1000, 1100, skip_frames=980, frames_read=lambda: 490)
    clock.now += 30
    event = run.progress()
    assert (event.doing, event.doing_share) == ("skipping to frame 1000", 0.5)
    assert (event.frames_done, event.fps, event.eta_s, event.elapsed_s) == (1000, 0.0, None, 30.0)


def test_skipping_is_no_part_of_speed_time_left_or_shares(clock: Clock) -> None:
    run = RunClock(1000, 1100, skip_frames=980, frames_read=lambda: 980)
    with run.busy("decode"):
        clock.now += 60
    run.skipped()
    event = run.progress()
    assert (event.doing, event.doing_share) == ("reading the first frames", None)
    run.model_begins("preparing the model")
    with run.busy("model"):
        clock.now += 10
    run.frames_done = 1020
    event = run.progress()
    assert (event.fps, event.eta_s, event.elapsed_s, event.doing) == (2.0, 40.0, 70.0, None)
    assert event.stages == {"decode": 0.0, "model": 1.0, "encode": 0.0}
    assert (run.working_s(), run.skip_s) == (10.0, 60.0)


def test_the_first_window_says_nothing_about_the_others(clock: Clock) -> None:
    run = RunClock(0, 100)
    run.model_begins("preparing the model")
    clock.now += 50
    for _ in range(10):
        run.picture_made(10)
    for _ in range(10):
        clock.now += 0.5
        run.picture_made(10)
    run.frames_done = 20
    assert run.progress().eta_s == 40.0
    assert run.model_span_s == 55.0


def test_a_stage_counts_while_it_works(clock: Clock) -> None:
    """Else the model's share would sink until the end of each window and jump there."""
    run = RunClock(0, 100)
    with run.busy("model"):
        clock.now += 8
        assert run.progress().stages["model"] == 1.0
    clock.now += 8
    assert run.progress().stages["model"] == 0.5


def test_a_run_that_does_not_continue_skips_nothing(clock: Clock) -> None:
    run = RunClock(0, None)
    clock.now += 3
    run.skipped()
    assert (run.skip_s, run.working_s()) == (0.0, 3.0)
