"""Render in this process: decode and plan, model, encode, in three threads with bounded queues.

The model begins with the first frame; each picture goes to the encoder as soon as it is final. Memory is bounded by window
and picture, never by the length of a segment or of the film: the decoder runs at most a window ahead of the model (a few
frames where memory is short), and the encoder holds one picture while the next one waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import TypeVar

import numpy as np

from rvrt_cli.errors import InterruptedRun, OutOfMemoryError_
from rvrt_cli.inference.open_stream import open_stream
from rvrt_cli.media.frame import Frame
from rvrt_cli.upscale.events import Event, MemoryReduced, Notice, OnEvent, SegmentDone, counted
from rvrt_cli.upscale.executors import RenderJob, RenderResult, Stretch
from rvrt_cli.upscale.executors.channel import STOP, Aborted, Channel
from rvrt_cli.upscale.planner import Begin, End, EndRun, Feed, PlanSettings, detector_for, plan_segments
from rvrt_cli.upscale.progress import RunClock
from rvrt_cli.upscale.render import FinishedFile, PictureMaker, SegmentFile, write_picture

T = TypeVar("T")

TICK_S = 0.1
AHEAD = 4
"""How many frames the decoder runs ahead of the model where memory is short; otherwise a window."""
ABORT_S = 5.0
"""How long a run that ends early waits for its encoder, which puts its file away, and for a model in the middle of a window."""
READ_S = 0.5
"""How long it waits for the decoder: that may be reading from a pipe which nobody fills, and has nothing to put away."""


@dataclass(frozen=True, eq=False)
class _Made:
    """A picture on its way to the encoder, which sets ``written``."""

    frame: Frame
    picture: np.ndarray
    written: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class _Failed:
    """What ended a stage. It travels behind what the stage has made, so that this is finished first."""

    error: BaseException


class LocalExecutor:
    """Renders ``job``; ``on_event`` is called in the thread that calls :meth:`run`.

    Setting ``stop`` finishes the current segment and raises :class:`InterruptedRun`; at once where there is nothing to finish:
    while a continued run skips what is done, and in a run that cannot be continued.
    """

    def __init__(self, job: RenderJob, on_event: OnEvent, stop: threading.Event | None = None) -> None:
        self._job = job
        self._on_event = on_event
        self._stop = stop or threading.Event()
        self._result = RenderResult()
        first = job.stretches[0].state if job.stretches else None
        self._clock = RunClock(
            job.frames_done,
            job.source.frames_total,
            first.first - (first.seek.index if first.seek else 0) if first else 0,
            lambda: job.source.frames_read() - (first.seek.index if first and first.seek else 0),
        )

    def run(self) -> RenderResult:
        """Render what is left. Errors: those of the stages, :class:`InterruptedRun`."""
        fallback, result, clock = self._job.fallback, self._result, self._clock
        for stretch in self._job.stretches:
            if stretch.level is not None:
                fallback.take(stretch.level)
            left = stretch
            while True:
                attempt = _Attempt(self._job, left, clock, result, self._on_event, self._stop)
                size, left = attempt.run(), attempt.left
                if size is None:
                    break
                self._reduce(size)
        result.elapsed_s, result.skipped_s = clock.working_s(), clock.skip_s
        result.times, result.model_span_s = clock.times(), clock.model_span_s
        result.level = fallback.level
        result.engine, result.model = fallback.restorer.engine, fallback.restorer.name
        return result

    def _reduce(self, size: tuple[int, int]) -> None:
        """Take the next fallback level: the segment in which memory ran out is rendered again from its start."""
        fallback = self._job.fallback
        level = fallback.level
        if not fallback.step_down(*size):
            raise OutOfMemoryError_(
                f"memory ran out even with {level.tile} and windows of {level.window} frames; close other programs, "
                "use a machine with more memory, or upscale a smaller video."
            )
        pipe = self._job.source.pipe
        if pipe is not None and not pipe.can_repeat:
            raise OutOfMemoryError_(
                "memory ran out, and what came from standard input cannot be read again; give --memory-limit a smaller size or "
                "--window fewer frames."
            )
        level = fallback.level
        self._on_event(MemoryReduced(level.window, str(level.tile), fallback.restorer.engine))


class _Attempt:
    """One go at a stretch, with the fallback's level; ends early where memory runs out. ``left``: what is not finished of it."""

    def __init__(
        self,
        job: RenderJob,
        left: Stretch,
        clock: RunClock,
        result: RenderResult,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> None:
        level, restorer = job.fallback.level, job.fallback.restorer
        self.job, self.left, self.clock, self.result = job, left, clock, result
        self.on_event, self.stop = on_event, stop
        self.restorer = restorer
        self.settings: PlanSettings = replace(
            job.settings,
            level=level,
            model=restorer.fingerprint,
        )
        self.abort = threading.Event()
        self.steps = Channel(max(AHEAD, level.window if job.overlapped else 0), self.abort)
        self.made = Channel(1, self.abort)
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.failure: BaseException | None = None
        self.interrupted = False
        self.size = (0, 0)

    def run(self) -> tuple[int, int] | None:
        """None when all is done; (height, width) of the pictures where memory ran out."""
        # Events, not Thread.join: a join that Ctrl+C interrupts takes a running thread for a finished one (CPython 3.11).
        ended = {stage: threading.Event() for stage in ("decode", "model", "encode")}
        for stage, event in ended.items():
            threading.Thread(target=self._body(stage, event), name=stage, daemon=True).start()
        try:
            while not ended["encode"].wait(TICK_S):
                self._tell()
                if self.stop.is_set() and (self.clock.skipping or not self.job.can_continue):
                    raise InterruptedRun("Interrupted.")
        finally:
            self.abort.set()
            deadline = time.monotonic() + ABORT_S
            ended["encode"].wait(ABORT_S)
            ended["model"].wait(max(0.0, deadline - time.monotonic()))
            ended["decode"].wait(READ_S)
        self._tell()
        if isinstance(self.failure, OutOfMemoryError_ | MemoryError):
            while self.job.source.pipe is not None and not ended["decode"].wait(TICK_S):
                # It holds the pipe, which the next attempt goes on with.
                if self.stop.is_set():
                    raise InterruptedRun("Interrupted.")
            return self.size
        if self.failure is not None:
            raise self.failure
        if self.interrupted:
            raise InterruptedRun(f"Interrupted after {self.clock.frames_done} frames.")
        return None

    def _body(self, stage: str, ended: threading.Event) -> Callable[[], None]:
        """A stage as the body of a thread."""
        work: Callable[[], None] = getattr(self, stage)

        def body() -> None:
            try:
                work()
            except Aborted:
                pass
            finally:
                ended.set()

        return body

    def decode(self) -> None:
        """Decode and plan what is left."""
        state, until = self.left.state, self.left.until
        try:
            with self.job.source.open(state, lambda text: self.events.put(Notice(text))) as frames:
                detector = detector_for(state, self.job.source.forced_cuts)
                plan = plan_segments(frames, self.settings, detector, state, until)
                for step in self._timed("decode", plan):
                    self.clock.skipped()
                    self.steps.put(step)
            self.steps.put(STOP)
        except Aborted:
            raise
        except BaseException as error:
            self.steps.put(_Failed(error))

    def model(self) -> None:
        """Make pictures of frames."""
        maker: PictureMaker | None = None
        try:
            for step in self.steps:
                if not isinstance(step, Feed | EndRun):
                    self.made.put(step)
                    continue
                if maker is None:
                    assert isinstance(step, Feed)
                    maker = self._open_maker(step.frame)
                self._make(maker, step)
            self.made.put(STOP)
        except Aborted:
            raise
        except (OutOfMemoryError_, MemoryError) as error:
            self.made.put(_Failed(error.with_traceback(None)))  # it would hold what took the memory
        except BaseException as error:
            self.made.put(_Failed(error))
        finally:
            if maker is not None:
                maker.close()

    def _open_maker(self, frame: Frame) -> PictureMaker:
        window = self.settings.level.window
        self.clock.model_begins(f"preparing the model and upscaling a window of {counted(window, 'frame')}")
        self.size = (frame.rgb.shape[0], frame.rgb.shape[1])
        with self.clock.busy("model"):
            return PictureMaker(
                open_stream(
                    self.restorer,
                    *self.size,
                    window=window,
                    lookahead=self.settings.overlap,
                    tile=self.settings.level.tile,
                )
            )

    def _make(self, maker: PictureMaker, step: Feed | EndRun) -> None:
        for frame, picture in self._timed("model", maker.take(step)):
            self.clock.picture_made(self.settings.level.window)
            if self.job.source.pipe is not None:
                self.job.source.pipe.release()
            if self.job.overlapped:
                self.made.put(_Made(frame, picture.copy()))  # the stream goes on with its own meanwhile
            else:
                made = _Made(frame, picture)
                self.made.put(made)
                self.made.wait(made.written)

    def encode(self) -> None:
        """Write pictures into segments; those that are finished are handed over."""
        file: SegmentFile | None = None
        corrupt = written = 0
        try:
            for item in self.made:
                if isinstance(item, Begin):
                    file, corrupt, written = self.job.open_file(item.index), 0, 0
                    continue
                if isinstance(item, _Failed):
                    raise item.error
                assert file is not None
                with self.clock.busy("encode"):
                    if isinstance(item, _Made):
                        write_picture(self.job.finish, item.frame, item.picture, file)
                        item.written.set()
                        corrupt += item.frame.corrupt
                        self.clock.frames_done += 1
                        written += 1
                        continue
                    finished = FinishedFile(*file.close(), corrupt)
                    file = None
                    self._hand_over(item, finished)
                if self.stop.is_set():
                    self.interrupted = True
                    return
        except Aborted:
            raise
        except BaseException as error:
            self.failure = error
        finally:
            self.abort.set()
            if file is not None:
                file.abort()
                self.clock.frames_done -= written

    def _hand_over(self, end: End, finished: FinishedFile) -> None:
        segment = end.segment
        self.job.finished(segment, finished, end.after)
        self.result.frames += segment.frames
        self.result.shots += len(segment.cuts)
        self.result.corrupt += finished.corrupt
        self.left = replace(self.left, state=end.after)
        self.events.put(SegmentDone(segment.index, self.clock.frames_done))

    def _timed(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        """``items``, with the time that each one takes counted for ``stage``."""
        while True:
            with self.clock.busy(stage):
                item = next(items, None)
            if item is None:
                return
            yield item
            del item

    def _tell(self) -> None:
        while not self.events.empty():
            self.on_event(self.events.get())
        self.on_event(self.clock.progress())
