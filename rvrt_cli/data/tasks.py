"""One unit of work of a data set that is written to disk: low-quality frames of images or of a video, clips from photographs.

Every output file appears whole or not at all, an existing whole file is left alone, and a source file that cannot be used
is named in the outcome.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvrt_cli.data.degrade import degrade_bd, degrade_bi, degrade_real_frames
from rvrt_cli.data.motion import MotionSettings, synthesize_clip
from rvrt_cli.errors import InputError
from rvrt_cli.imaging.images import encode_png, read_image
from rvrt_cli.system.files import explain_os_error, temporary_beside

_PNG_TRAILER = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class Degrade:
    """How ground truth becomes low quality."""

    name: str = "BI"
    scale: int = 4
    seed: int = 0
    """Only "real" draws from it, per sequence."""

    @property
    def folder(self) -> str:
        """The field's name of the folder of low-quality frames, for example ``BIx4``."""
        return f"{self.name}x{self.scale}"


@dataclass(frozen=True)
class Task:
    """One unit of work; what it writes is known beforehand, so a finished one is recognised."""

    kind: str
    """"frame" (one image to its LQ), "clip" (the images of a sequence to their LQ), "video", or "photos"."""
    sources: tuple[Path, ...]
    gt: tuple[Path, ...]
    """Ground-truth frames to write; empty where the sources are the ground truth."""
    lq: tuple[Path, ...]
    degrade: Degrade | None
    index: int = 0
    height: int = 0
    width: int = 0
    motion: MotionSettings | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task: files and bytes written, files that were there, and what went wrong."""

    written: int = 0
    written_bytes: int = 0
    kept: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    """(file, reason)."""


def _is_whole_png(path: Path) -> bool:
    """Whether a PNG exists and ends as PNGs end; one read of a few bytes."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(_PNG_TRAILER), os.SEEK_END)
            return file.read() == _PNG_TRAILER
    except OSError:
        return False


def _write_file(path: Path, data: bytes) -> None:
    """Atomic, but without fsync: with hundreds of thousands of files that would take hours on a hard disk.

    A power cut can leave a file of the last seconds empty; the next run sees that it is not whole and writes it again.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise explain_os_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def crop_to_multiple(clip: np.ndarray, scale: int) -> np.ndarray:
    """(..., h, w, 3) without the last rows and columns beyond a multiple of ``scale``."""
    h, w = clip.shape[-3:-1]
    if h < scale or w < scale:
        raise InputError(f"A {w}×{h} image is too small to be reduced by {scale}.")
    return clip[..., : h - h % scale, : w - w % scale, :]


def degrade_frames(
    gt: Iterable[np.ndarray], count: int, degrade: Degrade, index: int
) -> Iterator[np.ndarray]:
    """Low quality of the ``count`` frames (h, w, 3) uint8 of task ``index``, cropped to a multiple of the scale."""
    frames = (crop_to_multiple(frame, degrade.scale) for frame in gt)
    if degrade.name == "real":
        rng = np.random.default_rng([degrade.seed, index])
        return degrade_real_frames(frames, count, rng, degrade.scale)
    reduce = degrade_bi if degrade.name == "BI" else degrade_bd
    return (reduce(frame, degrade.scale) for frame in frames)


def _read_frames(paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """The frames of a sequence. Errors: :class:`InputError`, also where they have several sizes."""
    shape = None
    for path in paths:
        frame = read_image(path)
        if frame.shape != (shape or frame.shape):
            raise InputError(f"{path.parent} holds frames of different sizes; keep one size per sequence.")
        shape = frame.shape
        yield frame


def made(task: Task) -> Iterator[tuple[Path, np.ndarray]]:
    """The pictures of a task of frames or photographs, each with its file, made one after the other.

    Errors: :class:`InputError` for a source that cannot be used.
    """
    assert task.degrade is not None
    gt: Iterable[np.ndarray]
    if task.kind in ("frame", "clip"):
        gt, count = _read_frames(task.sources), len(task.sources)
    elif task.kind == "photos":
        photos = [read_image(path, convert=True) for path in task.sources]
        rng = np.random.default_rng([task.degrade.seed, task.index])
        gt = synthesize_clip(photos, rng, len(task.gt), task.height, task.width, task.motion)
        count = len(task.gt)
        yield from zip(task.gt, gt, strict=True)
    else:
        raise ValueError(task.kind)
    if task.lq:
        yield from zip(task.lq, degrade_frames(gt, count, task.degrade, task.index), strict=True)


def encoded(task: Task) -> Iterator[tuple[Path, bytes]]:
    """The files of a task, made in memory one by one. Errors: :class:`InputError` for a source that cannot be used."""
    for path, image in made(task):
        yield path, encode_png(image)


def run_task(task: Task) -> Outcome:
    """Carry out a task; a source that cannot be used is part of the outcome, a full disk is raised."""
    if task.kind == "video":
        return _run_video(task)
    outputs = (*task.gt, *task.lq)
    missing = {path for path in outputs if not _is_whole_png(path)}
    if not missing:
        return Outcome(kept=len(outputs))
    written: list[Path] = []
    size = 0
    try:
        for path, data in encoded(task):
            if path in missing:
                _write_file(path, data)
                written.append(path)
                size += len(data)
    except InputError as error:
        for path in written:  # half a sequence would be taken for done
            path.unlink()
        return Outcome(kept=len(outputs) - len(missing), failures=((str(task.sources[0]), str(error)),))
    return Outcome(len(written), size, len(outputs) - len(missing))


def verify_task(task: Task) -> Outcome:
    """Make a task's files again in memory and compare them with those on the disk, pixel for pixel; writes nothing."""
    failures = []
    kept = 0
    try:
        for path, expected in made(task):
            reason = _difference(path, expected)
            if reason:
                failures.append((str(path), reason))
            else:
                kept += 1
    except InputError as error:
        return Outcome(failures=((str(task.sources[0]), str(error)),))
    return Outcome(kept=kept, failures=tuple(failures))


