"""decode → shots → windows → tiles → model → blend → encode, in three threads with bounded queues.

Memory is bounded by (window × picture), never by the length of the film: the decoder runs at most one window ahead of
the model (a few frames where memory is short), and the model begins a window only when the encoder has taken the one
before, so that two windows of pictures exist at most. Everything that decides the output's bytes (windows, segment
boundaries) is a pure function of the frames and the settings, so a run that continues after an interruption makes the
same segments.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rvrt_cli.errors import InterruptedRun, NonFiniteError, OutOfMemoryError_
from rvrt_cli.inference.tiles import TilePlan
from rvrt_cli.media.frame import Frame
from rvrt_cli.upscale.channel import END, NOTHING, Aborted, Channel
from rvrt_cli.upscale.events import OnEvent, SegmentDone, counted
from rvrt_cli.upscale.job import FinishedSegment, PipelineResult, PipelineSettings, Sink
from rvrt_cli.upscale.journal import Restart
from rvrt_cli.upscale.ladder import Ladder
from rvrt_cli.upscale.pace import Pace
from rvrt_cli.upscale.shots import LOOKBACK, flag_cuts
from rvrt_cli.upscale.windows import Window, WindowBlender, Windower

TICK_S = 0.1
AHEAD = 4
"""How many frames the decoder runs ahead of the model where memory is short; otherwise a window."""
ABORT_S = 5.0
"""How long a run that is stopped at once waits for its threads; a model in the middle of a window is not waited for."""


@dataclass(frozen=True)
class _Restored:
    """A window on its way to the encoder."""

    window: Window
    frames: list[Frame]
    pictures: np.ndarray  # float32, or codes of tiles
    tile: TilePlan
    rung: int


class _Run:
    def __init__(
        self, settings: PipelineSettings, sink: Sink, on_event: OnEvent, stop: threading.Event
    ) -> None:
        self.settings = settings
        self.sink = sink
        self.on_event = on_event
        self.stop = stop
        self.abort = threading.Event()
        self.decoded = Channel(max(AHEAD, settings.window if settings.overlapped else 0), self.abort)
        self.restored = Channel(1, self.abort)
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.errors: list[BaseException] = []
        self.pace = Pace(
            settings.start_frame,
            settings.frames_total,
            settings.restart.decode_from if settings.restart else 0,
            settings.frames_read,
        )
        self.result = PipelineResult()
        self.interrupted = False

    def decode(self) -> None:
        restart = self.settings.restart
        first = restart.decode_from if restart else 0
        shot_start = restart.shot_start if restart else 0
        with self.settings.decode(first) as frames:
            flagged: Iterator[tuple[Frame, bool]]
            if self.settings.detect_shots:
                flagged = flag_cuts(frames, self.settings.shot_detector(first, shot_start), first)
            else:
                flagged = ((frame, False) for frame in frames)
            while True:
                with self.pace.busy("decode"):
                    item = next(flagged, None)
                self.pace.skipped()
                if item is None:
                    break
                self.decoded.put(item)
        self.decoded.put(END)

    def model(self) -> None:
        settings, restart = self.settings, self.settings.restart
        # A continued run goes on with the window and tiles that made its last frame; the plan is for a further rung.
        engine = Ladder(
            settings.rungs,
            settings.window,
            settings.overlap,
            settings.tile,
            self.events.put,
            rung=restart.rung if restart else 0,
        )
        if restart is not None:
            engine.window = restart.window
            if restart.tile_px != settings.tile.tile_px:
                engine.tile = TilePlan(restart.tile_px, restart.tile_overlap_px)
        windower: Windower[Frame] = Windower(
            iter(self.decoded),
            engine.window,
            settings.overlap,
            first_index=restart.decode_from if restart else 0,
            shot_start=restart.shot_start if restart else 0,
            origin=restart.origin if restart else 0,
        )
        try:
            item = windower.next()
            while item is not None:
                window, frames = item
                self.pace.window_begins(
                    f"preparing the model and upscaling a window of {counted(len(frames), 'frame')}"
                )
                lq = np.stack([frame.rgb for frame in frames])
                np.clip(lq, 0, 1, out=lq)
                try:
                    with self.pace.busy("model"):
                        pictures = engine.run(lq, partial(_check_finite, window))
                except (OutOfMemoryError_, MemoryError) as error:
                    if not engine.step_down(*lq.shape[1:3]):
                        raise OutOfMemoryError_(
                            f"memory ran out even with {engine.tile} and windows of {engine.window} frames; close other programs, "
                            "use a machine with more memory, or upscale a smaller video."
                        ) from error
                    item = windower.shrink(engine.window)
                    continue
                self.pace.window_done(window.final)
                restored = _Restored(window, frames, pictures, engine.tile, engine.rung)
                del pictures, lq
                self.restored.hand_over(restored)
                del restored
                if not settings.overlapped:
                    self.restored.hand_over(NOTHING)
                item = windower.next()
        finally:
            self.result.window, self.result.tile = engine.window, engine.tile
            self.result.engine, self.result.model = engine.restorer.engine, engine.restorer.name
            engine.restorer.close()
        self.restored.put(END)

    def encode(self) -> None:
        settings = self.settings
        blender = WindowBlender(settings.start_frame)
        frames: dict[int, Frame] = {}
        # Frame -> the earliest window that has weight on it: planning continues from there after an interruption.
        makers: dict[int, _Restored] = {}
        segment = settings.first_segment
        segment_start = settings.start_frame
        shots = corrupt = 0
        last: tuple[int, Restart] | None = None
        sr: np.ndarray | None
        picture: np.ndarray | None

        def close_segment(index: int, restart: Restart) -> None:
            nonlocal segment, segment_start, shots, corrupt
            self.sink.end_segment(FinishedSegment(segment, segment_start, index + 1, restart, shots, corrupt))
            self.events.put(SegmentDone(segment, index + 1))
            self.result.shots += shots
            self.result.corrupt += corrupt
            segment, segment_start, shots, corrupt = segment + 1, index + 1, 0, 0

        for restored in self.restored:
            window = restored.window
            lean = _Restored(window, [], np.empty(0), restored.tile, restored.rung)
            for position, frame in enumerate(restored.frames):
                index = window.start + position
                if window.first <= index < window.last and index >= settings.start_frame:
                    frames.setdefault(index, frame)
                    makers.setdefault(index, lean)
            with self.pace.busy("encode"):
                for index, sr in blender.add(window, restored.pictures):
                    frame, maker = frames.pop(index), makers.pop(index)
                    if index == segment_start:
                        self.sink.begin_segment(segment)
                    picture = settings.finish.picture(frame.rgb, sr)
                    alpha = settings.finish.alpha(frame.alpha) if frame.alpha is not None else None
                    self.sink.write(frame, picture, alpha)
                    shots += index == window.shot_start
                    corrupt += frame.corrupt
                    self.pace.frames_done = index + 1
                    self.result.frames += 1
                    last = (index, _restart_from(maker))
                    if (index + 1) % settings.segment_frames == 0:
                        close_segment(*last)
                        if self.stop.is_set():
                            self.interrupted = True
                            raise Aborted
                    sr = picture = None  # before the next picture needs its memory
            # Views of the window's pictures would keep all of them while the next window is waited for.
            sr = picture = None
            del restored
        if last is not None and last[0] + 1 > segment_start:
            close_segment(*last)

    def guarded(self, work: Callable[[], None], ended: threading.Event) -> Callable[[], None]:
        """``work`` as the body of a thread: its errors end the run, and ``ended`` is set when it leaves."""

        def body() -> None:
            try:
                work()
            except Aborted:
                self.abort.set()
            except MemoryError:
                self.errors.append(
                    OutOfMemoryError_(
                        "memory ran out beside the model; give --memory-limit a smaller size or --window fewer frames."
                    )
                )
                self.abort.set()
            except BaseException as error:
                self.errors.append(error)
                self.abort.set()
            finally:
                ended.set()

        return body

    def execute(self) -> PipelineResult:
        # Events, not Thread.join: a join that Ctrl+C interrupts takes a running thread for a finished one (CPython 3.11),
        # and the sink would be closed under the encoder.
        works = (self.decode, self.model, self.encode)
        ended = [threading.Event() for _ in works]
        for work, event in zip(works, ended, strict=True):
            threading.Thread(target=self.guarded(work, event), name=work.__name__, daemon=True).start()
        try:
            for event in reversed(ended):
                while not event.wait(TICK_S):
                    self._tell()
                    if self.stop.is_set() and self.pace.skipping:
                        raise InterruptedRun("Interrupted before a new frame.")
        except BaseException:
            self.abort.set()
            deadline = time.monotonic() + ABORT_S
            # The decoder skips in one go, which can take minutes; it holds nothing that must be put away.
            for event in ended[1:] if self.pace.skipping else ended:
                event.wait(max(0.0, deadline - time.monotonic()))
            if ended[-1].is_set():
                self.sink.abort()
            raise
        self._tell()
        if self.errors:
            self.sink.abort()
            raise self.errors[0]
        if self.interrupted:
            raise InterruptedRun(f"Interrupted after {self.pace.frames_done} frames.")
        self.result.elapsed_s, self.result.skipped_s = self.pace.working_s(), self.pace.skip_s
        self.result.times, self.result.model_span_s = self.pace.times(), self.pace.model_span_s
        return self.result

    def _tell(self) -> None:
        while not self.events.empty():
            self.on_event(self.events.get())
        self.on_event(self.pace.progress())


def _check_finite(window: Window, pictures: np.ndarray) -> None:
    """Raise :class:`NonFiniteError` where the model made NaN or infinite values in (a tile of) ``window``."""
    # One sum finds NaN and infinity without a second array of this size; in float32 it takes a third of the time.
    if not math.isfinite(float(pictures.sum())):
        raise NonFiniteError(
            f"the model made NaN or infinite pixels in frames {window.start} to {window.stop - 1}; "
            "try --precision fp32 or another --backend, and report it."
        )


def _restart_from(maker: _Restored) -> Restart:
    window = maker.window
    first = max(0, min(window.start, window.origin) - LOOKBACK)
    return Restart(
        first,
        window.shot_start,
        window.origin,
        window.size,
        maker.tile.tile_px,
        maker.tile.overlap_px,
        maker.rung,
    )


def run_pipeline(
    settings: PipelineSettings, sink: Sink, on_event: OnEvent, stop: threading.Event | None = None
) -> PipelineResult:
    """Upscale from ``settings.start_frame`` to the end of the source into ``sink``.

    ``on_event`` is called in the calling thread. Setting ``stop`` finishes the current segment and raises
    :class:`InterruptedRun`; while a continued run skips what is done, it does so at once. Errors of the stages are raised as they are; the open segment is dropped then.
    """
    return _Run(settings, sink, on_event, stop or threading.Event()).execute()
