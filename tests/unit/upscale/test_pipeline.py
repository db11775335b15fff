"""The pipeline with frames from memory: every frame once, continued runs alike, the ladder, errors, bounded queues."""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from rvrt_cli.errors import InputError, InterruptedRun, NonFiniteError, OutOfMemoryError_
from rvrt_cli.inference.restorer import IdentityRestorer
from rvrt_cli.inference.tiles import TilePlan
from rvrt_cli.media.frame import Frame
from rvrt_cli.upscale.events import MemoryReduced, Progress, SegmentDone
from rvrt_cli.upscale.finish import Finish
from rvrt_cli.upscale.job import PipelineSettings
from rvrt_cli.upscale.pipeline import run_pipeline

HEIGHT, WIDTH = 40, 48


class TemporalMean:
    """A restorer whose frames depend on the whole window, so that any difference in windows shows in the output."""

    scale, channels, name, engine, fingerprint = 1, 3, "mean", "test", "mean"

    def __call__(self, lq):
        return 0.5 * lq + 0.5 * lq.mean(axis=0, keepdims=True)

    def close(self):
        pass


class HungryRestorer(IdentityRestorer):
    """Runs out of memory above a number of pixels per call."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, lq):
        if lq.shape[0] * lq.shape[1] * lq.shape[2] > self.limit:
            raise OutOfMemoryError_("too much")
        self.seen.append(lq.shape)
        return super().__call__(lq)


class Collect:
    def __init__(self) -> None:
        self.frames: dict[int, np.ndarray] = {}
        self.segments = []
        self.aborted = False

    def begin_segment(self, index):
        self.current = index

    def write(self, frame, picture, alpha):
        assert frame.index == len(self.frames) + self.first if hasattr(self, "first") else True
        assert frame.index not in self.frames
        self.frames[frame.index] = picture.copy()

    def end_segment(self, finished):
        self.segments.append(finished)

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


def settings(count=60, cuts=(), rungs=None, decoded=None, **changes) -> PipelineSettings:
    films = pictures(count, cuts)

    @contextmanager
    def decode(skip):
        def frames():
            for i in range(skip, count):
                if decoded is not None:
                    decoded.append(i)
                yield Frame(i, 10 * i, 10, films[i])

        yield frames()

    values = {
        "decode": decode,
        "rungs": rungs or [TemporalMean],
        "finish": Finish(HEIGHT, WIDTH),
        "window": 8,
        "overlap": 4,
        "tile": TilePlan(None),
        "segment_frames": 10,
        "frames_total": count,
    }
    return PipelineSettings(**{**values, **changes})


def run(config, sink=None, events=None, stop=None):
    sink = sink or Collect()
    result = run_pipeline(config, sink, (events if events is not None else []).append, stop)
    return sink, result


def test_every_frame_once_and_segments_at_fixed_frames():
    sink, result = run(settings(57, cuts=(23, 40)))
    assert sorted(sink.frames) == list(range(57)) == list(sink.frames)
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
    assert [s.shots for s in sink.segments] == [1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("cuts", [(), (9, 30), (10, 20, 40), (19, 41)])
@pytest.mark.parametrize(("window", "overlap"), [(8, 4), (12, 2), (4, 0)])
def test_a_continued_run_makes_the_same_pixels(cuts, window, overlap):
    config = settings(57, cuts, window=window, overlap=overlap)
    whole, _ = run(config)
    for segment in whole.segments[:-1]:
        sink, _ = run(
            replace(
                config, start_frame=segment.stop, first_segment=segment.index + 1, restart=segment.restart
            )
        )
        assert sorted(sink.frames) == list(range(segment.stop, 57))
        for index, picture in sink.frames.items():
            np.testing.assert_array_equal(picture, whole.frames[index])
        assert sink.segments == whole.segments[segment.index + 1 :]


@pytest.mark.parametrize("overlapped", [True, False])
def test_windows_in_memory(overlapped):
    """Two windows of pictures at most while model and encoder overlap, one otherwise; the pixels are the same."""
    alive, most = weakref.WeakSet(), []

    class Tracked(np.ndarray):
        __hash__ = object.__hash__

    class Watching(TemporalMean):
        def __call__(self, lq):
            most.append(1 + len(alive))
            out = super().__call__(lq).view(Tracked)
            alive.add(out)
            return out

    class Slow(Collect):
        def write(self, frame, picture, alpha):
            time.sleep(0.002)
            super().write(frame, np.asarray(picture), alpha)

    sink, _ = run(settings(57, rungs=[Watching], overlapped=overlapped), Slow())
    assert max(most) == (2 if overlapped else 1)
    expected, _ = run(settings(57))
    for index, picture in sink.frames.items():
        np.testing.assert_array_equal(picture, expected.frames[index])


def test_memory_ladder_takes_tiles_then_windows_and_drops_no_frame():
    restorer = HungryRestorer(4 * 32 * 32)
    events: list = []
    sink, result = run(settings(30, rungs=[lambda: restorer], overlap=2), events=events)
    assert sorted(sink.frames) == list(range(30))
    reduced = [event for event in events if isinstance(event, MemoryReduced)]
    assert [event.window for event in reduced] == [8, 4]
    assert result.window == 4
    assert result.tile.tile_px == 32
    for i, picture in sink.frames.items():
        np.testing.assert_allclose(picture, pictures(30)[i], atol=4e-5)


def test_the_ladder_ends_with_the_next_restorer():
    sink, result = run(settings(20, rungs=[lambda: HungryRestorer(10), TemporalMean]))
    assert len(sink.frames) == 20
    assert result.model == "mean"
    assert sink.segments[0].restart.rung == 1


def test_what_the_ladder_found_is_kept_when_a_run_continues():
    restorer = HungryRestorer(4 * 32 * 32)
    config = settings(30, rungs=[lambda: restorer], overlap=2)
    first, _ = run(config)
    segment = first.segments[0]
    restorer.seen.clear()
    events: list = []
    again, _ = run(
        replace(config, start_frame=segment.stop, first_segment=1, restart=segment.restart), events=events
    )
    assert not [event for event in events if isinstance(event, MemoryReduced)]
    for index, picture in again.frames.items():
        np.testing.assert_array_equal(picture, first.frames[index])


def test_no_memory_at_all_is_an_error_in_words():
    sink = Collect()
    with pytest.raises(OutOfMemoryError_, match="memory ran out even with"):
        run(settings(20, rungs=[lambda: HungryRestorer(10)]), sink)
    assert sink.aborted
    assert not sink.frames


def test_a_failing_decoder_ends_the_run():
    @contextmanager
    def decode(skip):
        def frames():
            yield from (Frame(i, i, 1, p) for i, p in enumerate(pictures(20)))
            raise InputError("broken")

        yield frames()

    sink = Collect()
    with pytest.raises(InputError, match="broken"):
        run(settings(40, decode=decode), sink)
    assert sink.aborted


def test_nan_is_an_error():
    class Nan(IdentityRestorer):
        def __call__(self, lq):
            return np.full_like(lq, np.nan)

    with pytest.raises(NonFiniteError, match="frames 0 to"):
        run(settings(20, rungs=[Nan]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_pixel_of_a_tile_is_an_error(value):
    """Codes have no NaN: it must be seen before tiles are put together."""

    class Bad(IdentityRestorer):
        calls = 0

        def __call__(self, lq):
            out = super().__call__(lq)
            self.calls += 1
            if self.calls == 5:
                out[-1, 0, 0, 1] = value
            return out

    with pytest.raises(NonFiniteError, match="frames 4 to 11"):
        run(settings(20, rungs=[Bad], tile=TilePlan(32, 16)))


@pytest.mark.parametrize("overlapped", [True, False])
def test_tiles_give_the_whole_pictures(overlapped):
    whole, _ = run(settings(57, cuts=(23,)))
    tiled, result = run(settings(57, cuts=(23,), tile=TilePlan(32, 16), overlapped=overlapped))
    assert result.tile.tile_px == 32
    assert sorted(tiled.frames) == list(range(57))
    for index, picture in tiled.frames.items():
        assert picture.dtype == np.float32
        np.testing.assert_allclose(picture, whole.frames[index], atol=1e-4)


def test_overshoot_of_tiles_is_cut_off_like_that_of_whole_pictures():
    class Overshooting(IdentityRestorer):
        def __call__(self, lq):
            return 3 * super().__call__(lq) - 1

    whole, _ = run(settings(20, rungs=[Overshooting]))
    tiled, _ = run(settings(20, rungs=[Overshooting], tile=TilePlan(32, 16)))
    for index, picture in tiled.frames.items():
        assert picture.min() >= 0
        assert picture.max() <= 1
        np.testing.assert_allclose(picture, whole.frames[index], atol=1e-4)


def test_stop_finishes_the_current_segment():
    stop = threading.Event()
    stop.set()
    sink, events = Collect(), []
    with pytest.raises(InterruptedRun):
        run(settings(60), sink, events, stop)
    assert [(s.start, s.stop) for s in sink.segments] == [(0, 10)]
    assert not sink.aborted


def test_a_continued_run_tells_that_it_skips_and_stops_at_once_then():
    """Throwing away what is done can take minutes in which no segment would end."""
    first, _ = run(settings(60))
    segment = first.segments[2]
    stop, skipping = threading.Event(), threading.Event()

    @contextmanager
    def decode(skip):
        def frames():
            skipping.wait(60)
            yield Frame(skip, 10 * skip, 10, pictures(1)[0])

        yield frames()

    config = settings(
        60,
        decode=decode,
        start_frame=segment.stop,
        first_segment=3,
        restart=segment.restart,
        frames_read=lambda: segment.restart.decode_from // 2,
    )
    events: list = []

    def on_event(event):
        events.append(event)
        if len(events) == 3:
            stop.set()

    sink = Collect()
    with pytest.raises(InterruptedRun):
        run_pipeline(config, sink, on_event, stop)
    skipping.set()
    assert not sink.segments
    assert events[0].doing == "skipping to frame 30"
    assert 0.4 < events[0].doing_share < 0.6
    assert (events[-1].fps, events[-1].eta_s) == (0.0, None)


def test_the_decoder_does_not_run_ahead():
    decoded: list[int] = []

    class Slow(Collect):
        def write(self, frame, picture, alpha):
            super().write(frame, picture, alpha)
            threading.Event().wait(0.002)
            # Windows: one in the encoder, one waiting, one in the model; a queue of one window; the detector's lag.
            assert len(decoded) <= frame.index + 6 * 8

    run(settings(200, decoded=decoded), Slow())


def test_progress_is_told_in_the_calling_thread():
    events: list = []
    threads = set()

    def listen(event):
        threads.add(threading.current_thread())
        events.append(event)

    run_pipeline(settings(30), Collect(), listen)
    assert threads == {threading.current_thread()}
    assert [e.frames_done for e in events if isinstance(e, SegmentDone)] == [10, 20, 30]
    last = [e for e in events if isinstance(e, Progress)][-1]
    assert last.frames_done == last.frames_total == 30
    assert set(last.stages) == {"decode", "model", "encode"}


def test_before_the_first_frame_progress_says_what_goes_on():
    events: list = []
    told = threading.Event()

    def listen(event):
        events.append(event)
        if isinstance(event, Progress) and event.doing and "preparing" in event.doing:
            told.set()

    class Compiling(TemporalMean):
        def __call__(self, lq):
            assert told.wait(30)
            return super().__call__(lq)

    run_pipeline(settings(30, rungs=[Compiling]), Collect(), listen)
    doing = [event.doing for event in events if isinstance(event, Progress) and event.frames_done == 0]
    assert "preparing the model and upscaling a window of 8 frames" in doing
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.doing is None
    assert last.eta_s == 0


def test_alpha_is_carried_along():
    alpha = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    config = settings(3)

    @contextmanager
    def decode(skip):
        yield (Frame(i, i, 1, p, alpha) for i, p in enumerate(pictures(3)))

    class Alphas(Collect):
        def write(self, frame, picture, out_alpha):
            assert out_alpha.shape == (2 * HEIGHT, 2 * WIDTH)
            super().write(frame, picture, out_alpha)

    sink, _ = run(replace(config, decode=decode, finish=Finish(2 * HEIGHT, 2 * WIDTH)), Alphas())
    assert len(sink.frames) == 3
