"""Compare films: which frames to look at, the figures of every frame, and the page that shows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli.errors import InputError, InterruptedRun, OutputError, UsageError
from rvrt_cli.evaluate.films import ComparedFilm, FilmSet, describe_film, look_at, open_films, walk
from rvrt_cli.evaluate.measure import LUMA_STATEMENT, METRICS, VMAF_STATEMENT, FrameMeter
from rvrt_cli.evaluate.metrics import psnr, rgb_to_y
from rvrt_cli.evaluate.page import MAX_PICTURE_BYTES, Curve, Page, PageFilm, Place, render_page
from rvrt_cli.evaluate.page_pictures import encode_alike, thumbnail
from rvrt_cli.evaluate.report import jsonable
from rvrt_cli.evaluate.vmaf import VMAF_MODELS, check_libvmaf
from rvrt_cli.system.files import write_bytes

LOOKED_THROUGH = 600
"""Films with so many frames, and films with a ground truth, are looked through as a whole."""
_PROBES = 32
"""In longer films the places that differ most are looked for at so many even distances. Every one costs the decoding from a key frame on, in each film."""

OnProgress = Callable[[int, "int | None"], None]
"""Called with (frames looked at, frames in all as far as known)."""


@dataclass(frozen=True)
class CompareOptions:
    """What to compare and how. Times are seconds after the first frame. ``max_bytes``: of the pictures in the page."""

    films: tuple[Path, ...]
    gt: Path | None = None
    labels: tuple[str, ...] = ()
    at_s: tuple[float, ...] = ()
    places: int = 6
    differing: int = 3
    start_s: float | None = None
    end_s: float | None = None
    max_frames: int | None = None
    metrics: tuple[str, ...] = tuple(METRICS)
    max_bytes: float = MAX_PICTURE_BYTES


@dataclass
class Measured:
    """Figures of the frames that were looked at, in order. differences[i]: of film i + 1 beside film 0, PSNR of Y in dB.

    The ground truth counts there only where there is nothing else beside film 0. figures[i]: of film i against the ground
    truth, by name; empty without one. sampled_s: where only some frames were looked at, the range they are spread over.
    """

    times_s: list[float] = field(default_factory=list)
    differences: list[list[float]] = field(default_factory=list)
    figures: list[dict[str, list[float]]] = field(default_factory=list)
    sampled_s: tuple[float, float] | None = None

    def add_difference(self, planes: Sequence[np.ndarray]) -> None:
        for index, line in enumerate(self.differences):
            line.append(psnr(planes[0], planes[index + 1]))


@dataclass(frozen=True)
class Comparison:
    """What the command reports. means: film → figure → mean over frames. notes: sentences."""

    output: str
    output_bytes: int
    frames: int
    places: tuple[str, ...]
    means: dict[str, dict[str, float]]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: infinity (equal pictures) becomes the string "inf"."""
        return jsonable({**self.__dict__})


