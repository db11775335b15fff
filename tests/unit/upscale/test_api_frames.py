"""Frames in memory: types, shapes, errors."""

from __future__ import annotations

import numpy as np
import pytest

from rvrt_cli.api import load_model, upscale_frames
from rvrt_cli.errors import InputError, UsageError
from rvrt_cli.imaging.resize import imresize_u8

FRAMES = np.random.default_rng(0).integers(0, 256, (21, 20, 24, 3), np.uint8)


def test_uint8_frames_become_uint8():
    with load_model("bicubic") as model:
        out = upscale_frames(FRAMES, model=model, window=8)
    assert out.dtype == np.uint8
    assert np.abs(out.astype(int) - imresize_u8(FRAMES, scale=4)).max() <= 1


def test_float_frames_and_one_frame():
    out = upscale_frames(FRAMES[:1] / 255.0, model="bicubic")
    assert out.dtype == np.float32
    assert out.shape == (1, 80, 96, 3)
    assert out.min() >= 0
    assert out.max() <= 1


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 2, 3)),
        np.zeros((0, 2, 2, 3)),
        np.zeros((1, 2, 2, 4)),
        np.zeros((1, 2, 2, 3), int),
        np.full((1, 2, 2, 3), np.nan),
    ],
)
def test_bad_frames(frames):
    with pytest.raises(InputError, match="frames"):
        upscale_frames(frames, model="bicubic")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": 8}, "upscale_frames has no option 'windows'; did you mean window?"),
        ({"crf": 18}, "upscale_frames has no option 'crf'; choose among window, overlap"),
        ({"tile": 128}, "An option of upscale_frames is of the wrong type"),
        ({"window": 7}, "--window must be an even number"),
    ],
)
def test_mistakes_are_usage_errors(options, message):
    with pytest.raises(UsageError) as caught:
        upscale_frames(FRAMES, model="bicubic", **options)
    assert message in str(caught.value)
