"""Segments and planner states survive JSON; impossible windows are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rvrt_cli.errors import UsageError
from rvrt_cli.upscale.segments import PlannerState, SeekPoint, Segment, check_window

SEGMENT = Segment(
    index=2, start=20, stop=30, lead=6, lookahead=7, cuts=(23,), first_pts=800, seek=SeekPoint(8, 320),
    window=24, overlap=6, tile_px=None, tile_overlap_px=0, fallback=0, model="m", encoder="e",
)  # fmt: skip


@pytest.mark.parametrize("seek", [None, SeekPoint(8, 320)])
def test_a_segment_is_json(seek):
    segment = replace(SEGMENT, seek=seek)
    assert Segment.from_json(json.loads(json.dumps(segment.to_json()))) == segment


def test_a_state_is_json():
    state = PlannerState(3, 30, 23, 37, (31,), 20, ((800, 1), (840, 2)), (SeekPoint(8, 320),))
    assert PlannerState.from_json(json.loads(json.dumps(state.to_json()))) == state
    assert PlannerState.from_json(json.loads(json.dumps(PlannerState().to_json()))) == PlannerState()


@pytest.mark.parametrize("change", [{"colour": "red"}, {"seek": {"index": 1, "time": 2}}])
def test_other_fields_are_a_type_error(change):
    with pytest.raises(TypeError):
        Segment.from_json({**SEGMENT.to_json(), **change})


def test_runs_are_the_shots_with_their_context():
    assert SEGMENT.runs == ((14, 23), (23, 37))
    assert replace(SEGMENT, lead=0, cuts=(20, 23)).runs == ((20, 23), (23, 37))
    assert replace(SEGMENT, lead=0, lookahead=0, cuts=()).runs == ((20, 30),)


@pytest.mark.parametrize(("size", "overlap"), [(3, 0), (0, 0), (8, 3), (8, 6), (8, -2)])
def test_impossible_windows_are_refused(size, overlap):
    with pytest.raises(UsageError, match=r"--window|--overlap"):
        check_window(size, overlap)
