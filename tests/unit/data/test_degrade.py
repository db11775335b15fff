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
    degrade_real_frames,
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


def test_real_holds_one_frame_at_a_time() -> None:
    """Whatever is drawn for the clip: a film of any length goes through."""

    class Counted(np.ndarray):
        alive = most = 0

        def __array_finalize__(self, _: object) -> None:
            Counted.alive += 1
            Counted.most = max(Counted.most, Counted.alive)

        def __del__(self) -> None:
            Counted.alive -= 1

    clip = smooth_clip(12)
    for seed in range(6):
        expected = degrade_real(clip, np.random.default_rng(seed))
        Counted.alive = Counted.most = 0
        frames = (frame.copy().view(Counted) for frame in clip)
        result = list(degrade_real_frames(frames, 12, np.random.default_rng(seed)))
        np.testing.assert_array_equal(np.stack([np.asarray(frame) for frame in result]), expected)
        assert Counted.most < 6, f"seed {seed}"


def test_noise_is_that_of_the_whole_clip_at_once() -> None:
    settings = RealSettings(blur_share=0.0, noise_share=1.0, compress_share=0.0)
    clip = smooth_clip(3)
    result = degrade_real(clip, np.random.default_rng(1), settings=settings)
    rng = np.random.default_rng(1)
    choice = rng.random(4)
    assert choice[1] >= 0.85, "reduced linearly"
    rng.uniform(0.3, 1.8, 2)
    sigma = rng.uniform(*settings.noise_sigma)
    rng.uniform(*settings.crf)
    rng.integers(3)
    lq = np.stack([cv2.resize(frame, (24, 16), interpolation=cv2.INTER_LINEAR) for frame in clip])
    share = rng.random()
    grain = rng.standard_normal((3, 16, 24, 1), dtype=np.float32)
    colour = rng.standard_normal(lq.shape, dtype=np.float32)
    level = np.sqrt(0.25 + 0.75 * lq.astype(np.float32) / 255)
    noisy = lq + sigma * level * (np.float32(share**0.5) * grain + np.float32((1 - share) ** 0.5) * colour)
    np.testing.assert_array_equal(result, np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def test_bad_input() -> None:
    with pytest.raises(InputError, match="multiple of 4"):
        degrade_bi(np.zeros((1, 30, 32, 3), np.uint8))
    with pytest.raises(InputError, match="uint8"):
        degrade_bd(np.zeros((1, 32, 32, 3), np.float32))
    with pytest.raises(InputError, match="BI, BD, real"):
        make_degradation("bicubic")
