"""Tiles: weights sum to one, one shape for all, pixels where they belong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvrt_cli.errors import UsageError
from rvrt_cli.restorer import BicubicRestorer, IdentityRestorer
from rvrt_cli.upscale.tiles import (
    ALIGN,
    TilePlan,
    check_tiles,
    count_tiles,
    plan_spans,
    restore_tiled,
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


@pytest.mark.parametrize(
    "plan", [TilePlan(20, 0), TilePlan(33, 0), TilePlan(64, 5), TilePlan(64, 40), TilePlan(64, -8)]
)
def test_impossible_tiles_are_refused(plan):
    with pytest.raises(UsageError, match="--tile"):
        check_tiles(plan)