def check_page_path(path: Path, overwrite: bool) -> None:
    """Before a long run: can the page be written there?

    Errors: :class:`UsageError` for another suffix; :class:`OutputError` for a file that is there, or a folder that is not.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path}: the report is an HTML page; name it like report.html.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise OutputError(
            f"{path} cannot be written: {path.absolute().parent} is not a folder; make it first."
        )
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; choose another name or add --overwrite.")


def compare_films(options: CompareOptions, output: Path, on_progress: OnProgress | None = None) -> Comparison:
    """Write the page that compares ``options.films`` to ``output``, atomically; check it with :func:`check_page_path` first.

    Errors: those of :func:`rvrt_cli.evaluate.films.open_films` and of reading; :class:`UsageError` for places outside the
    films and options without a use; :class:`rvrt_cli.errors.DeviceError` where ffmpeg has no libvmaf; :class:`InterruptedRun`.
    """
    try:
        return _compare(options, output, on_progress or (lambda done, total: None))
    except KeyboardInterrupt as error:
        raise InterruptedRun(
            f"Stopped; {output} was not written. Run the same command again for the page."
        ) from error


def _compare(options: CompareOptions, output: Path, on_progress: OnProgress) -> Comparison:
    if options.gt is not None and set(options.metrics) & set(VMAF_MODELS):
        check_libvmaf()
    films = open_films(options.films, options.gt, options.labels)
    _check_places(options, films)
    measured = _measure(films, options, on_progress)
    if not measured.times_s:
        raise InputError(
            f"{films.clock.source.path} has no frame that all films show in the chosen range; choose another one."
        )
    chosen = choose_places(measured, options)
    share = options.max_bytes / len(chosen)
    places = [_place(films, measured.times_s[point], point, why, share) for point, why in chosen.items()]
    notes = [*films.notes, *_statements(films, measured, options)]
    page = _page(films, measured, places, notes)
    data = render_page(page)
    write_bytes(output, data)
    return Comparison(
        str(output),
        len(data),
        len(measured.times_s),
        tuple(place.name for place in places),
        {
            films.films[index].label: {name: float(np.mean(values)) for name, values in figures.items()}
            for index, figures in enumerate(measured.figures)
        },
        tuple(notes),
    )


def _check_places(options: CompareOptions, films: FilmSet) -> None:
    if not options.at_s and not options.places and not options.differing:
        raise UsageError("No place to look at: give --at, --places or --differing.")
    start_s, end_s = options.start_s or 0.0, options.end_s
    if end_s is not None and end_s <= start_s:
        raise UsageError(f"--end {end_s:g} is not behind --start {start_s:g}; swap them.")
    duration = films.duration_s
    for time_s in options.at_s:
        if duration is not None and time_s > duration:
            raise UsageError(f"--at {time_s:g} is behind the end of the shortest film, {duration:.3f} s.")
        if time_s < start_s or (end_s is not None and time_s >= end_s):
            raise UsageError(f"--at {time_s:g} is outside of the range of --start and --end.")


def _range(films: FilmSet, options: CompareOptions) -> tuple[float, float] | None:
    """First and last second of what is compared; None where a film does not say how long it is."""
    if films.duration_s is None:
        return None
    start = options.start_s or 0.0
    end = min(films.duration_s, options.end_s if options.end_s is not None else math.inf)
    if options.max_frames is not None:
        end = min(end, start + options.max_frames / float(films.clock.rate))
    return start, end


def _measure(films: FilmSet, options: CompareOptions, report: OnProgress) -> Measured:
    """Look through the films: all of their frames, or some where they are long, can be sought in and have no ground truth."""
    span = _range(films, options)
    count = None if span is None else max(1, round((span[1] - span[0]) * films.clock.rate))
    beside = max(1, len(films.compared) - 1)
    measured = Measured(differences=[[] for _ in range(beside)])
    seekable = not any(film.source.clock_jumps for film in films.films)
    if films.has_gt or count is None or span is None or count <= LOOKED_THROUGH or not seekable:
        _measure_all(films, options, count, measured, report)
    else:
        probes = options.differing and _PROBES
        times = sorted({*even_times(*span, options.places), *even_times(*span, probes), *options.at_s})
        measured.sampled_s = span
        for done, time_s in enumerate(times):
            moment = look_at(films, time_s)
            if not measured.times_s or moment.time_s > measured.times_s[-1]:
                measured.times_s.append(moment.time_s)
                measured.add_difference([rgb_to_y(picture) for picture in moment.pictures])
            report(done + 1, len(times))
    return measured


def _measure_all(
    films: FilmSet, options: CompareOptions, count: int | None, measured: Measured, report: OnProgress
) -> None:
    matrix = films.clock.source.video.effective_color.matrix
    with ExitStack() as stack:
        tested = films.compared if films.has_gt else ()
        meters = [stack.enter_context(FrameMeter(options.metrics, matrix)) for _ in tested]
        for moment in walk(films, options.start_s, options.end_s, options.max_frames):
            planes = [rgb_to_y(picture) for picture in moment.pictures]
            measured.times_s.append(moment.time_s)
            measured.add_difference(planes)
            for index, meter in enumerate(meters):
                meter.add(moment.pictures[index], moment.pictures[-1], planes[index], planes[-1])
            report(len(measured.times_s), count)
        measured.figures = [meter.finish() for meter in meters]


def even_times(start_s: float, end_s: float, count: int) -> list[float]:
    """The middles of ``count`` equal parts of a range."""
    return [start_s + (end_s - start_s) * (i + 0.5) / count for i in range(count)]


def choose_places(measured: Measured, options: CompareOptions) -> dict[int, str]:
    """Index of a frame → why it is looked at, in order: asked for, those that differ most, evenly spaced ones.

    Neighbours differ alike, so those that differ most keep a distance from one another; equal pictures do not differ.
    """
    times = measured.times_s
    frame_s = (times[-1] - times[0]) / max(1, len(times) - 1)
    span = measured.sampled_s or (times[0], times[-1] + frame_s)
    apart_s = (span[1] - span[0]) / (3 * max(1, options.places + options.differing))

    def nearest(time_s: float) -> int:
        return min(range(len(times)), key=lambda i: abs(times[i] - time_s))

    chosen = {nearest(time_s): "chosen" for time_s in options.at_s}
    lowest = [min(line[i] for line in measured.differences) for i in range(len(times))]
    differing: list[int] = []
    for point in sorted(range(len(times)), key=lowest.__getitem__):
        if len(differing) == options.differing or math.isinf(lowest[point]):
            break
        if all(abs(times[point] - times[other]) > apart_s for other in differing):
            differing.append(point)
    for point in differing:
        chosen.setdefault(point, "differs most")
    for time_s in even_times(*span, options.places):
        chosen.setdefault(nearest(time_s), "evenly spaced")
    return dict(sorted(chosen.items()))


def _place(films: FilmSet, time_s: float, point: int, why: str, budget_bytes: float) -> Place:
    moment = look_at(films, time_s)
    aspect = float(films.clock.pixel_aspect)
    small = thumbnail(moment.pictures[min(1, len(moment.pictures) - 1)], aspect)
    return Place(
        name_time(time_s), why, point, encode_alike(moment.pictures, budget_bytes - len(small.data)), small, aspect
    )  # fmt: skip


def name_time(time_s: float) -> str:
    """``1.25 s``, ``2:05.50``."""
    if time_s < 60:
        return f"{time_s:.2f} s"
    minutes, seconds = divmod(round(time_s, 2), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{seconds:05.2f}" if hours else f"{minutes}:{seconds:05.2f}"


def _statements(films: FilmSet, measured: Measured, options: CompareOptions) -> list[str]:
    """How the figures were made."""
    notes = []
    if films.has_gt:
        if {"psnr", "ssim"} & set(options.metrics):
            notes.append(f"{LUMA_STATEMENT}.")
        if set(VMAF_MODELS) & set(options.metrics):
            notes.append(f"{VMAF_STATEMENT}.")
    if len(films.compared) > 1:
        notes.append(
            f"{_likeness(films)} says how like that film another one is, frame by frame, not which is better."
        )
    if measured.sampled_s is not None:
        notes.append(
            f"The difference was looked at in {len(measured.times_s)} frames spread over the film, not in all."
        )
    for film in films.films:
        if films.enlarges(film):
            notes.append(
                f"{film.label} is {film.width}x{film.height}; it is shown enlarged to {films.width}x{films.height} by bicubic "
                "interpolation (Matlab's)."
            )
    return notes


def _likeness(films: FilmSet) -> str:
    """Title of the curve of differences."""
    return f"PSNR-Y against {_shown_label(films, films.films[0])}"


def _shown_label(films: FilmSet, film: ComparedFilm) -> str:
    return f"{film.label} (bicubic)" if films.enlarges(film) else film.label


def _page(films: FilmSet, measured: Measured, places: list[Place], notes: list[str]) -> Page:
    curves = []
    if measured.figures:
        for name in measured.figures[0]:
            metric = METRICS[name]
            lines = [(index, figures[name]) for index, figures in enumerate(measured.figures)]
            curves.append(Curve(metric.title, metric.unit, metric.digits, lines))
    if len(films.compared) > 1:
        lines = [(index + 1, difference) for index, difference in enumerate(measured.differences)]
        curves.append(Curve(_likeness(films), "dB", 2, lines))
    return Page(
        title=" | ".join(film.label for film in films.films),
        films=[PageFilm(_shown_label(films, film), describe_film(film)) for film in films.films],
        places=places,
        frames=measured.times_s,
        frame_names=[name_time(time_s) for time_s in measured.times_s],
        unit="s",
        curves=curves,
        left=0,
        right=1,
        notes=notes,
    )
