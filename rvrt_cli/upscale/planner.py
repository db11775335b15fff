"""Plan a film while it is decoded: one pass over its frames gives the segments, and what a local run renders them from.

:func:`plan_segments` yields what the model is to do with each frame as soon as it is known, so that the first segment
starts at once and pipes can be planned, and at a segment's end the segment as data. :func:`steps_of` gives the same steps
from a segment and its frames: whoever renders it elsewhere, or again, does the same.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from rvrt_cli.errors import InputError
from rvrt_cli.media.frame import Frame
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.segments import CLIP, SEEK_MARGIN, PlannerState, SeekPoint, Segment
from rvrt_cli.upscale.shots import LOOKBACK, CutDetector, flag_cuts


@dataclass(frozen=True)
class PlanSettings:
    """What is the same in all segments; see :class:`Segment`. ``detect_shots`` False: the film is one shot."""

    segment_frames: int
    level: Level
    overlap: int
    model: str = ""
    encoder: str = ""
    detect_shots: bool = True


@dataclass(frozen=True)
class Begin:
    """The segment ``index`` begins."""

    index: int


@dataclass(frozen=True, eq=False)
class Feed:
    """The model gets this frame; ``wanted`` False: as context, no picture of it is made."""

    frame: Frame
    wanted: bool


@dataclass(frozen=True)
class EndRun:
    """The next frame belongs to another shot, or to no run at all."""


@dataclass(frozen=True)
class End:
    """The segment is complete. ``after``: the state of planning, from which a later run goes on."""

    segment: Segment
    after: PlannerState


Step = Begin | Feed | EndRun | End


class _Lookahead:
    """Frames with their cuts, by index: pulled from the decoder as they are asked for, kept as long as they are needed."""

    def __init__(self, frames: Iterator[tuple[Frame, bool]], first: int, keys: Iterable[SeekPoint]) -> None:
        self._frames = frames
        self._held: deque[tuple[Frame, bool]] = deque()
        self._first = first
        self._keys = deque(keys)

    @property
    def stop(self) -> int:
        """One past the last frame that was pulled."""
        return self._first + len(self._held)

    def get(self, index: int) -> tuple[Frame, bool] | None:
        """The frame ``index`` and whether it begins a shot; None where the film has ended."""
        while self.stop <= index:
            item = next(self._frames, None)
            if item is None:
                return None
            if item[0].key_frame and not (self._keys and self._keys[-1].index >= self.stop):
                self._keys.append(SeekPoint(self.stop, item[0].pts))
            self._held.append(item)
        return self._held[index - self._first]

    def forget_before(self, index: int) -> None:
        while self._held and self._first < index:
            self._held.popleft()
            self._first += 1

    def keys_for(self, index: int) -> tuple[SeekPoint, ...]:
        """The last key frame from which frame ``index`` can be decoded as in one go, and those after it."""
        while len(self._keys) > 1 and self._keys[1].index <= index - SEEK_MARGIN:
            self._keys.popleft()
        return tuple(self._keys)

    def seen(self, index: int) -> tuple[tuple[int, int], ...]:
        """Timestamps and check sums of the frames from ``index`` on."""
        return tuple(
            (frame.pts, picture_check(frame)) for frame, _ in list(self._held)[index - self._first :]
        )


def picture_check(frame: Frame) -> int:
    """A check sum of the picture, of the values as they were decoded, its transparency, and how long it is shown."""
    check = zlib.crc32(repr(frame.duration).encode())
    for values in (frame.rgb, frame.alpha):
        if values is not None:
            check = zlib.crc32(np.ascontiguousarray(values).data, check)
    return check


def plan_segments(
    frames: Iterable[Frame],
    settings: PlanSettings,
    detector: CutDetector,
    state: PlannerState | None = None,
    until: int | None = None,
) -> Iterator[Step]:
    """Plan from ``state`` (None: the beginning) to the end of the film, or to frame ``until`` where a finished segment begins.

    ``frames``: from frame ``state.first`` on. ``detector``: new, for that frame and the state's shot, see :func:`detector_for`.
    """
    state = state or PlannerState()
    flagged: Iterator[tuple[Frame, bool]]
    if settings.detect_shots:
        flagged = flag_cuts(frames, detector, state.first, decided=state.decided, cuts=state.cuts)
    else:
        flagged = ((frame, False) for frame in frames)
    film = _Lookahead(flagged, state.first, state.keys)
    while (until is None or state.start < until) and film.get(state.start) is not None:
        yield Begin(state.index)
        end = yield from _plan_segment(film, settings, state)
        state = end.after
        film.forget_before(state.first)
        yield end


def _plan_segment(
    film: _Lookahead, settings: PlanSettings, state: PlannerState
) -> Generator[Step, None, End]:
    """The steps of the segment that begins at ``state``; its return value is the :class:`End`."""
    start, overlap = state.start, settings.overlap
    first = film.get(start)
    assert first is not None
    cuts = [start] if first[1] or start == 0 else []
    shot_start = start if cuts else state.shot_start
    lead = 0 if cuts else _context(start - shot_start, overlap, start - shot_start)
    for index in range(start - lead, start):
        item = film.get(index)
        assert item is not None
        yield Feed(item[0], False)
    index, stop = start, start + settings.segment_frames
    while index < stop and (item := film.get(index)) is not None:
        frame, begins_shot = item
        if begins_shot and index > start:
            yield EndRun()
            cuts.append(index)
            shot_start = index
        yield Feed(frame, True)
        film.forget_before(index - overlap - 1 - LOOKBACK)
        index += 1
    stop, wanted = index, _context(index - shot_start, overlap)
    while index < stop + wanted and (item := film.get(index)) is not None and not item[1]:
        yield Feed(item[0], False)
        index += 1
    yield EndRun()
    segment = Segment(
        index=state.index,
        start=start,
        stop=stop,
        lead=lead,
        lookahead=index - stop,
        cuts=tuple(cuts),
        first_pts=first[0].pts,
        seek=state.seek,
        window=settings.level.window,
        overlap=overlap,
        tile_px=settings.level.tile.tile_px,
        tile_overlap_px=settings.level.tile.overlap_px,
        fallback=settings.level.restorer,
        model=settings.model,
        encoder=settings.encoder,
    )
    needed = max(0, stop - overlap - 1 - LOOKBACK)
    return End(
        segment,
        PlannerState(
            index=state.index + 1,
            start=stop,
            shot_start=shot_start,
            decided=film.stop,
            cuts=tuple(i for i in range(stop, film.stop) if (item := film.get(i)) is not None and item[1]),
            first=needed,
            seen=film.seen(needed),
            keys=film.keys_for(needed),
        ),
    )


def _context(offset: int, overlap: int, most: int | None = None) -> int:
    """Frames of context at an edge that lies ``offset`` frames after the shot's start: ``overlap``, one more on an odd offset.

    So the first frame of every run, and the one behind its last, keep the parity of their shot. ``most``: that there are.
    """
    context = overlap + offset % CLIP
    return context if most is None else min(context, most)


def detector_for(state: PlannerState, forced: set[int]) -> CutDetector:
    """The cut detector with which planning goes on at ``state``; ``forced``: frames that begin a shot in any case."""
    return CutDetector(state.first, max(state.cuts, default=state.shot_start), forced=forced)


def steps_of(segment: Segment, frames: Iterable[Frame]) -> Iterator[Feed | EndRun]:
    """What the model is to do for ``segment``; ``frames``: from its first one of context on.

    Errors: :class:`InputError` where there are fewer frames than it has, or others.
    """
    source = iter(frames)
    for start, stop in segment.runs:
        for index in range(start, stop):
            frame = next(source, None)
            if frame is None or (index == segment.start and frame.pts != segment.first_pts):
                raise InputError(
                    f"frame {index} is not the one that segment {segment.index} was planned with; the input has changed."
                )
            yield Feed(frame, segment.start <= index < segment.stop)
        yield EndRun()
