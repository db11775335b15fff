"""Pictures in 16 bits: near the floats, exact in black and white, never wrapped around."""

from __future__ import annotations

import numpy as np
import pytest

from rvrt_cli.imaging.fixed_point import (
    BLOCK,
    TOP,
    UNIT,
    ZERO,
    blend_into,
    row_blocks,
    to_float,
)

HALF = 0.5 / UNIT + 1e-6


def codes_of(values: np.ndarray) -> np.ndarray:
    """(h, w, 3) float32 → codes."""
    codes = np.zeros((len(values), values[0].size), np.uint16)
    blend_into(codes, values, np.ones(codes.shape, np.float32))
    return codes.reshape(values.shape)


def random(low: float, high: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, (40, 50, 3)).astype(np.float32)


def test_values_come_back_within_half_a_code():
    values = random(-0.125, 1.125)
    back = to_float(codes_of(values))
    assert back.dtype == np.float32
    assert np.abs(back - values).max() <= HALF


def test_black_white_and_grey_levels_are_what_they_were():
    assert to_float(codes_of(np.zeros((1, 1, 3), np.float32))).max() == 0
    assert (to_float(codes_of(np.ones((1, 1, 3), np.float32))) == 1).all()
    for bits in (8, 10, 12):
        most = 2**bits - 1
        levels = np.arange(3 * (2**bits // 3), dtype=np.float32).reshape(1, -1, 3)
        np.testing.assert_array_equal(np.rint(to_float(codes_of(levels / most)) * most), levels)


def test_what_lies_outside_becomes_the_nearest_code():
    values = np.array([[[-1e30, -0.5, -0.126], [1.126, 50.0, 1e30]]], np.float32)
    np.testing.assert_array_equal(codes_of(values), [[[0, 0, 0], [TOP, TOP, TOP]]])
    assert TOP == UNIT + 2 * ZERO < 65535


@pytest.mark.parametrize("value", [-3.0, 0.0, 1.0, 3.0])
def test_shares_of_what_is_alike_change_nothing(value):
    """At both ends a sum of rounded parts would pass the end of the range and wrap around."""
    values = np.full((40, 50, 3), value, np.float32)
    codes = codes_of(values)
    flat, first = codes.reshape(40, 150), codes.copy()
    for seed in range(20):
        blend_into(flat, values, random(0, 1, seed).reshape(40, 150))
    np.testing.assert_array_equal(codes, first)


def test_shares_of_opposite_values_stay_between_them():
    codes = codes_of(random(-9, 9))
    for seed in range(20):
        values, share = random(-9, 9, seed), random(0, 1, seed + 1)
        before = codes.astype(int)
        new = codes_of(values).astype(int)
        blend_into(codes.reshape(40, 150), values, share.reshape(40, 150))
        assert (np.minimum(before, new) <= codes).all()
        assert (codes <= np.maximum(before, new)).all()


def test_float_pictures_are_left_alone():
    values = random(-1, 2)
    assert to_float(values) is values


def test_blocks_cover_every_row_once():
    for rows, size in ((1, 1), (7, BLOCK), (1000, 3000), (5, 10 * BLOCK)):
        assert np.concatenate([np.arange(rows)[block] for block in row_blocks(rows, size)]).tolist() == list(
            range(rows)
        )
