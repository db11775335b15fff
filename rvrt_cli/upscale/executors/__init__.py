"""Executors take a job apart into segments, have them rendered and hand over the finished files, in whatever order.

One file each: :mod:`.local` renders in this process while it decodes. What an executor needs is all in :class:`RenderJob`:
the plan (frames, settings, what is left of it), what renders a segment, and whom to tell about a finished one. Because a
segment says by itself what its file holds, several devices or machines are another file here and change nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from rvrt_cli.upscale.events import StageTimes
from rvrt_cli.upscale.finish import Finish
from rvrt_cli.upscale.frame_source import FrameSource
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.oom_fallback import OomFallback
from rvrt_cli.upscale.planner import PlanSettings
from rvrt_cli.upscale.render import FinishedFile, SegmentFile
from rvrt_cli.upscale.segments import PlannerState, Segment


@dataclass(frozen=True)
class Stretch:
    """What is left to do between finished segments: from ``state`` to frame ``until``, None for the end of the film.

    ``level``: the fallback's to begin with; None: the one in use.
    """

    state: PlannerState
    until: int | None = None
    level: Level | None = None


@dataclass(frozen=True)
class RenderJob:
    """What is to be rendered. ``stretches``: the part of the film that has no finished segments.

    ``settings``: of the plan; window, tiles, fallback and model are the ``fallback``'s. ``open_file`` gets a segment's index;
    ``finished`` is called with each finished segment, from any thread, one call at a time. ``frames_done``: in finished segments.
    ``overlapped`` False: no picture is made while the one before is encoded, which takes less memory and changes no byte.
    ``can_continue`` False: finished segments are of no use to a later run, so that a stop need not wait for one.
    """

    source: FrameSource
    settings: PlanSettings
    fallback: OomFallback
    finish: Finish
    open_file: Callable[[int], SegmentFile]
    finished: Callable[[Segment, FinishedFile, PlannerState], None]
    stretches: tuple[Stretch, ...] = (Stretch(PlannerState()),)
    frames_done: int = 0
    overlapped: bool = True
    can_continue: bool = True


@dataclass
class RenderResult:
    """Counts of one run (frames of this run only). ``elapsed_s`` and ``times`` leave out ``skipped_s``, see :mod:`..progress`."""

    frames: int = 0
    shots: int = 0
    corrupt: int = 0
    elapsed_s: float = 0.0
    skipped_s: float = 0.0
    times: StageTimes = field(default_factory=StageTimes)
    model_span_s: float = 0.0
    level: Level | None = None
    engine: str = ""
    model: str = ""

    @property
    def model_busy(self) -> float:
        """Share of the time between the model's first frame and its last picture in which it was computing."""
        return min(1.0, self.times.model_s / self.model_span_s) if self.model_span_s > 0 else 0.0


class Executor(Protocol):
    """Renders what is left of a job. Errors of the stages are raised as they are; open segments are dropped then."""

    def run(self) -> RenderResult: ...
