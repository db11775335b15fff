"""What a run computes, where its pictures go, and what it counts: the terms between the pipeline and those who start it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.inference.tiles import TilePlan
from rvrt_cli.media.frame import Frame
from rvrt_cli.upscale.events import StageTimes
from rvrt_cli.upscale.finish import Finish
from rvrt_cli.upscale.journal import Restart
from rvrt_cli.upscale.shots import CutDetector


class Sink(Protocol):
    """Where finished pictures go, segment by segment. Called from one thread."""

    def begin_segment(self, index: int) -> None: ...

    def write(self, frame: Frame, picture: np.ndarray, alpha: np.ndarray | None) -> None:
        """``picture`` (H, W, 3) float32; ``frame`` carries index and timestamps."""
        ...

    def end_segment(self, finished: FinishedSegment) -> None:
        """Close the segment and record it; when this returns, a killed run continues after it."""
        ...

    def abort(self) -> None:
        """Drop the segment that is open, if any."""
        ...


@dataclass(frozen=True)
class FinishedSegment:
    """What is known of a segment when its last frame was written."""

    index: int
    start: int
    stop: int
    restart: Restart
    shots: int
    corrupt: int


@dataclass(frozen=True)
class PipelineSettings:
    """What a run computes. ``start_frame`` and ``restart`` continue an interrupted run; ``first_segment`` is its next index.

    ``decode``: opens the source after skipping N frames. ``rungs``: makers of the restorers to use, the first until memory
    runs out with it. ``detect_shots`` False treats the film as one shot. ``overlapped`` False: the model
    waits until a window is encoded before it makes the next, which halves the memory and changes no byte. ``frames_read``: how many frames the decoder has passed, skipped ones included.
    """

    decode: Callable[[int], AbstractContextManager[Iterator[Frame]]]
    rungs: Sequence[Callable[[], Restorer]]
    finish: Finish
    window: int
    overlap: int
    tile: TilePlan
    segment_frames: int
    frames_total: int | None = None
    start_frame: int = 0
    first_segment: int = 0
    restart: Restart | None = None
    detect_shots: bool = True
    overlapped: bool = True
    shot_detector: Callable[[int, int], CutDetector] = CutDetector
    frames_read: Callable[[], int] = lambda: 0


@dataclass
class PipelineResult:
    """Counts of one run (frames of this run only). ``elapsed_s`` and ``times`` leave out ``skipped_s``, see :mod:`.pace`."""

    frames: int = 0
    shots: int = 0
    corrupt: int = 0
    elapsed_s: float = 0.0
    skipped_s: float = 0.0
    times: StageTimes = field(default_factory=StageTimes)
    model_span_s: float = 0.0
    window: int = 0
    tile: TilePlan = field(default_factory=lambda: TilePlan(None))
    engine: str = ""
    model: str = ""

    @property
    def model_busy(self) -> float:
        """Share of the time between the first window and the last in which the model was computing."""
        return min(1.0, self.times.model_s / self.model_span_s) if self.model_span_s > 0 else 0.0
