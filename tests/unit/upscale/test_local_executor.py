"""The local executor with frames from memory: every frame once, fallbacks, errors in order, stops, bounded queues."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import pytest
from random_films import TemporalMean

from rvrt_cli.errors import DiskFullError, InputError, InterruptedRun, NonFiniteError, OutOfMemoryError_
from rvrt_cli.inference.tiles import TilePlan
from rvrt_cli.media.frame import Frame
from rvrt_cli.upscale.events import MemoryReduced, Progress, SegmentDone, ignore_event
from rvrt_cli.upscale.executors import RenderJob, Stretch
from rvrt_cli.upscale.executors.local import LocalExecutor
from rvrt_cli.upscale.finish import Finish
from rvrt_cli.upscale.frame_source import FrameSource, PipeFrames, frames_in_memory
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.oom_fallback import OomFallback
from rvrt_cli.upscale.planner import PlanSettings
from rvrt_cli.upscale.segments import PlannerState

HEIGHT, WIDTH = 40, 48


class HungryRestorer(TemporalMean):
    """Runs out of memory above a number of pixels per call; its pictures are its input."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, lq):
        if lq.shape[0] * lq.shape[1] * lq.shape[2] > self.limit:
            raise OutOfMemoryError_("too much")
        self.seen.append(lq.shape)
        return lq.copy()


class Collect:
    """Where segments go: keeps the pictures of those that were closed."""

    def __init__(self) -> None:
        self.frames: dict[int, np.ndarray] = {}
        self.segments = []
        self.states = []
        self.aborted = False

    def open_file(self, index):
        self.current: dict[int, np.ndarray] = {}
        return self

    def write(self, frame, picture, alpha):
        assert frame.index not in self.current
        self.current[frame.index] = picture.copy()

    def close(self):
        return "", ""

    def finished(self, segment, file, after):
        assert list(self.current) == list(range(segment.start, segment.stop))
        self.frames |= self.current
        self.segments.append(segment)
        self.states.append(after)

    def abort(self):
        self.aborted = True


def pictures(count: int, cuts: tuple[int, ...] = ()) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    base, out = rng.random((HEIGHT, WIDTH, 3), np.float32) * 0.2, []
    for i in range(count):
        if i in cuts:
            base = np.roll(rng.random((HEIGHT, WIDTH, 3), np.float32), 1, axis=-1) * (
                0.2 if len(out) % 2 else 1.0
            )
        out.append(np.clip(base + 0.001 * i, 0, 1))
    return out


def settings(
    count=60, cuts=(), restorers=None, decoded=None, window=8, overlap=4, tile=None, **changes
) -> dict:
    """Arguments of a :class:`RenderJob` but for where its pictures go."""
    films = pictures(count, cuts)

    def frames(first):
        for i in range(first, count):
            if decoded is not None:
                decoded.append(i)
            yield Frame(i, 10 * i, 10, films[i])

    level = Level(window, tile or TilePlan(None))
    values = {
        "source": frames_in_memory(frames, count),
        "settings": PlanSettings(10, Level(window), overlap),
        "fallback": OomFallback(restorers or [TemporalMean], level),
        "finish": Finish(HEIGHT, WIDTH),
    }
    return {**values, **changes}


def run(config, sink=None, events=None, stop=None):
    sink = sink or Collect()
    job = RenderJob(open_file=sink.open_file, finished=sink.finished, **config)
    tell: Callable = ignore_event if events is None else events.append
    return sink, LocalExecutor(job, tell, stop).run()


def source_of(frames, total=None, pipe=None) -> FrameSource:
    @contextmanager
    def open_frames(state, tell):
        yield frames(state.first)

    return FrameSource(open_frames, total, pipe=pipe)


