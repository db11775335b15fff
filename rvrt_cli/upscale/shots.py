"""Find cuts while frames stream by, with the method of PySceneDetect's ``AdaptiveDetector``.

Method (https://www.scenedetect.com/docs/latest/api/detectors.html): the content score of a frame is the mean absolute
difference of its hue, saturation and value to those of the frame before; a frame starts a shot when its score is at
least ``min_score`` and ``ratio`` times the mean score of its neighbours. The ratio keeps fast camera motion, where all
scores are high, from being taken for cuts. Re-implemented in a few lines because the package depends on the OpenCV
build with a GUI.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np

NEIGHBOURS = 2
"""Frames on each side whose scores are compared with; decisions lag this many frames behind the decoder."""
LOOKBACK = NEIGHBOURS + 1
"""Frames before a frame that its decision depends on: the oldest neighbour's score needs one frame more."""
MIN_SCORE = 15.0
RATIO = 3.0
MIN_SHOT_FRAMES = 3
"""Inserts this short are shots of their own. The package's 15 would join the next shot to them, and state would cross the cut."""
ANALYSIS_WIDTH = 256


class HasRgb(Protocol):
    """Anything with an ``rgb`` picture, (h, w, 3) float32 in [0, 1]."""

    @property
    def rgb(self) -> np.ndarray: ...


FrameT = TypeVar("FrameT", bound=HasRgb)


def to_hsv(rgb: np.ndarray) -> np.ndarray:
    """(h, w, 3) float32 [0, 1] → small (h', w', 3) int16 HSV with H in [0, 180) and S, V in [0, 255]."""
    import cv2

    height, width = rgb.shape[:2]
    factor = max(1.0, width / ANALYSIS_WIDTH)
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if factor > 1 else rgb
    eight_bit = np.rint(np.clip(small, 0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(np.ascontiguousarray(eight_bit), cv2.COLOR_RGB2HSV).astype(np.int16)


def content_score(previous: np.ndarray, current: np.ndarray) -> float:
    """Mean over H, S and V of the mean absolute difference of two pictures from :func:`to_hsv`."""
    if previous.shape != current.shape:
        return 255.0  # the resolution changed: certainly another shot
    return float(np.abs(current - previous).mean())


class CutDetector:
    """Streaming detector. ``first_index``: index of the first frame pushed; ``shot_start``: start of the shot it is in.

    ``forced``: frames that start a shot whatever they look like; it may grow while frames are pushed.
    """

    def __init__(self, first_index: int = 0, shot_start: int = 0, forced: Collection[int] = ()) -> None:
        self._forced = forced
        self._next = first_index
        self._shot_start = shot_start
        self._previous: np.ndarray | None = None
        self._scores: dict[int, float] = {}

    def push(self, rgb: np.ndarray) -> None:
        """Take the next frame, (h, w, 3) float32 in [0, 1]."""
        hsv = to_hsv(rgb)
        if self._previous is not None:
            self._scores[self._next] = content_score(self._previous, hsv)
            self._scores.pop(self._next - 2 * LOOKBACK - NEIGHBOURS, None)
        self._previous = hsv
        self._next += 1

    def starts_shot(self, index: int) -> bool:
        """Whether frame ``index`` starts a shot. Ask once per frame, in order, after its neighbours were pushed."""
        if index in self._forced:
            self._shot_start = index
            return True
        score = self._scores.get(index)
        if score is None or score < MIN_SCORE or index - self._shot_start < MIN_SHOT_FRAMES:
            return False
        offsets = [offset for offset in range(-NEIGHBOURS, NEIGHBOURS + 1) if offset]
        around = [self._scores[index + offset] for offset in offsets if index + offset in self._scores]
        mean = sum(around) / len(around) if around else 0.0
        if mean > 0 and score / mean < RATIO:
            return False
        self._shot_start = index
        return True


def flag_cuts(
    frames: Iterable[FrameT],
    detector: CutDetector,
    first_index: int = 0,
    *,
    decided: int = 0,
    cuts: Collection[int] = (),
) -> Iterator[tuple[FrameT, bool]]:
    """Yield every frame with whether it starts a new shot, ``NEIGHBOURS`` frames late. ``first_index`` as in the detector.

    Frames before ``decided`` were decided before: those in ``cuts`` start a shot, and the detector is not asked again.
    """

    def starts_shot(index: int) -> bool:
        return index in cuts if index < decided else detector.starts_shot(index)

    waiting: deque[tuple[int, FrameT]] = deque()
    for index, frame in enumerate(frames, start=first_index):
        detector.push(frame.rgb)
        waiting.append((index, frame))
        if len(waiting) > NEIGHBOURS:
            ready, oldest = waiting.popleft()
            yield oldest, starts_shot(ready)
    for ready, oldest in waiting:
        yield oldest, starts_shot(ready)
