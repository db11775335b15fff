"""BI, BD and the real degradation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rvrt_cli.data.degrade import (
    RealSettings,
    degrade_bd,
    degrade_bi,
    degrade_real,
    make_degradation,
)
from rvrt_cli.errors import InputError
from rvrt_cli.imaging.resize import imresize_u8


def smooth_clip(frames: int = 4, height: int = 64, width: int = 96) -> np.ndarray:
    # Grey: 4:2:0 halves the resolution of colour, which would drown everything else in independent channels.
    noise = np.repeat(
        np.random.default_rng(0).random((height, width + 4 * frames, 1), dtype=np.float32), 3, axis=2
    )
    wide = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.stack([wide[:, 4 * index : 4 * index + width] for index in range(frames)])


def test_bi_is_matlabs_bicubic() -> None:
    clip = smooth_clip()
    np.testing.assert_array_equal(degrade_bi(clip), imresize_u8(clip, 0.25))


def test_bd_is_a_13_tap_gaussian_sampled_from_the_first_pixel() -> None:
    clip = smooth_clip()
    offsets = np.arange(-6, 7)
    kernel = np.exp(-(offsets**2) / (2 * 1.6**2))
    kernel /= kernel.sum()
    window = clip[1, 8 - 6 : 8 + 7, 20 - 6 : 20 + 7].astype(np.float64)
    expected = np.einsum("i,j,ijc->c", kernel, kernel, window)
    result = degrade_bd(clip)
    assert result.shape == (4, 16, 24, 3)
    np.testing.assert_array_equal(result[1, 2, 5], np.floor(expected + 0.5))


def test_bd_of_tiny_frames() -> None:
    assert (degrade_bd(np.full((1, 4, 4, 3), 77, np.uint8)) == 77).all()


def test_real_is_deterministic_and_varied() -> None:
    clip = smooth_clip()
    results = [degrade_real(clip, np.random.default_rng(seed)) for seed in range(6)]
    assert all(result.shape == (4, 16, 24, 3) and result.dtype == np.uint8 for result in results)
    np.testing.assert_array_equal(results[2], degrade_real(clip, np.random.default_rng(2)))
    assert len({result.tobytes() for result in results}) == 6
    bicubic = degrade_bi(clip).astype(float)
    assert all(np.abs(result - bicubic).mean() < 12 for result in results)


def test_real_without_damage_is_a_plain_reduction() -> None:
    settings = RealSettings(blur_share=0.0, noise_share=0.0, compress_share=0.0)
    clip = smooth_clip()
    assert (
        np.abs(
            degrade_real(clip, np.random.default_rng(0), settings=settings).astype(float) - degrade_bi(clip)
        ).mean()
        < 3
    )


def test_bad_input() -> None:
    with pytest.raises(InputError, match="multiple of 4"):
        degrade_bi(np.zeros((1, 30, 32, 3), np.uint8))
    with pytest.raises(InputError, match="uint8"):
        degrade_bd(np.zeros((1, 32, 32, 3), np.float32))
    with pytest.raises(InputError, match="BI, BD, real"):
        make_degradation("bicubic")
