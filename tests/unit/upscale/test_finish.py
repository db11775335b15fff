"""The last step: strength, sizes, comparison, alpha, values outside [0, 1]."""

from __future__ import annotations

import numpy as np
import pytest

from rvrt_cli.errors import UsageError
from rvrt_cli.imaging.resize import imresize
from rvrt_cli.upscale.finish import Finish, output_size

RNG = np.random.default_rng(0)
LQ = RNG.random((12, 16, 3), np.float32)
SR = RNG.random((48, 64, 3), np.float32)


def test_strength_blends_with_bicubic():
    bicubic = np.clip(imresize(LQ, scale=4), 0, 1)
    np.testing.assert_array_equal(Finish(48, 64).picture(LQ, SR.copy()), SR)
    np.testing.assert_allclose(Finish(48, 64, strength=0).picture(LQ, SR), bicubic, atol=1e-6)
    np.testing.assert_allclose(
        Finish(48, 64, strength=0.25).picture(LQ, SR), 0.25 * SR + 0.75 * bicubic, atol=1e-6
    )


def test_smaller_sizes_keep_the_mean():
    out = Finish(24, 32).picture(LQ, SR)
    assert out.shape == (24, 32, 3)
    np.testing.assert_allclose(out.mean(), SR.mean(), atol=0.01)


def test_model_overshoot_is_clipped_but_the_sources_excess_is_kept():
    lq = np.full((8, 8, 3), 1.05, np.float32)
    out = Finish(32, 32).picture(lq, np.full((32, 32, 3), 1.3, np.float32))
    np.testing.assert_allclose(out, 1.05, atol=1e-5)
    out = Finish(32, 32).picture(np.ones((8, 8, 3), np.float32), np.full((32, 32, 3), 1.3, np.float32))
    assert out.max() == 1


def test_the_sources_excess_darkens_nothing_around_it():
    lq = np.ones((8, 8, 3), np.float32)
    lq[2:4, 2:4] = 1.1
    out = Finish(32, 32).picture(lq, np.ones((32, 32, 3), np.float32))
    assert out.min() == 1
    np.testing.assert_allclose(out[11:13, 11:13], 1.1, atol=1e-3)
    np.testing.assert_allclose(
        Finish(4, 4).picture(lq, np.ones((32, 32, 3), np.float32))[1, 1], 1.1, atol=1e-3
    )


def test_comparison_side_by_side():
    finish = Finish(48, 64, compare="side", label="x")
    assert finish.output_size == (48, 128)
    out = finish.picture(LQ, SR)
    assert out.shape == (48, 128, 3)
    bicubic = np.clip(imresize(LQ, scale=4), 0, 1)
    np.testing.assert_allclose(out[24:, :64], bicubic[24:], atol=1e-6)
    np.testing.assert_array_equal(out[24:, 64:], SR[24:])
    assert not np.array_equal(out[:20, 64:], SR[:20]), "the label is drawn"


def test_comparison_split():
    out = Finish(48, 64, compare="split").picture(LQ, SR)
    assert out.shape == (48, 64, 3)
    np.testing.assert_array_equal(out[24:, 34:], SR[24:, 34:])
    assert (out[24:, 32] == 1).all() or (out[24:, 31] == 1).all()


def test_alpha_has_the_outputs_size():
    alpha = np.zeros((12, 16), np.float32)
    alpha[:, 8:] = 1
    out = Finish(48, 64).alpha(alpha)
    assert out.shape == (48, 64)
    assert (out[:, :24] < 0.02).all()
    assert (out[:, 40:] > 0.98).all()
    assert Finish(48, 64, compare="side").alpha(alpha).shape == (48, 128)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({}, (400, 800)),
        ({"scale": 2}, (200, 400)),
        ({"scale": 3}, (300, 600)),
        ({"to_height": 270}, (270, 540)),
        ({"to_width": 333}, (166, 333)),
        ({"to_height": 100, "to_width": 100}, (100, 100)),
    ],
)
def test_output_sizes(arguments, size):
    assert output_size(100, 200, 4, **arguments) == size


def test_odd_sizes():
    assert output_size(33, 35, 4, scale=3) == (100, 106)
    assert output_size(33, 35, 4, scale=3, even=False) == (99, 105)


@pytest.mark.parametrize(
    "arguments", [{"scale": 2, "to_height": 10}, {"to_height": 0}, {"to_width": 1}, {"scale": 5}]
)
def test_contradictory_sizes(arguments):
    with pytest.raises(UsageError):
        output_size(100, 200, 4, **arguments)
