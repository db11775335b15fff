"""The frames a run upscales: a whole film, a range of it, a few short pieces, or those around one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain, islice
from typing import Any

from rvrt_cli.errors import InputError
from rvrt_cli.media import Frame, FrameReader, NotSeekable, Source, read_frames
from rvrt_cli.upscale.options import PREVIEW_PIECE_S, UpscaleOptions
from rvrt_cli.upscale.planner import picture_check
from rvrt_cli.upscale.segments import PlannerState

Tell = Callable[[str], None]
Open = Callable[[PlannerState, Tell], AbstractContextManager[Iterator[Frame]]]


@dataclass(frozen=True)
class FrameSource:
    """``open(state, tell)`` gives the frames from ``state.first`` on and tells what a person should know about how.

    ``frames_total``: expected number of frames, None where nothing is known. ``forced_cuts``: indices where a piece begins;
    fills while frames are read. ``pipe``: where they come from, if that is one. ``readers``: those opened so far, whose notes and
    counts belong into the report.
    """

    open: Open
    frames_total: int | None
    forced_cuts: set[int] = field(default_factory=set)
    pipe: PipeFrames | None = None
    readers: list[FrameReader] = field(default_factory=list)

    def frames_read(self) -> int:
        """Index of the frame that the last reader has reached."""
        return self.readers[-1].frame_count if self.readers else 0

    def corrupt_frames(self) -> int:
        """Damaged frames, and packets that gave none, that the readers met."""
        return sum(reader.corrupt_frames for reader in self.readers)

    def notes(self) -> tuple[str, ...]:
        """Sentences of the readers for the report, each once."""
        return tuple(dict.fromkeys(note for reader in self.readers for note in reader.notes))


class PipeFrames:
    """The frames of a pipe, which can be read once: those so far are kept for a second reading until :meth:`release`."""

    def __init__(self, frames: Callable[[], Iterator[Frame]]) -> None:
        self._open = frames
        self._frames: Iterator[Frame] | None = None
        self._kept: list[Frame] | None = []

    @property
    def can_repeat(self) -> bool:
        """Whether all frames so far can be had again."""
        return self._kept is not None

    def release(self) -> None:
        """No frame is needed again: the first picture came out, so that memory suffices."""
        self._kept = None

    def read(self) -> Iterator[Frame]:
        """All frames, from the first on."""
        yield from self._kept or ()
        self._frames = self._frames or self._open()
        for frame in self._frames:
            if self._kept is not None:
                self._kept.append(frame)
            yield frame


def frames_in_memory(frames: Callable[[int], Iterator[Frame]], total: int) -> FrameSource:
    """A source of ``total`` frames that lie in memory; ``frames(n)`` gives those from the n-th on."""

    @contextmanager
    def open_frames(state: PlannerState, _tell: Tell) -> Iterator[Iterator[Frame]]:
        yield frames(state.first)

    return FrameSource(open_frames, total)


def open_frame_source(source: Source, options: UpscaleOptions) -> FrameSource:
    """The frames that ``options`` ask for (``start_s``, ``end_s``, ``frames``, ``preview``)."""
    readers: list[FrameReader] = []
    if options.preview is not None:
        return _open_preview(source, options, readers)

    def read(**how: Any) -> FrameReader:
        reader = read_frames(
            source,
            start_s=options.start_s,
            end_s=options.end_s,
            max_frames=options.frames,
            deinterlace=options.deinterlace,
            **how,
        )
        readers.append(reader)
        return reader

    if source.kind == "y4m":
        pipe = PipeFrames(lambda: iter(read()))

        @contextmanager
        def open_pipe(_state: PlannerState, _tell: Tell) -> Iterator[Iterator[Frame]]:
            yield pipe.read()

        return FrameSource(open_pipe, expected_frames(source, options), pipe=pipe, readers=readers)

    @contextmanager
    def open_frames(state: PlannerState, tell: Tell) -> Iterator[Iterator[Frame]]:
        if source.kind == "video" and state.seek is not None:
            with read(key_frame=(state.seek.index, state.seek.pts), skip_frames=state.first) as reader:
                if (seen := _as_seen(reader, state, pictures=True)) is not None:
                    yield chain(seen, reader)
                    return
            readers.pop()
            tell(
                f"{source.path} cannot be sought exactly; it is decoded from its start to frame {state.start}."
            )
        with read(skip_frames=state.first) as reader:
            seen = _as_seen(reader, state, pictures=False)
            if seen is None:
                raise InputError(
                    f"{source.path} does not give the frames that the earlier run read, so its work cannot be continued; add "
                    "--no-resume to start anew."
                )
            yield chain(seen, reader)

    return FrameSource(open_frames, expected_frames(source, options), readers=readers)


def _as_seen(reader: FrameReader, state: PlannerState, *, pictures: bool) -> list[Frame] | None:
    """The frames that the earlier run had seen, None where these are others; ``pictures``: their pixels are compared, too."""
    try:
        frames = list(islice(reader, len(state.seen)))
    except (NotSeekable, InputError):
        if not pictures:
            raise
        return None
    found = [frame.pts for frame in frames]
    if found != [pts for pts, _ in state.seen] or (frames and frames[0].index != state.first):
        return None
    if pictures and any(picture_check(f) != check for f, (_, check) in zip(frames, state.seen, strict=True)):
        return None
    return frames


def expected_frames(source: Source, options: UpscaleOptions) -> int | None:
    """How many frames the run will have, as far as the container tells."""
    video = source.video
    total = video.frame_count_hint
    duration = video.duration_s or source.duration_s
    rate = video.average_rate
    if total is None and rate and duration:
        total = round(duration * rate)
    if (options.start_s is not None or options.end_s is not None) and duration:
        if rate is None:
            return options.frames
        start = min(options.start_s or 0.0, duration)
        end = min(options.end_s if options.end_s is not None else duration, duration)
        total = max(1, round((end - start) * rate))
    if options.frames is not None:
        total = options.frames if total is None else min(total, options.frames)
    return total


def preview_starts(duration_s: float, pieces: int) -> list[float]:
    """Where the pieces of a preview begin, in seconds: in the middle of equal parts of the film."""
    part = duration_s / pieces
    length = min(PREVIEW_PIECE_S, part)
    return [part * i + (part - length) / 2 for i in range(pieces)]


def _open_preview(source: Source, options: UpscaleOptions, readers: list[FrameReader]) -> FrameSource:
    assert options.preview is not None
    duration = source.video.duration_s or source.duration_s or PREVIEW_PIECE_S
    starts = preview_starts(duration, options.preview)
    length = min(PREVIEW_PIECE_S, duration / options.preview)
    rate = source.video.average_rate or Fraction(25)
    forced: set[int] = set()

    @contextmanager
    def open_frames(state: PlannerState, _tell: Tell) -> Iterator[Iterator[Frame]]:
        yield (frame for frame in pieces() if frame.index >= state.first)

    def pieces() -> Iterator[Frame]:
        index = 0
        offset = 0
        step = max(1, round(1 / rate / source.video.time_base))
        for start in starts:
            first_pts: int | None = None
            forced.add(index)
            with read_frames(
                source,
                start_s=start,
                end_s=start + length,
                deinterlace=options.deinterlace,
            ) as reader:
                readers.append(reader)
                end = offset
                for frame in _unless_empty(reader):
                    first_pts = frame.pts if first_pts is None else first_pts
                    pts = offset + frame.pts - first_pts
                    end = pts + (frame.duration or step)
                    yield replace(
                        frame, index=index, pts=pts, key_frame=False
                    )  # its time is no place in the file
                    index += 1
                offset = end
        if index == 0:
            raise InputError(f"{source.path} has no frame at the places of the preview; give --preview 1.")

    total = max(1, round(length * rate)) * options.preview
    return FrameSource(open_frames, total, forced, readers=readers)


def _unless_empty(reader: FrameReader) -> Iterator[Frame]:
    """The frames of a piece; none where the piece is shorter than a frame and falls between two."""
    try:
        yield from reader
    except InputError:
        if reader.frame_count:
            raise
