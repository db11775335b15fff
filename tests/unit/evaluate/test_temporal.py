"""Temporal consistency on clips whose motion and flicker are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rvrt_cli.evaluate.temporal import TemporalJudge


def moving_clip(frames: int = 5) -> np.ndarray:
    noise = np.random.default_rng(0).random((96, 160, 3), dtype=np.float32)
    wide = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 20, 220, cv2.NORM_MINMAX).astype(np.uint8)
    return np.stack([wide[:, 3 * index : 3 * index + 128] for index in range(frames)])


def test_the_ground_truth_is_its_own_floor() -> None:
    clip = moving_clip()
    score = TemporalJudge(clip).score(clip)
    # Motion by whole pixels: warping it back gives the same pixels but for the error of the flow.
    assert score.warp_error == score.gt_warp_error < 2.5
    assert score.flicker == 0.0
    assert score.tof_px == 0.0


def test_flicker_is_seen_and_a_constant_error_is_not() -> None:
    clip = moving_clip()
    judge = TemporalJudge(clip)
    flickering = clip.copy()
    flickering[::2] += 12
    constant = clip + np.uint8(12)
    assert judge.score(flickering).flicker == pytest.approx(12.0, abs=0.01)
    assert judge.score(constant).flicker == pytest.approx(0.0, abs=0.01)
    assert judge.score(flickering).warp_error > judge.score(constant).warp_error + 8


def test_wrong_motion_is_seen() -> None:
    clip = moving_clip()
    frozen = np.repeat(clip[:1], len(clip), axis=0)
    assert TemporalJudge(clip).score(frozen).tof_px == pytest.approx(3.0, abs=0.6)
