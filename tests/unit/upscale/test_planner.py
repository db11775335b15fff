"""Plans: every frame once, context inside the shot and on its parity, the same plan from any of its states on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_films import films, make_film

from rvrt_cli.errors import InputError
from rvrt_cli.media.frame import Frame
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.planner import (
    Begin,
    End,
    Feed,
    PlanSettings,
    detector_for,
    picture_check,
    plan_segments,
    steps_of,
)
from rvrt_cli.upscale.segments import SEEK_MARGIN, PlannerState, Segment
from rvrt_cli.upscale.shots import LOOKBACK

plans = st.tuples(st.integers(1, 13), st.sampled_from([(4, 0), (4, 2), (8, 4), (12, 6)]), st.booleans())


def plan(film, config, state=None, until=None):
    state = state or PlannerState()
    frames = iter(film[state.first :])
    return list(plan_segments(frames, config, detector_for(state, set()), state, until))


def config_of(drawn) -> PlanSettings:
    frames, (window, overlap), shots = drawn
    return PlanSettings(frames, Level(window), overlap, detect_shots=shots)


def described(steps):
    return [(s.frame.index, s.wanted) if isinstance(s, Feed) else s for s in steps]


@settings(max_examples=40, deadline=None)
@given(films(), plans)
def test_a_plan_covers_the_film_and_goes_on_from_every_state(description, drawn):
    film = make_film(*description)
    config = config_of(drawn)
    steps = plan(film, config)
    ends = [step for step in steps if isinstance(step, End)]
    segments = [end.segment for end in ends]
    assert [s.start for s in segments] == list(range(0, len(film), config.segment_frames))
    assert [s.stop for s in segments] == [*(s.start for s in segments[1:]), len(film)]
    cuts = [cut for segment in segments for cut in segment.cuts]
    assert cuts[0] == 0
    for segment in segments:
        shot_start = max(cut for cut in cuts if cut <= segment.start)
        assert segment.lead <= segment.start - shot_start
        assert (segment.start - segment.lead - shot_start) % 2 == 0
        assert segment.lead >= min(config.overlap, segment.start - shot_start)
        assert not any(segment.stop <= cut < segment.stop + segment.lookahead for cut in cuts)
        assert segment.stop + segment.lookahead <= len(film)
        assert segment.first_pts == film[segment.start].pts
        if segment.seek is not None:
            assert film[segment.seek.index].key_frame
            assert film[segment.seek.index].pts == segment.seek.pts
            assert segment.seek.index <= segment.start - segment.lead - SEEK_MARGIN
    for end in ends:
        state = PlannerState.from_json(json.loads(json.dumps(end.after.to_json())))
        assert state == end.after
        assert list(state.seen) == [(f.pts, picture_check(f)) for f in film[state.first : state.decided]]
        later = plan(film, config, state)
        assert described(later) == described(steps[steps.index(end) + 1 :])


@settings(max_examples=40, deadline=None)
@given(films(), plans)
def test_whoever_renders_a_segment_does_what_the_run_that_planned_it_did(description, drawn):
    film = make_film(*description)
    begun: list = []
    for step in plan(film, config_of(drawn)):
        if isinstance(step, Begin):
            begun = []
        elif isinstance(step, End):
            segment = Segment.from_json(json.loads(json.dumps(step.segment.to_json())))
            again = steps_of(segment, film[segment.start - segment.lead :])
            assert described(again) == described(begun)
        else:
            begun.append(step)


def test_a_strobe_before_a_segment_is_decided_once():
    """A detector that begins to look in the middle of a strobe decides otherwise; the recorded state does not ask it."""
    levels = [0.1] * 10 + [0.1 if i % 2 else 0.6 for i in range(7)] + [0.6] * 43
    film = make_film(levels, {0}, [1])
    for length in range(8, 30):
        config = PlanSettings(length, Level(8), 4)
        steps = plan(film, config)
        for step in steps:
            if isinstance(step, End):
                assert described(plan(film, config, step.after)) == described(steps[steps.index(step) + 1 :])


def test_a_stretch_ends_where_a_finished_segment_begins():
    film = make_film([0.2] * 40, {0}, [1])
    config = PlanSettings(8, Level(8), 4)
    ends = [step for step in plan(film, config) if isinstance(step, End)]
    steps = plan(film, config, ends[1].after, until=32)
    assert [s.segment for s in steps if isinstance(s, End)] == [e.segment for e in ends[2:4]]


def test_the_first_step_needs_few_frames_and_few_are_held():
    read = []

    def frames():
        for index in range(3000):
            read.append(index)
            yield Frame(index, index, 1, np.zeros((4, 4, 3), np.float32), key_frame=index % 10 == 0)

    steps = plan_segments(frames(), PlanSettings(1000, Level(8), 4), detector_for(PlannerState(), set()))
    assert next(steps) == Begin(0)
    assert len(read) <= 4
    fed = 0
    for step in steps:
        if isinstance(step, Feed) and step.wanted:
            fed += 1
            assert len(read) - step.frame.index <= LOOKBACK + 5
        if isinstance(step, End):
            assert len(step.after.seen) <= 4 + 5 + 2 * LOOKBACK
    assert fed == 3000


def test_long_shots_repeat_few_frames():
    from rvrt_cli.upscale.prepare import MAX_SEGMENT_FRAMES, segment_length

    for width, height in ((640, 360), (1920, 1080), (3840, 2160), (7680, 4320)):
        length = segment_length(height, width)
        film = [Frame(i, i, 1, np.zeros((1, 1, 3), np.float32)) for i in range(3 * MAX_SEGMENT_FRAMES)]
        fed = sum(
            isinstance(step, Feed)
            for step in plan(film, PlanSettings(length, Level(24), 6, detect_shots=False))
        )
        assert fed <= 1.12 * len(film)


def test_other_frames_than_those_planned_are_refused():
    film = make_film([0.2] * 20, {0}, [1])
    (end, *_) = [step for step in plan(film, PlanSettings(8, Level(8), 4)) if isinstance(step, End)]
    with pytest.raises(InputError, match="frame 0 is not the one"):
        list(steps_of(end.segment, film[1:]))
    with pytest.raises(InputError, match="frame 5 is not the one"):
        list(steps_of(end.segment, film[:5]))


def test_the_record_of_a_frame_tells_whatever_decides_bytes():
    """Whoever seeks and finds the same pictures at the same times, but not how long or how opaque they are, has other frames."""
    rgb, alpha = np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.float32)
    frames = [
        Frame(0, 0, duration, rgb, opaque) for duration in (None, 1, 2) for opaque in (None, alpha, alpha + 1)
    ]
    assert len({picture_check(frame) for frame in frames}) == len(frames)
