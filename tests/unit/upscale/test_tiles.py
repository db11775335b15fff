"""Tiles: weights sum to one, one shape for all, pixels where they belong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvrt_cli.errors import UsageError
from rvrt_cli.imaging.fixed_point import TOP, UNIT, to_float
from rvrt_cli.inference.restorer import BicubicRestorer, IdentityRestorer
from rvrt_cli.inference.tiles import (
    ALIGN,
    TilePlan,
    blend_tile,
    check_tiles,
    count_tiles,
    is_cut,
    plan_spans,
    restore_tiled,
    spans_of,
    weight_sum,
)


@settings(deadline=None)
@given(st.integers(1, 700), st.integers(4, 30), st.integers(0, 15), st.sampled_from([1, 4]))
def test_weights_of_spans_sum_to_one(length, tile, overlap, scale):
    overlap = min(overlap, tile // 2) * ALIGN
    spans = plan_spans(length, tile * ALIGN, overlap)
    np.testing.assert_allclose(weight_sum(length, spans, scale), 1, atol=1e-6)
    assert all(start % ALIGN == 0 for start, _ in spans)
    padded = {-(-(stop - start) // ALIGN) * ALIGN for start, stop in spans}
    assert len(padded) == 1


@pytest.mark.parametrize(("height", "width"), [(70, 130), (33, 64), (64, 200), (1, 1)])
def test_identity_survives_tiles(height, width):
    lq = np.random.default_rng(0).random((2, height, width, 3), np.float32)
    plan = TilePlan(32, 8)
    calls = []

    def restore(tile):
        calls.append(tile.shape)
        return IdentityRestorer()(tile)

    np.testing.assert_allclose(restore_tiled(restore, lq, 1, plan), lq, atol=1e-6)
    assert len(calls) == count_tiles(height, width, plan)


def test_bicubic_tiles_equal_the_whole_picture():
    # Bicubic x4 looks two pixels far and 16 px of overlap drop four: the tiles must not show at all.
    lq = np.random.default_rng(0).random((1, 80, 144, 3), np.float32)
    bicubic = BicubicRestorer()
    np.testing.assert_allclose(restore_tiled(bicubic, lq, 4, TilePlan(48, 16)), bicubic(lq), atol=1e-5)


def restore_packed(restore, lq, scale, plan):
    """As a stream does it for each frame: float32 of whole pictures, codes of tiles."""
    count, height, width, _ = lq.shape
    if not is_cut(height, width, plan):
        return restore(lq)
    rows, columns = spans_of(height, width, scale, plan)
    out = np.zeros((count, scale * height, scale * width, 3), np.uint16)
    for row, (top, bottom) in enumerate(rows):
        for column, (left, right) in enumerate(columns):
            sr = restore(np.ascontiguousarray(lq[:, top:bottom, left:right]))
            for codes, picture in zip(out, sr, strict=True):
                blend_tile(codes, picture, rows, columns, scale, row, column)
    return out


def unlike(tile: np.ndarray) -> np.ndarray:
    """A restorer whose tiles disagree about every pixel, by values inside and outside [0, 1]."""
    rng = np.random.default_rng(tile.shape[1] + int(1e6 * tile.flat[0]))
    return rng.uniform(-0.12, 1.12, tile.shape).astype(np.float32)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(4, 8), st.integers(0, 4))
def test_codes_are_the_float_picture_in_16_bits(height, width, tile, overlap):
    lq = np.random.default_rng(0).random((2, height, width, 3), np.float32)
    plan = TilePlan(tile * ALIGN, min(overlap, tile // 2) * ALIGN)
    expected = restore_tiled(unlike, lq, 1, plan)
    packed = restore_packed(unlike, lq, 1, plan)
    if count_tiles(height, width, plan) == 1:
        np.testing.assert_array_equal(packed, expected)
        return
    assert packed.dtype == np.uint16
    for codes, picture in zip(packed, expected, strict=True):
        assert np.abs(to_float(codes) - picture).max() <= 2.01 / UNIT


@pytest.mark.parametrize("value", [-5.0, 0.0, 1.0, 1.125, 5.0])
def test_nothing_wraps_around_where_tiles_meet(value):
    lq = np.full((1, 75, 110, 3), value, np.float32)
    codes = restore_packed(IdentityRestorer(), lq, 1, TilePlan(32, 16))
    assert codes.min() == codes.max()
    assert codes.max() <= TOP
    assert to_float(codes[0])[0, 0, 0] == np.float32(np.clip(value, -0.125, 1.125))


def test_whole_pictures_stay_floats():
    lq = np.random.default_rng(0).random((2, 32, 48, 3), np.float32) * 3 - 1
    for plan in (TilePlan(None), TilePlan(64, 16)):
        packed = restore_packed(IdentityRestorer(), lq, 1, plan)
        assert packed.dtype == np.float32
        np.testing.assert_array_equal(packed, lq)


def test_pictures_with_padded_rows_are_taken_as_they_are():
    """A network's result may be a view of a larger array."""
    lq = np.random.default_rng(0).random((2, 70, 90, 3), np.float32)

    def padded(tile):
        return np.pad(tile, ((0, 0), (0, 5), (0, 3), (0, 0)))[:, : tile.shape[1], : tile.shape[2]]

    np.testing.assert_array_equal(
        restore_packed(padded, lq, 1, TilePlan(32, 8)),
        restore_packed(IdentityRestorer(), lq, 1, TilePlan(32, 8)),
    )


@pytest.mark.parametrize(
    "plan", [TilePlan(20, 0), TilePlan(33, 0), TilePlan(64, 5), TilePlan(64, 40), TilePlan(64, -8)]
)
def test_impossible_tiles_are_refused(plan):
    with pytest.raises(UsageError, match="--tile"):
        check_tiles(plan)
