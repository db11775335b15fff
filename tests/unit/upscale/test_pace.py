"""The clock of a run: a continued run's skipping is told and kept out of its speed; stages count while they work."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rvrt_cli.upscale import pace as pace_module
from rvrt_cli.upscale.pace import Pace


class Clock:
    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


def test_a_continued_run_says_how_far_it_has_skipped(clock: Clock) -> None:
    pace = Pace(1000, 1100, decode_from=980, frames_read=lambda: 490)
    clock.now += 30
    event = pace.progress()
    assert (event.doing, event.doing_share) == ("skipping to frame 1000", 0.5)
    assert (event.frames_done, event.fps, event.eta_s, event.elapsed_s) == (1000, 0.0, None, 30.0)


def test_skipping_is_no_part_of_speed_time_left_or_shares(clock: Clock) -> None:
    pace = Pace(1000, 1100, decode_from=980, frames_read=lambda: 980)
    with pace.busy("decode"):
        clock.now += 60
    pace.skipped()
    event = pace.progress()
    assert (event.doing, event.doing_share) == ("reading the first frames", None)
    pace.window_begins("preparing the model")
    with pace.busy("model"):
        clock.now += 10
    pace.window_done(1020)
    pace.frames_done = 1020
    event = pace.progress()
    assert (event.fps, event.eta_s, event.elapsed_s, event.doing) == (2.0, 40.0, 70.0, None)
    assert event.stages == {"decode": 0.0, "model": 1.0, "encode": 0.0}
    assert (pace.working_s(), pace.skip_s) == (10.0, 60.0)


def test_the_first_window_says_nothing_about_the_others(clock: Clock) -> None:
    pace = Pace(0, 100)
    pace.window_begins("preparing the model")
    clock.now += 50
    pace.window_done(10)
    pace.window_begins("more")
    clock.now += 5
    pace.window_done(20)
    pace.frames_done = 20
    assert pace.progress().eta_s == 40.0
    assert pace.model_span_s == 55.0


def test_a_stage_counts_while_it_works(clock: Clock) -> None:
    """Else the model's share would sink until the end of each window and jump there."""
    pace = Pace(0, 100)
    with pace.busy("model"):
        clock.now += 8
        assert pace.progress().stages["model"] == 1.0
    clock.now += 8
    assert pace.progress().stages["model"] == 0.5


def test_a_run_that_does_not_continue_skips_nothing(clock: Clock) -> None:
    pace = Pace(0, None)
    clock.now += 3
    pace.skipped()
    assert (pace.skip_s, pace.working_s()) == (0.0, 3.0)
