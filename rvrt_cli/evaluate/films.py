"""Several films of one content: opened, checked against one another, brought to one size, matched by time stamps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from rvrt_cli.errors import InputError, UsageError
from rvrt_cli.imaging.resize import imresize
from rvrt_cli.media import Frame, FrameReader, Source, probe, read_frames
from rvrt_cli.upscale.finish import upright

_SAME_SHAPE = 0.02
"""Shapes this near one another are one shape with rounded sides."""
_EARLY = 0.4
"""A frame counts as shown this part of a frame before its time: containers round times, some to a millisecond."""
_LOOKBACKS_S = (0.0, 2.0)
"""How far before a time its frame is looked for first; frames that are shown longer need the whole film."""


@dataclass(frozen=True)
class ComparedFilm:
    """A film and how its frames are looked at. Times of frames are seconds after its first frame.

    label: as the user reads it. origin_s: of the first frame, after ``source.start_s``. height, width: upright pixels.
    pixel_aspect: width of an upright pixel beside its height.
    """

    label: str
    source: Source
    origin_s: float
    height: int
    width: int
    pixel_aspect: Fraction

    @property
    def shape(self) -> float:
        """Width of the shown picture beside its height."""
        return float(self.width * self.pixel_aspect / self.height)

    @property
    def rate(self) -> Fraction:
        """Frames per second, 25 where the container does not say."""
        return self.source.video.average_rate or Fraction(25)

    @property
    def duration_s(self) -> float | None:
        """As the container states it."""
        video = self.source.video
        if video.frame_count_hint and video.average_rate and not video.duration_s:
            return float(video.frame_count_hint / video.average_rate)
        return video.duration_s or self.source.duration_s

    def time(self, frame: Frame) -> float:
        """When ``frame`` is shown, in seconds after the first frame."""
        return float(frame.pts * self.source.video.time_base) - self.source.start_s - self.origin_s

    def read(self, start_s: float | None = None) -> FrameReader:
        """The frames from ``start_s`` on."""
        return read_frames(
            self.source, start_s=None if start_s is None else max(0.0, start_s + self.origin_s)
        )

    def picture(self, frame: Frame, height: int, width: int) -> np.ndarray:
        """``frame`` upright at a size, (height, width, 3) uint8; Matlab's bicubic where it has another one."""
        video = self.source.video
        rgb = upright(np.clip(frame.rgb, 0, 1), video.rotation, video.flipped)
        if rgb.shape[:2] != (height, width):
            rgb = np.clip(imresize(rgb, size=(height, width)), 0, 1)
        return np.rint(rgb * np.float32(255)).astype(np.uint8)

    def early_s(self) -> float:
        return _EARLY / float(self.rate)


@dataclass(frozen=True)
class FilmSet:
    """Films to compare, all shown at ``height`` and ``width``; the ground truth, where there is one, is the last.

    notes: sentences about what differs between them.
    """

    films: tuple[ComparedFilm, ...]
    has_gt: bool
    height: int
    width: int
    notes: tuple[str, ...]

    @property
    def clock(self) -> ComparedFilm:
        """The film whose frames are gone through: the ground truth, else the first."""
        return self.films[-1] if self.has_gt else self.films[0]

    @property
    def compared(self) -> tuple[ComparedFilm, ...]:
        """The films without the ground truth."""
        return self.films[:-1] if self.has_gt else self.films

    @property
    def duration_s(self) -> float | None:
        """Of the shortest film; None where one does not say."""
        durations = [film.duration_s for film in self.films]
        known = [duration for duration in durations if duration]
        return min(known) if len(known) == len(durations) else None

    def enlarges(self, film: ComparedFilm) -> bool:
        """Whether ``film`` is smaller than what it is compared with."""
        return (film.height, film.width) != (self.height, self.width)


def describe_film(film: ComparedFilm) -> str:
    """Size and rate in words."""
    return f"{film.width}x{film.height}, {float(film.rate):.5g} frames/s"


def open_films(paths: Sequence[Path], gt: Path | None = None, labels: Sequence[str] = ()) -> FilmSet:
    """Probe the films and check that they can lie on one another. Folders of pictures take the rate of the first film.

    Errors: :class:`UsageError` for fewer than two films or labels that do not fit; :class:`InputError` for films that cannot
    be read, have other shapes, or are larger than the ground truth.
    """
    if len(paths) + (gt is not None) < 2:
        raise UsageError("Nothing to compare with: name a second film, or a ground truth with --gt.")
    if "-" in (str(path) for path in (*paths, gt)):
        raise UsageError("compare looks at places in a film; it cannot seek in standard input.")
    names = _labels(paths, labels)
    if gt is not None:
        paths, names = [*paths, gt], [*names, "ground truth"]
    sources = [probe(path) for path in paths]
    rate = next((one.video.average_rate for one in sources if one.kind == "video"), None)
    films = [
        _open(probe(source.path, fps=rate) if source.kind == "images" and rate else source, name)
        for source, name in zip(sources, names, strict=True)
    ]
    target = films[-1] if gt is not None else max(films, key=lambda film: film.width * film.height)
    for film in films:
        if abs(film.shape / target.shape - 1) > _SAME_SHAPE:
            raise InputError(
                f"{film.source.path} is shown as {_shown_size(film)} and {target.source.path} as {_shown_size(target)}: pictures of another shape cannot lie on one another; crop one of them first."
            )
        if gt is not None and film.width * film.height > target.width * target.height:
            raise InputError(
                f"{film.source.path} ({film.width}x{film.height}) is larger than the ground truth ({target.width}x{target.height}); "
                "figures need the ground truth at the size of the result."
            )
    return FilmSet(tuple(films), gt is not None, target.height, target.width, tuple(_differences(films)))


