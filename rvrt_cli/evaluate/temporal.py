"""Temporal consistency: does the picture flicker where the film does not?

Both figures use the optical flow of the ground truth (DIS, Kroeger et al. 2016, OpenCV's "medium" preset), so every
method is judged by the same motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CONSISTENT_PX = 1.0


@dataclass(frozen=True)
class TemporalScore:
    """``warp_error``: mean absolute difference, in 8-bit levels, between a frame and the previous one moved by the flow,
    where the flow is consistent in both directions (after Lai et al. 2018). ``gt_warp_error``: the same of the ground
    truth itself. Smooth pictures score low in both, so ``flicker`` tells more: the same figure of the difference between
    result and ground truth, that is, how much the error itself changes along the motion (0 for the ground truth). ``tof_px``: mean distance between the flows of the result and of the ground truth (tOF, Chu
    et al. 2020)."""

    warp_error: float
    gt_warp_error: float
    flicker: float
    tof_px: float


class TemporalJudge:
    """Flow of one ground-truth clip, computed once and used for every method."""

    def __init__(self, gt: np.ndarray) -> None:
        """``gt``: (t, h, w, 3) uint8 with at least two frames of 16 pixels on each side."""
        self._grey = [_grey(frame) for frame in gt]
        pairs = range(1, len(gt))
        # Backward flow: where each pixel of frame i comes from in frame i - 1.
        self._flows = [_flow(self._grey[i], self._grey[i - 1]) for i in pairs]
        self._masks = [
            _consistent(self._flows[i - 1], _flow(self._grey[i - 1], self._grey[i])) for i in pairs
        ]
        self._gt = gt
        self._gt_error = self._warp_error(gt)

    def score(self, sr: np.ndarray) -> TemporalScore:
        """Judge (t, h, w, 3) uint8 frames of the ground truth's size."""
        grey = [_grey(frame) for frame in sr]
        distances = [
            float(np.linalg.norm(_flow(grey[i], grey[i - 1]) - self._flows[i - 1], axis=-1).mean())
            for i in range(1, len(sr))
        ]
        error = sr.astype(np.int16) - self._gt
        return TemporalScore(
            self._warp_error(sr), self._gt_error, self._warp_error(error), float(np.mean(distances))
        )

    def _warp_error(self, frames: np.ndarray) -> float:
        errors = []
        for i, (flow, mask) in enumerate(zip(self._flows, self._masks, strict=True), 1):
            if mask.any():
                difference = np.abs(frames[i].astype(np.float32) - _warp(frames[i - 1], flow))
                errors.append(float(difference[mask].mean()))
        return float(np.mean(errors)) if errors else 0.0


def _grey(frame: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(h, w, 2) float32 from ``first`` to ``second`` in pixels."""
    import cv2

    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)  # type: ignore[call-overload] # OpenCV's stubs lack the None


def _positions(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    h, w = flow.shape[:2]
    return flow[..., 0] + np.arange(w, dtype=np.float32), flow[..., 1] + np.arange(h, dtype=np.float32)[
        :, None
    ]


def _warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.remap(
        image.astype(np.float32), *_positions(flow), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _consistent(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where following the flow and then the opposite one returns to the start, inside the picture: (h, w) bool."""
    h, w = flow.shape[:2]
    x, y = _positions(flow)
    inside = (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)
    return inside & (np.linalg.norm(flow + _warp(back, flow), axis=-1) < _CONSISTENT_PX)
