"""Windows: every frame once, weights that sum to one, no window across a cut, the same plan after a restart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvrt_cli.errors import UsageError
from rvrt_cli.imaging.fixed_point import TOP, UNIT, ZERO, to_float
from rvrt_cli.upscale.windows import WindowBlender, Windower, check_window


def stream(length: int, cuts: set[int], first: int = 0):
    return ((index, index in cuts) for index in range(first, length))


def plan(length: int, cuts: set[int], size: int, overlap: int, **state):
    windower = Windower(stream(length, cuts, state.get("first_index", 0)), size, overlap, **state)
    windows = []
    while (item := windower.next()) is not None:
        window, frames = item
        assert frames == list(range(window.start, window.stop))
        windows.append(window)
    return windows


films = st.tuples(
    st.integers(1, 120),
    st.sets(st.integers(1, 119), max_size=8),
    st.integers(1, 12).map(lambda n: 2 * n),
    st.integers(0, 6),
).map(lambda f: (f[0], {c for c in f[1] if c < f[0]}, f[2], min(2 * f[3], f[2] // 2 // 2 * 2)))


@settings(deadline=None)
@given(films)
def test_weights_sum_to_one_and_windows_stay_in_their_shot(film):
    length, cuts, size, overlap = film
    windows = plan(length, cuts, size, overlap)
    total = np.zeros(length)
    edges = [0, *sorted(cuts), length]
    for window in windows:
        assert window.stop - window.start <= size
        assert any(a <= window.start and window.stop <= b for a, b in itertools.pairwise(edges))
        assert (window.start - window.shot_start) % 2 == 0
        for index in range(window.start, window.stop):
            total[index] += window.weight(index)
    np.testing.assert_allclose(total, 1.0)


@settings(deadline=None)
@given(films, st.integers(0, 200))
def test_planning_again_from_a_window_gives_the_same_windows(film, pick):
    length, cuts, size, overlap = film
    windows = plan(length, cuts, size, overlap)
    at = pick % len(windows)
    window = windows[at]
    first = max(window.shot_start, window.start)
    again = plan(
        length, cuts, size, overlap, first_index=first, shot_start=window.shot_start, origin=window.origin
    )
    assert again == windows[at:]


@settings(deadline=None)
@given(films)
def test_blender_yields_every_frame_once_in_order(film):
    length, cuts, size, overlap = film
    blender = WindowBlender()
    seen = []
    for window in plan(length, cuts, size, overlap):
        pictures = np.arange(window.start, window.stop, dtype=np.float32)[:, None, None, None] * np.ones(
            (1, 1, 1, 3), np.float32
        )
        for index, picture in blender.add(window, pictures):
            np.testing.assert_allclose(picture, index, atol=1e-4)
            seen.append(index)
    assert seen == list(range(length))


def test_codes_are_cross_faded_like_floats_and_wait_as_codes():
    rng = np.random.default_rng(0)
    floats, codes = WindowBlender(), WindowBlender()
    for window in plan(40, {17}, 8, 4):
        values = rng.integers(0, TOP + 1, (window.stop - window.start, 6, 5, 3)).astype(np.uint16)
        kept = values.copy()
        pictures = np.stack([to_float(value) for value in values])
        for (index, a), (also, b) in zip(
            floats.add(window, pictures), codes.add(window, values), strict=True
        ):
            assert index == also
            assert b.dtype == np.float32
            np.testing.assert_allclose(a, b, atol=1e-6)
        np.testing.assert_array_equal(values, kept)
        waiting = [part for parts in codes._pending.values() for _, part in parts]
        assert all(part.dtype == np.uint16 and part.base is None for part in waiting)


def test_codes_and_floats_are_cross_faded_where_the_ladder_took_a_step():
    blender = WindowBlender()
    for number, window in enumerate(plan(20, set(), 8, 4)):
        shape = (window.stop - window.start, 1, 1, 3)
        grey = np.full(shape, ZERO + UNIT // 2, np.uint16) if number % 2 else np.full(shape, 0.5, np.float32)
        for _, picture in blender.add(window, grey):
            np.testing.assert_allclose(picture, 0.5, atol=1e-6)


def test_a_long_shot_has_windows_of_one_length():
    windows = plan(101, set(), 16, 4)
    assert {w.stop - w.start for w in windows[:-1]} == {16}
    assert windows[-1].stop - windows[-1].start in (15, 16)


def test_shrinking_replans_the_same_frames():
    windower = Windower(stream(40, set()), 16, 4)
    first, _ = windower.next()
    second, _ = windower.next()
    smaller, _ = windower.shrink(8)
    assert (smaller.start, smaller.stop) == (second.start, second.start + 8)
    blender = WindowBlender()
    seen = []
    for window in (first, smaller):
        seen += [
            index
            for index, _ in blender.add(window, np.zeros((window.stop - window.start, 1, 1, 3), np.float32))
        ]
    while (item := windower.next()) is not None:
        window = item[0]
        seen += [
            index
            for index, _ in blender.add(window, np.zeros((window.stop - window.start, 1, 1, 3), np.float32))
        ]
    assert seen == list(range(40))


def test_memory_holds_only_the_current_window():
    windower = Windower(stream(5000, set()), 16, 4)
    while windower.next() is not None:
        assert len(windower._held) <= 16 + 16 + 1


@pytest.mark.parametrize(("size", "overlap"), [(3, 0), (0, 0), (8, 3), (8, 6), (8, -2)])
def test_impossible_windows_are_refused(size, overlap):
    with pytest.raises(UsageError, match=r"--window|--overlap"):
        check_window(size, overlap)