def _open(source: Source, label: str) -> ComparedFilm:
    video = source.video
    with read_frames(source, max_frames=1) as reader:
        first = next(reader)
    origin_s = float(first.pts * video.time_base) - source.start_s
    sides = (video.height, video.width, video.sar)
    if video.rotation % 180:
        sides = (video.width, video.height, 1 / video.sar)
    return ComparedFilm(label, source, origin_s, *sides)


def _shown_size(film: ComparedFilm) -> str:
    return f"{round(film.width * film.pixel_aspect)}x{film.height}"


def _labels(paths: Sequence[Path], labels: Sequence[str]) -> list[str]:
    """The user's labels, or names of the files, with their folders where two have one name."""
    if labels and len(labels) != len(paths):
        raise UsageError(
            f"--label must be given once for each film: {len(paths)} films, {len(labels)} labels."
        )
    names = list(labels) or [path.name for path in paths]
    if not labels and len(set(names)) < len(names):
        names = ["/".join(path.absolute().parts[-2:]) for path in paths]
    if len(set(names)) < len(names):
        raise UsageError("Two films have the same name; tell them apart with --label.")
    return [name.encode("utf-8", "replace").decode("utf-8") for name in names]


def _differences(films: Sequence[ComparedFilm]) -> Iterator[str]:
    rates = {film.rate for film in films}
    if max(rates) / min(rates) > Fraction(1001, 1000):
        listed = ", ".join(f"{film.label} {float(film.rate):.5g}" for film in films)
        yield f"The frame rates differ ({listed} frames/s); frames are matched by their time stamps."
    durations = [film.duration_s for film in films]
    known = [duration for duration in durations if duration]
    if len(known) == len(films) and max(known) - min(known) > 1.5 / float(min(rates)):
        listed = ", ".join(f"{film.label} {film.duration_s:.2f} s" for film in films)
        yield f"The films differ in length ({listed}); what is compared ends with the shortest, {min(known):.2f} s."
    for film in films:
        if film.source.video.effective_color.is_hdr:
            yield f"{film.label} is HDR: its colours are shown as they are stored, paler than on an HDR screen."


@dataclass(frozen=True)
class Moment:
    """The pictures of all films at one time: (h, w, 3) uint8 each, in their order. time_s: on the clock of the set."""

    time_s: float
    pictures: tuple[np.ndarray, ...]


def walk(
    films: FilmSet, start_s: float | None = None, end_s: float | None = None, max_frames: int | None = None
) -> Iterator[Moment]:
    """Every frame of the clock in the range, beside what the other films show then, until the shortest ends.

    Errors: :class:`InputError` where nothing can be decoded or the range holds no frame.
    """
    clock = films.clock
    with ExitStack() as stack:
        followers = {
            film.label: _Follower(
                film, stack.enter_context(film.read(None if start_s is None else start_s - 1))
            )
            for film in films.films
            if film is not clock
        }
        for count, frame in enumerate(stack.enter_context(clock.read(start_s))):
            time_s = clock.time(frame)
            if (end_s is not None and time_s >= end_s) or count == max_frames:
                return
            shown = [frame if film is clock else followers[film.label].at(time_s) for film in films.films]
            pictures = tuple(
                film.picture(one, films.height, films.width)
                for film, one in zip(films.films, shown, strict=True)
                if one is not None
            )
            if len(pictures) < len(shown):
                return
            yield Moment(time_s, pictures)


class _Follower:
    """The frame that a film shows at times that only grow."""

    def __init__(self, film: ComparedFilm, frames: Iterator[Frame]) -> None:
        self._film = film
        self._frames = frames
        self._shown: Frame | None = None
        self._next = next(frames, None)

    def at(self, time_s: float) -> Frame | None:
        """The frame shown at ``time_s``; None after the end."""
        film = self._film
        while self._next is not None and film.time(self._next) <= time_s + film.early_s():
            self._shown, self._next = self._next, next(self._frames, None)
        if self._shown is None:
            return self._next
        ended = film.time(self._shown) + _shown_for_s(film, self._shown) - film.early_s()
        return None if self._next is None and time_s >= ended else self._shown


def _shown_for_s(film: ComparedFilm, frame: Frame) -> float:
    """How long ``frame`` is shown, at least as long as others are: some containers state a single tick."""
    return float(max((frame.duration or 0) * film.source.video.time_base, 1 / film.rate))


def look_at(films: FilmSet, time_s: float) -> Moment:
    """What all films show at ``time_s``. Errors: :class:`InputError` where nothing can be decoded."""
    clock = films.clock
    frame = _frame_at(clock, time_s)
    time_s = clock.time(frame)
    pictures = tuple(
        film.picture(frame if film is clock else _frame_at(film, time_s), films.height, films.width)
        for film in films.films
    )
    return Moment(time_s, pictures)


def _frame_at(film: ComparedFilm, time_s: float) -> Frame:
    """The frame that ``film`` shows at ``time_s``: its first before it begins, its last after its end."""
    for lookback_s in _LOOKBACKS_S:
        start_s = time_s - lookback_s - 1.5 / float(film.rate)
        if start_s > 0 and (found := _last_until(film, start_s, time_s)) is not None:
            return found
    found = _last_until(film, None, time_s)
    assert found is not None
    return found


def _last_until(film: ComparedFilm, start_s: float | None, time_s: float) -> Frame | None:
    """The last frame from ``start_s`` on that is shown by ``time_s``; without ``start_s`` the first where all come later."""
    found: Frame | None = None
    with film.read(start_s) as reader:
        try:
            for frame in reader:
                if film.time(frame) > time_s + film.early_s():
                    return frame if found is None and start_s is None else found
                found = frame
        except InputError:
            if start_s is None:
                raise
    return found