def _difference(path: Path, expected: np.ndarray) -> str:
    """Why the picture in ``path`` is not ``expected``; empty where it is."""
    if not path.exists():
        return f"{path} is missing."
    try:
        same = np.array_equal(read_image(path), expected)
    except InputError as error:
        return str(error)
    return "" if same else f"{path} differs from what its ground truth gives."


def _run_video(task: Task) -> Outcome:
    """Decode a video to ground-truth frames and their low quality; ``gt[0]`` and ``lq[0]`` are folders here.

    How many frames there are is known only at the end, when a marker file is written: a video without it is decoded
    again, but frames that are whole stay.
    """
    from rvrt_cli.media.probe import probe
    from rvrt_cli.media.reader import read_frames

    assert task.degrade is not None
    source, gt_folder, lq_folder = task.sources[0], task.gt[0], task.lq[0]
    marker = lq_folder / ".complete"
    if marker.exists():
        return Outcome(kept=2 * int(marker.read_text() or 0))
    written = size = kept = count = 0

    def store(path: Path, image: np.ndarray) -> None:
        nonlocal written, size, kept
        if _is_whole_png(path):
            kept += 1
            return
        data = encode_png(image)
        _write_file(path, data)
        written += 1
        size += len(data)

    try:
        with read_frames(probe(source)) as reader:
            for frame in reader:
                rgb = np.rint(np.clip(frame.rgb, 0.0, 1.0) * 255.0).astype(np.uint8)
                rgb = crop_to_multiple(rgb, task.degrade.scale)
                name = f"{count:08d}.png"
                store(gt_folder / name, rgb)
                if task.degrade.name != "real":
                    store(lq_folder / name, next(degrade_frames([rgb], 1, task.degrade, task.index)))
                count += 1
        if task.degrade.name == "real":
            # What a frame becomes depends on the whole clip, which is on the disk now.
            names = [f"{number:08d}.png" for number in range(count)]
            frames = degrade_frames(
                _read_frames([gt_folder / name for name in names]), count, task.degrade, task.index
            )
            for name, image in zip(names, frames, strict=True):
                store(lq_folder / name, image)
        _write_file(marker, str(count).encode())
    except InputError as error:
        return Outcome(written, size, kept, ((str(source), str(error)),))
    return Outcome(written, size, kept)


def is_finished(task: Task) -> bool:
    """Whether all that a task writes is there; a few bytes are read of each file."""
    if task.kind == "video":
        return (task.lq[0] / ".complete").exists()
    return all(_is_whole_png(path) for path in (*task.gt, *task.lq))