def test_every_frame_once_and_segments_at_fixed_frames():
    sink, result = run(settings(57, cuts=(23, 40)))
    assert list(sink.frames) == list(range(57))
    assert [(s.start, s.stop) for s in sink.segments] == [
        (0, 10),
        (10, 20),
        (20, 30),
        (30, 40),
        (40, 50),
        (50, 57),
    ]
    assert result.frames == 57
    assert result.shots == 3
    assert [len(s.cuts) for s in sink.segments] == [1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("cuts", [(), (9, 30), (10, 20, 40), (19, 41)])
@pytest.mark.parametrize(("window", "overlap"), [(8, 4), (12, 2), (4, 0)])
def test_a_continued_run_makes_the_same_pixels(cuts, window, overlap):
    config = settings(57, cuts, window=window, overlap=overlap)
    whole, _ = run(config)
    for segment, state in zip(whole.segments[:-1:2], whole.states[::2], strict=True):
        sink, _ = run({**config, "stretches": (Stretch(state),), "frames_done": segment.stop})
        assert list(sink.frames) == list(range(segment.stop, 57))
        for index, picture in sink.frames.items():
            np.testing.assert_array_equal(picture, whole.frames[index])
        assert sink.segments == whole.segments[segment.index + 1 :]


def test_gaps_are_filled_and_nothing_else_is_made():
    config = settings(57, (23,))
    whole, _ = run(config)
    stretches = (Stretch(PlannerState(), 10), Stretch(whole.states[2], 40), Stretch(whole.states[4]))
    sink, result = run({**config, "stretches": stretches, "frames_done": 30})
    assert sink.segments == [whole.segments[0], whole.segments[3], whole.segments[5]]
    assert result.frames == 27
    for index, picture in sink.frames.items():
        np.testing.assert_array_equal(picture, whole.frames[index])


@pytest.mark.parametrize("overlapped", [True, False])
def test_pictures_in_memory(overlapped):
    """One in the encoder, one waiting and one being made where stages overlap; the pixels are the same without."""
    alive, most = weakref.WeakSet(), []

    class Tracked(np.ndarray):
        __hash__ = object.__hash__

        def copy(self, order="C"):
            made = super().copy(order)
            alive.add(made)
            return made

    class Tracking(TemporalMean):
        def __call__(self, lq):
            return super().__call__(lq).view(Tracked)

    class Slow(Collect):
        def write(self, frame, picture, alpha):
            most.append(len(alive))
            time.sleep(0.002)
            super().write(frame, np.array(picture), alpha)

    sink, _ = run(settings(57, restorers=[Tracking], overlapped=overlapped), Slow())
    assert max(most) <= (3 if overlapped else 0)
    expected, _ = run(settings(57))
    for index, picture in sink.frames.items():
        np.testing.assert_array_equal(picture, expected.frames[index])


def test_out_of_memory_takes_tiles_then_windows_and_drops_no_frame():
    restorer = HungryRestorer(9 * 32 * 32)
    events: list = []
    sink, result = run(settings(30, restorers=[lambda: restorer], overlap=2), events=events)
    assert list(sink.frames) == list(range(30))
    reduced = [event for event in events if isinstance(event, MemoryReduced)]
    assert [event.window for event in reduced] == [8, 4]
    assert result.level == Level(4, TilePlan(32, 16))
    assert {(s.window, s.tile_px) for s in sink.segments} == {(4, 32)}
    for i, picture in sink.frames.items():
        np.testing.assert_allclose(picture, pictures(30)[i], atol=4e-5)


def test_memory_that_runs_out_later_keeps_the_segments_before():
    """The segment is made again from its start with the next level; those that are finished stay as they are."""

    class Later(HungryRestorer):
        def __call__(self, lq):
            self.limit = 10**9 if lq.min() < 0.011 else 9 * 32 * 32
            return super().__call__(lq)

    flat = [np.full((HEIGHT, WIDTH, 3), 0.001 * i, np.float32) for i in range(40)]
    source = frames_in_memory(lambda first: iter(Frame(i, i, 1, flat[i]) for i in range(first, 40)), 40)
    sink, _ = run(settings(restorers=[lambda: Later(0)], overlap=2, source=source))
    assert [s.start for s in sink.segments] == [0, 10, 20, 30]
    assert (sink.segments[0].window, sink.segments[0].tile_px) == (8, None)
    assert (sink.segments[-1].window, sink.segments[-1].tile_px) == (4, 32)
    for i, picture in sink.frames.items():
        np.testing.assert_allclose(picture, flat[i], atol=4e-5)


def test_the_last_fallback_is_another_restorer():
    sink, result = run(settings(20, restorers=[lambda: HungryRestorer(10), TemporalMean]))
    assert len(sink.frames) == 20
    assert result.model == "mean"
    assert {segment.fallback for segment in sink.segments} == {1}


def test_no_memory_at_all_is_an_error_in_words():
    sink = Collect()
    with pytest.raises(OutOfMemoryError_, match="memory ran out even with"):
        run(settings(20, restorers=[lambda: HungryRestorer(10)]), sink)
    assert not sink.frames


@pytest.mark.parametrize("late", [False, True])
def test_a_pipe_is_read_again_until_the_first_picture(late):
    """What came before it is kept; later it is gone, and the run says so."""

    class Once(HungryRestorer):
        def __call__(self, lq):
            if late and lq.mean() < 0.02:
                return lq.copy()
            return super().__call__(lq)

    films = [np.full((HEIGHT, WIDTH, 3), 0.001 * i, np.float32) for i in range(60)]
    pipe = PipeFrames(lambda: iter(Frame(i, i, 1, films[i]) for i in range(60)))
    source = source_of(lambda first: pipe.read(), 60, pipe)
    config = settings(restorers=[lambda: Once(9 * 32 * 32)], overlap=2, source=source)
    if late:
        with pytest.raises(OutOfMemoryError_, match="standard input cannot be read again"):
            run(config)
    else:
        assert list(run(config)[0].frames) == list(range(60))


def test_a_failing_decoder_ends_the_run_behind_what_it_gave():
    """Segments that were decoded in full are finished first."""

    def frames(first):
        yield from (Frame(i, i, 1, p) for i, p in enumerate(pictures(28)))
        raise InputError("broken")

    sink = Collect()
    with pytest.raises(InputError, match="broken"):
        run(settings(40, source=source_of(frames)), sink)
    assert sink.aborted
    assert [s.start for s in sink.segments] == [0, 10]


def test_nan_is_an_error():
    class Nan(TemporalMean):
        def __call__(self, lq):
            return np.full_like(lq, np.nan)

    with pytest.raises(NonFiniteError, match="NaN or infinite pixels"):
        run(settings(20, restorers=[Nan]))


@pytest.mark.parametrize("overlapped", [True, False])
def test_tiles_give_the_whole_pictures(overlapped):
    whole, _ = run(settings(57, cuts=(23,)))
    tiled, result = run(settings(57, cuts=(23,), tile=TilePlan(32, 16), overlapped=overlapped))
    assert result.level.tile.tile_px == 32
    assert list(tiled.frames) == list(range(57))
    for index, picture in tiled.frames.items():
        assert picture.dtype == np.float32
        np.testing.assert_allclose(picture, whole.frames[index], atol=1e-4)


def test_overshoot_of_tiles_is_cut_off_like_that_of_whole_pictures():
    class Overshooting(TemporalMean):
        def __call__(self, lq):
            return 3 * lq - 1

    whole, _ = run(settings(20, restorers=[Overshooting]))
    tiled, _ = run(settings(20, restorers=[Overshooting], tile=TilePlan(32, 16)))
    for index, picture in tiled.frames.items():
        assert picture.min() >= 0
        assert picture.max() <= 1
        np.testing.assert_allclose(picture, whole.frames[index], atol=1e-4)


def test_stop_finishes_the_current_segment():
    stop = threading.Event()
    stop.set()
    sink = Collect()
    with pytest.raises(InterruptedRun):
        run(settings(60), sink, [], stop)
    assert [(s.start, s.stop) for s in sink.segments] == [(0, 10)]
    assert not sink.aborted


def test_a_continued_run_tells_that_it_skips_and_stops_at_once_then():
    """Throwing away what is done can take minutes in which no segment would end."""
    first, _ = run(settings(60))
    stop, skipping = threading.Event(), threading.Event()
    state = first.states[2]

    def frames(first):
        skipping.wait(60)
        yield Frame(first, 10 * first, 10, pictures(1)[0])

    class HalfRead(FrameSource):
        def frames_read(self):
            return state.first // 2

    source = HalfRead(source_of(frames).open, 60)
    job = {**settings(60, source=source), "stretches": (Stretch(state),), "frames_done": 30}
    events: list = []

    class Stopping(list):
        def append(self, event):
            super().append(event)
            if len(self) == 3:
                stop.set()

    events = Stopping()
    sink = Collect()
    with pytest.raises(InterruptedRun):
        run(job, sink, events, stop)
    skipping.set()
    assert not sink.segments
    assert events[0].doing == "skipping to frame 30"
    assert 0.4 < events[0].doing_share < 0.6
    assert (events[-1].fps, events[-1].eta_s) == (0.0, None)


def blocked_pipe(waiting: threading.Event, frames: int):
    """A pipe whose writer pauses after some frames."""

    def read():
        yield from (Frame(i, 10 * i, 10, p) for i, p in enumerate(pictures(frames)))
        waiting.wait(60)

    pipe = PipeFrames(read)
    return source_of(lambda first: pipe.read(), pipe=pipe)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_pipe_that_nobody_fills_hides_neither_an_error_nor_a_stop(stopped):
    waiting, stop = threading.Event(), threading.Event()

    class Full(Collect):
        def write(self, frame, picture, alpha):
            if not stopped and frame.index == 3:
                raise DiskFullError("the disk is full.")
            if frame.index == 5:
                stop.set()
            super().write(frame, picture, alpha)

    began = time.monotonic()
    config = settings(source=blocked_pipe(waiting, 20), can_continue=False)
    with pytest.raises(InterruptedRun if stopped else DiskFullError):
        run(config, Full(), stop=stop if stopped else None)
    assert time.monotonic() - began < 30
    waiting.set()


def test_the_decoder_does_not_run_ahead():
    decoded: list[int] = []

    class Slow(Collect):
        def write(self, frame, picture, alpha):
            super().write(frame, picture, alpha)
            threading.Event().wait(0.001)
            # A window in the model with its context, a queue of one window; the planner's and the detector's lag.
            assert len(decoded) <= frame.index + 5 * 8

    run(settings(200, decoded=decoded), Slow())


def test_progress_is_told_in_the_calling_thread():
    events: list = []
    threads = set()

    class Listening(list):
        def append(self, event):
            threads.add(threading.current_thread())
            events.append(event)

    run(settings(30), events=Listening())
    assert threads == {threading.current_thread()}
    assert [e.frames_done for e in events if isinstance(e, SegmentDone)] == [10, 20, 30]
    last = [e for e in events if isinstance(e, Progress)][-1]
    assert last.frames_done == last.frames_total == 30
    assert set(last.stages) == {"decode", "model", "encode"}


def test_before_the_first_frame_progress_says_what_goes_on():
    told = threading.Event()

    class Listening(list):
        def append(self, event):
            super().append(event)
            if isinstance(event, Progress) and event.doing and "preparing" in event.doing:
                told.set()

    class Compiling(TemporalMean):
        def __call__(self, lq):
            assert told.wait(30)
            return super().__call__(lq)

    events = Listening()
    run(settings(30, restorers=[Compiling]), events=events)
    doing = [event.doing for event in events if isinstance(event, Progress) and event.frames_done == 0]
    assert "preparing the model and upscaling a window of 8 frames" in doing
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.doing is None
    assert last.eta_s == 0


def test_alpha_is_carried_along():
    alpha = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)

    class Alphas(Collect):
        def write(self, frame, picture, out_alpha):
            assert out_alpha.shape == (2 * HEIGHT, 2 * WIDTH)
            super().write(frame, picture, out_alpha)

    source = source_of(lambda first: (Frame(i, i, 1, p, alpha) for i, p in enumerate(pictures(3))))
    sink, _ = run(settings(3, source=source, finish=Finish(2 * HEIGHT, 2 * WIDTH)), Alphas())
    assert len(sink.frames) == 3
