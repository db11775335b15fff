"""The clock of a run: how fast frames come out, how busy each stage is, and what goes on before the first frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rvrt_cli.upscale.events import Progress, StageTimes


class RunClock:
    """Times one run; each method belongs to one thread, :meth:`progress` to any.

    ``frames_done``: those that an earlier run has made. A continued run first decodes ``skip_frames`` frames and throws them away.
    That time is kept apart (``skip_s``): it says nothing about how fast the rest will be. ``frames_read``: how many frames the
    decoder has passed.
    """

    def __init__(
        self,
        frames_done: int,
        frames_total: int | None,
        skip_frames: int = 0,
        frames_read: Callable[[], int] = lambda: 0,
    ) -> None:
        self.start_frame = frames_done
        self.frames_total = frames_total
        self.frames_done = frames_done
        self.skip_frames = skip_frames
        self.frames_read = frames_read
        self.skipping = skip_frames > 0
        self.skip_s = 0.0
        self.model_span_s = 0.0
        """From the first frame that the model got to the last picture it gave."""
        self._began = time.perf_counter()
        self._doing = "reading the first frames"
        self._busy = {"decode": 0.0, "model": 0.0, "encode": 0.0}
        # One entry a stage, always: its thread sets it while the run's thread looks at all of them.
        self._since: dict[str, float | None] = dict.fromkeys(self._busy)
        self._model_began: float | None = None
        self._pictures = 0
        self._steady: tuple[float, int] | None = None
        self._s_per_frame: float | None = None

    @contextmanager
    def busy(self, stage: str) -> Iterator[None]:
        """Count the time of the block for ``stage``: decode, model or encode."""
        before = self._since[stage] = time.perf_counter()
        try:
            yield
        finally:
            self._since[stage] = None
            self._busy[stage] += time.perf_counter() - before

    def skipped(self) -> None:
        """The first frame that is needed was decoded: what comes before it is forgotten."""
        if self.skipping:
            self.skip_s, self.skipping = self._elapsed(), False
            self._busy["decode"] = 0.0

    def model_begins(self, doing: str) -> None:
        """The model gets a frame; ``doing`` says in words what goes on until pictures come out."""
        if self._model_began is None:
            self._model_began = time.perf_counter()
            self._doing = doing

    def picture_made(self, window: int) -> None:
        """The model gave a picture. The first ``window`` pictures say nothing about the others: the model is compiled meanwhile."""
        now = time.perf_counter()
        assert self._model_began is not None
        self.model_span_s = now - self._model_began
        self._pictures += 1
        if self._steady is None:
            self._steady = (now, self._pictures) if self._pictures >= window else None
        else:
            self._s_per_frame = (now - self._steady[0]) / (self._pictures - self._steady[1])

    def times(self) -> StageTimes:
        """How long each stage was busy since skipping ended, what it is at now included."""
        now = time.perf_counter()
        busy = dict(self._busy)
        if not self.skipping:
            for stage, since in self._since.items():
                busy[stage] += now - since if since is not None else 0.0
        return StageTimes(busy["decode"], busy["model"], busy["encode"])

    def working_s(self) -> float:
        """Seconds since the run began, without those it skipped in."""
        return 0.0 if self.skipping else self._elapsed() - self.skip_s

    def progress(self) -> Progress:
        """The state of the run as an event."""
        done = self.frames_done - self.start_frame
        working_s = self.working_s()
        fps = done / working_s if working_s > 0 else 0.0
        s_per_frame = self._s_per_frame or (1 / fps if fps > 0 else None)
        eta_s = None
        if self.frames_total is not None and s_per_frame is not None:
            eta_s = max(0.0, (self.frames_total - self.frames_done) * s_per_frame)
        doing, share = (None if done else self._doing), None
        if self.skipping:
            doing = f"skipping to frame {self.start_frame}"
            share = min(1.0, self.frames_read() / self.skip_frames)
        return Progress(
            frames_done=self.frames_done,
            frames_total=self.frames_total,
            elapsed_s=self._elapsed(),
            fps=fps,
            eta_s=eta_s,
            stages=self.times().shares(working_s),
            doing=doing,
            doing_share=share,
        )

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began
