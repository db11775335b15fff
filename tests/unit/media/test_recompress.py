"""A clip through x264 and back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rvrt_cli.media.recompress import compress_h264, compress_h264_frames


@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (5, 31, 45, 3)])
def test_h264_keeps_shape_and_order(shape: tuple[int, ...]) -> None:
    clip = np.empty(shape, np.uint8)
    clip[:] = np.linspace(40, 200, shape[0])[:, None, None, None]
    result = compress_h264(clip, crf=20)
    assert result.shape == shape
    np.testing.assert_allclose(result.mean(axis=(1, 2, 3)), clip.mean(axis=(1, 2, 3)), atol=2.5)


def test_higher_crf_loses_more() -> None:
    # Grey: 4:2:0 halves the resolution of colour, which would drown everything else in independent channels.
    noise = np.repeat(np.random.default_rng(0).random((64, 112, 1), dtype=np.float32), 3, axis=2)
    wide = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    clip = np.stack([wide[:, 4 * index : 4 * index + 96] for index in range(4)])
    errors = [np.abs(compress_h264(clip, crf).astype(float) - clip).mean() for crf in (10, 25, 40)]
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("preset", ["veryfast", "medium"])
def test_the_same_frames_give_the_same_bytes(preset: str) -> None:
    """With x264's macroblock tree one in some hundred runs differed, on some processors."""
    noise = np.random.default_rng(1).random((7, 16, 24, 3), dtype=np.float32)
    clip = np.stack([cv2.GaussianBlur(255 * frame, (0, 0), 1.5) for frame in noise]).astype(np.uint8)
    assert len({compress_h264(clip, 23.0, preset).tobytes() for _ in range(60)}) == 1


def test_no_frames_give_none() -> None:
    assert list(compress_h264_frames(iter(()), 20.0)) == []
