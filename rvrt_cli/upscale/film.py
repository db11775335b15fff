"""The frames a run upscales: a whole film, a range of it, or a few short pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction

from rvrt_cli.errors import InputError
from rvrt_cli.media import Frame, FrameReader, Source, read_frames
from rvrt_cli.upscale.options import PREVIEW_PIECE_S, UpscaleOptions
from rvrt_cli.upscale.shots import CutDetector

Decode = Callable[[int], AbstractContextManager[Iterator[Frame]]]


@dataclass(frozen=True)
class Film:
    """``decode(n)`` opens the frames after the first n; ``forced_cuts`` fills with indices where a piece begins.

    ``frames_total``: expected number of frames, None where nothing is known. ``readers``: those opened so far, whose
    notes and counts belong into the report.
    """

    decode: Decode
    frames_total: int | None
    forced_cuts: set[int]
    readers: list[FrameReader]

    def detector(self, first_index: int, shot_start: int) -> CutDetector:
        """A cut detector that also cuts where a piece begins."""
        return CutDetector(first_index, shot_start, forced=self.forced_cuts)

    def frames_read(self) -> int:
        """Frames that the readers have passed, skipped ones included."""
        return sum(reader.frame_count for reader in self.readers)

    def corrupt_frames(self) -> int:
        """Damaged frames, and packets that gave none, that the readers met."""
        return sum(reader.corrupt_frames for reader in self.readers)

    def notes(self) -> tuple[str, ...]:
        """Sentences of the readers for the report, each once."""
        return tuple(dict.fromkeys(note for reader in self.readers for note in reader.notes))


def open_film(source: Source, options: UpscaleOptions) -> Film:
    """The frames that ``options`` ask for (``start_s``, ``end_s``, ``frames``, ``preview``)."""
    readers: list[FrameReader] = []
    if options.preview is not None:
        return _open_preview(source, options, readers)

    @contextmanager
    def decode(skip: int) -> Iterator[Iterator[Frame]]:
        reader = read_frames(
            source,
            start_s=options.start_s,
            end_s=options.end_s,
            max_frames=options.frames,
            skip_frames=skip,
            deinterlace=options.deinterlace,
        )
        readers.append(reader)
        with reader:
            yield iter(reader)

    return Film(decode, expected_frames(source, options), set(), readers)


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


def _open_preview(source: Source, options: UpscaleOptions, readers: list[FrameReader]) -> Film:
    assert options.preview is not None
    duration = source.video.duration_s or source.duration_s or PREVIEW_PIECE_S
    starts = preview_starts(duration, options.preview)
    length = min(PREVIEW_PIECE_S, duration / options.preview)
    rate = source.video.average_rate or Fraction(25)
    forced: set[int] = set()

    @contextmanager
    def decode(skip: int) -> Iterator[Iterator[Frame]]:
        yield (frame for frame in pieces() if frame.index >= skip)

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
                    yield replace(frame, index=index, pts=pts)
                    index += 1
                offset = end
        if index == 0:
            raise InputError(f"{source.path} has no frame at the places of the preview; give --preview 1.")

    total = max(1, round(length * rate)) * options.preview
    return Film(decode, total, forced, readers)


def _unless_empty(reader: FrameReader) -> Iterator[Frame]:
    """The frames of a piece; none where the piece is shorter than a frame and falls between two."""
    try:
        yield from reader
    except InputError:
        if reader.frame_count:
            raise
