"""Matlab's bicubic: the golden arrays, an independent dense product, and its properties."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from rvrt_cli.errors import InputError
from rvrt_cli.imaging.resize import _blocks, imresize, imresize_u8

SCALES = {"0.2500": 0.25, "0.5000": 0.5, "0.3333": 1 / 3, "2.0000": 2.0, "4.0000": 4.0}
GOLDEN_TIE = 3e-5
"""Distance from a half below which the golden array's own float32 rounding decides which way it went (range 0..255)."""


def dense_matrix(in_size: int, out_size: int, scale: float) -> np.ndarray:
    """(out_size, in_size): Keys's kernel at every output, widened when shrinking, the borders mirrored."""
    matrix = np.zeros((out_size, in_size))
    shrink = min(scale, 1.0)
    for out in range(out_size):
        centre = (out + 1) / scale + 0.5 * (1 - 1 / scale)
        for place in range(math.floor(centre - 2 / shrink), math.ceil(centre + 2 / shrink) + 1):
            x = abs(shrink * (centre - place))
            near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            mirrored = (place - 1) % (2 * in_size)
            matrix[out, min(mirrored, 2 * in_size - 1 - mirrored)] += (
                near if x <= 1 else far if x < 2 else 0.0
            )
    return matrix / matrix.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "resize_and_metrics.npz") as file:
        return dict(file)


@pytest.mark.parametrize("label", SCALES)
def test_float_matches_the_golden_array(golden: dict[str, np.ndarray], label: str) -> None:
    image = golden["image_rgb_u8"]
    result = imresize(image.astype(np.float32) / 255.0, SCALES[label])
    assert result.dtype == np.float32
    assert result.shape == golden[f"imresize_{label}"].shape
    np.testing.assert_allclose(result, golden[f"imresize_{label}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("label", SCALES)
def test_uint8_matches_the_golden_array_bit_for_bit(golden: dict[str, np.ndarray], label: str) -> None:
    expected = golden[f"imresize_{label}"] * np.float32(255.0)
    result = imresize_u8(golden["image_rgb_u8"], SCALES[label])
    differs = result != np.clip(np.rint(expected), 0, 255)
    if SCALES[label] < 1:
        assert not differs.any()
    else:
        # Exact ties (weights are multiples of a power of two) that float32 in [0, 1] cannot represent: nothing else.
        distance = np.abs(expected - np.floor(expected) - 0.5)
        assert (distance[differs] < GOLDEN_TIE).all()
        assert differs.sum() < 10


def test_leading_axes_are_independent_images() -> None:
    clip = np.random.default_rng(0).random((2, 3, 20, 28, 3), dtype=np.float32)
    result = imresize(clip, 0.25)
    assert result.shape == (2, 3, 5, 7, 3)
    # The last bit may differ: BLAS adds in another order where there are more rows.
    np.testing.assert_allclose(result[1, 2], imresize(clip[1, 2], 0.25), rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 40), (33, 17)])
@pytest.mark.parametrize("scale", [0.25, 0.3, 1.0, 2.5, 4.0])
def test_every_size_agrees_with_the_dense_float64_product(shape: tuple[int, int], scale: float) -> None:
    h, w = shape
    image = np.random.default_rng(1).random((h, w, 3))
    rows = dense_matrix(h, math.ceil(h * scale), scale)
    columns = dense_matrix(w, math.ceil(w * scale), scale)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0)
    expected = np.einsum("ab,bcd,ec->aed", rows, image, columns)
    np.testing.assert_allclose(imresize(image, scale), expected, rtol=0, atol=2e-6)


def test_constant_images_stay_constant_and_uint8_is_clipped() -> None:
    np.testing.assert_allclose(imresize(np.full((17, 23, 3), 200, np.uint8), 0.25), 200.0, rtol=1e-6)
    edge = np.zeros((16, 16, 1), np.uint8)
    edge[:, 8:] = 255
    enlarged = imresize(edge, 4.0)
    assert enlarged.min() < 0
    assert enlarged.max() > 255
    clipped = imresize_u8(edge, 4.0)
    assert clipped.min() == 0
    assert clipped.max() == 255


def test_size_and_antialias() -> None:
    image = np.random.default_rng(2).random((40, 60, 3), dtype=np.float32)
    np.testing.assert_allclose(imresize(image, size=(10, 15)), imresize(image, 0.25), atol=1e-6)
    assert imresize(image, size=(50, 20)).shape == (50, 20, 3)
    assert np.abs(imresize(image, 0.25, antialias=False) - imresize(image, 0.25)).max() > 0.05


def test_impossible_images_are_refused() -> None:
    with pytest.raises(InputError, match="axes"):
        imresize(np.zeros((4, 4), np.float32), 0.25)
    with pytest.raises(InputError, match="no pixels"):
        imresize(np.zeros((0, 4, 3), np.float32), 0.25)
    with pytest.raises(InputError, match="at least one pixel"):
        imresize(np.zeros((4, 4, 3), np.float32), size=(0, 4))


def test_the_kernels_of_a_large_picture_are_small() -> None:
    """A dense matrix of this size takes 400 MB."""
    _blocks.cache_clear()
    tracemalloc.start()
    try:
        _blocks(5160, 10320, 2.0, True, 1, np.float32)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
        _blocks.cache_clear()
