"""Synthetic motion: determinism, displacement, sharpness that does not depend on the sub-pixel phase."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from rvrt_cli.data.motion import MotionSettings, synthesize_clip
from rvrt_cli.errors import InputError

CALM = MotionSettings(
    static_share=0.0,
    fast_share=0.0,
    shake_share=0.0,
    rotation_degrees=0.0,
    zoom=0.0,
    perspective=0.0,
    elastic_share=0.0,
    layers=(1.0,),
)


def textured_photo(height: int = 400, width: int = 500, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.2)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return (smooth * 255).astype(np.uint8)


def test_same_seed_same_bytes_and_shape() -> None:
    photos = [textured_photo(), textured_photo(seed=1)]
    clips = [synthesize_clip(photos, np.random.default_rng(7), 5, 48, 64) for _ in range(2)]
    assert clips[0].shape == (5, 48, 64, 3)
    assert clips[0].dtype == np.uint8
    np.testing.assert_array_equal(clips[0], clips[1])
    assert (synthesize_clip(photos, np.random.default_rng(8), 5, 48, 64) != clips[0]).any()


def test_a_fast_pan_moves_by_its_speed() -> None:
    settings = replace(CALM, fast_share=1.0, fast_gt_px=(6.0, 6.0))
    for seed in range(4):
        clip = (
            synthesize_clip([textured_photo()], np.random.default_rng(seed), 3, 96, 96, settings)
            .astype(np.float32)
            .mean(-1)
        )
        window = cv2.createHanningWindow((96, 96), cv2.CV_32F)
        (x, y), _ = cv2.phaseCorrelate(clip[1], clip[2], window)
        # The acceleration is at most a few tenths of the speed here.
        assert np.hypot(x, y) == pytest.approx(6.0, abs=2.0)


def test_static_clips_repeat_one_frame() -> None:
    clip = synthesize_clip(
        [textured_photo()], np.random.default_rng(0), 4, 32, 32, replace(CALM, static_share=1.0)
    )
    assert (clip == clip[0]).all()


def test_layers_move_over_a_static_background() -> None:
    black, white = np.zeros((300, 300, 3), np.uint8), np.full((300, 300, 3), 255, np.uint8)
    settings = replace(CALM, fast_share=1.0, fast_gt_px=(5.0, 5.0), layers=(0.0, 1.0))
    clip = synthesize_clip([black, white], np.random.default_rng(3), 6, 64, 64, settings)
    assert clip.min() == 0
    assert clip.max() == 255
    assert (clip[0] != clip[-1]).mean() > 0.02


def test_every_frame_is_equally_sharp() -> None:
    """A sub-pixel shift must not blur: interpolation straight onto the clip's grid loses a third of the detail at half a pixel."""
    clip = synthesize_clip(
        [textured_photo()], np.random.default_rng(1), 9, 96, 96, replace(CALM, median_speed_gt_px=0.37)
    )
    detail = [float(cv2.Laplacian(frame, cv2.CV_32F)[4:-4, 4:-4].std()) for frame in clip]
    assert max(detail) / min(detail) < 1.06


@pytest.mark.parametrize("frames", [1, 2, 30])
def test_small_photos_and_long_clips_stay_inside_by_mirroring(frames: int) -> None:
    photo = textured_photo(70, 66)
    for seed in range(5):
        clip = synthesize_clip([photo], np.random.default_rng(seed), frames, 64, 64)
        assert clip.shape == (frames, 64, 64, 3)
        assert clip.std() > 5


def test_a_photo_smaller_than_the_patch_is_refused() -> None:
    with pytest.raises(InputError, match="smaller than the 64×64 patch"):
        synthesize_clip([textured_photo(60, 200)], np.random.default_rng(0), 3, 64, 64)
