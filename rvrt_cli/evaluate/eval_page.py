"""The page of an evaluation: frames of some clips under the wipe, the figures of all frames as curves."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvrt_cli.evaluate.measure import METRICS, VMAF_STATEMENT
from rvrt_cli.evaluate.page import MAX_PICTURE_BYTES, Curve, Page, PageFilm, Place, render_page
from rvrt_cli.evaluate.page_pictures import encode_alike, thumbnail
from rvrt_cli.evaluate.report import EvalReport
from rvrt_cli.system.files import atomic_path, write_bytes

SHOWN_CLIPS = 12
"""Of more clips, so many at even distances are shown."""


@dataclass(frozen=True)
class Kept:
    """One frame of a clip. frame: which of the compared ones. pictures: (h, w, 3) uint8 of each model, then ground truth."""

    frame: int
    pictures: tuple[np.ndarray, ...]


class PictureShelf:
    """Pictures for the page, kept in ``folder`` while the clips are evaluated, so that an interrupted run finds them again."""

    def __init__(self, folder: Path, clips: Sequence[str]) -> None:
        count = min(SHOWN_CLIPS, len(clips))
        self.folder = folder
        self.clips = tuple(clips[len(clips) * i // count] for i in range(count))

    def _path(self, clip: str) -> Path:
        return self.folder / f"{self.clips.index(clip):03}.npz"

    def keep(self, clip: str, films: Sequence[np.ndarray], compared: Sequence[int]) -> None:
        """Keep, of a clip that is to be shown, the compared frame in which the first two of ``films`` differ most.

        films: (t, h, w, 3) uint8 of each model, then the ground truth. Errors: those of writing.
        """
        if clip not in self.clips:
            return
        errors = [float(np.mean((films[0][i].astype(np.float32) - films[1][i]) ** 2)) for i in compared]
        frame = int(np.argmax(errors))
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._path(clip)) as temporary:
            np.savez(temporary, frame=frame, pictures=np.stack([film[compared[frame]] for film in films]))

    def take(self, clip: str) -> Kept:
        """What was kept of a clip."""
        with np.load(self._path(clip)) as stored:
            return Kept(int(stored["frame"]), tuple(stored["pictures"]))

    def remove(self) -> None:
        """The page is written."""
        shutil.rmtree(self.folder, ignore_errors=True)


def write_eval_page(path: Path, report: EvalReport, shelf: PictureShelf) -> None:
    """Write the page of ``report`` to ``path``, atomically."""
    models = [total.model for total in report.totals]
    clips = list(dict.fromkeys(score.clip for score in report.scores))
    first_frame: dict[str, int] = {}
    names: list[str] = []
    for clip in clips:
        first_frame[clip] = len(names)
        frames = len(report.score(clip, models[0]).frame_psnr)
        names += [clip if frames == 1 else f"{clip}, frame {i + 1}" for i in range(frames)]
    places = []
    for clip in shelf.clips:
        kept = shelf.take(clip)
        point = first_frame[clip] + kept.frame
        small = thumbnail(kept.pictures[0])
        budget = MAX_PICTURE_BYTES / len(shelf.clips) - len(small.data)
        places.append(Place(names[point], "differs most", point, encode_alike(kept.pictures, budget), small))
    curves = []
    for name, metric in METRICS.items():
        field = f"frame_{name.replace('-', '_')}"
        lines = [
            (index, [value for clip in clips for value in getattr(report.score(clip, model), field)])
            for index, model in enumerate(models)
        ]
        if lines[0][1]:
            curves.append(Curve(metric.title.removesuffix("-Y"), metric.unit, metric.digits, lines))
    notes = [report.protocol, f"Low quality: {report.low_quality}. Fed as {report.feeding}."]
    if report.totals[0].vmaf is not None or report.totals[0].vmaf_neg is not None:
        notes.append(f"{VMAF_STATEMENT}.")
    if len(clips) > len(shelf.clips):
        notes.append(
            f"{len(shelf.clips)} of {len(clips)} clips are shown; the curves and the means are of all."
        )
    page = Page(
        title=f"{report.dataset}: {' | '.join(models)}",
        films=[
            *(PageFilm(total.model, total.engine) for total in report.totals),
            PageFilm("ground truth", ""),
        ],
        places=places,
        frames=[float(i + 1) for i in range(len(names))],
        frame_names=names,
        unit="",
        curves=curves,
        left=1 if len(models) == 2 else 0,
        right=0 if len(models) == 2 else 1,
        notes=notes,
    )
    write_bytes(path, render_page(page))
