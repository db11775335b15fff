"""One unit of work of a data set that is written to disk: low-quality frames of images or of a video, clips from photographs.

Every output file appears whole or not at all, an existing whole file is left alone, and a source file that cannot be used
is named in the outcome.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvrt_cli.data.degrade import degrade_bd, degrade_real
from rvrt_cli.data.motion import MotionSettings, synthesize_clip
from rvrt_cli.errors import InputError
from rvrt_cli.imaging.images import encode_png, read_image
from rvrt_cli.imaging.resize import imresize_u8
from rvrt_cli.system.files import explain_os_error

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
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
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


def degrade_clip(gt: np.ndarray, degrade: Degrade, index: int) -> np.ndarray:
    """Low-quality frames of a (t, h, w, 3) uint8 clip whose size is a multiple of the scale."""
    if degrade.name == "BI":
        return imresize_u8(gt, 1.0 / degrade.scale)
    if degrade.name == "BD":
        return degrade_bd(gt, degrade.scale)
    if degrade.name == "real":
        return degrade_real(gt, np.random.default_rng([degrade.seed, index]), degrade.scale)
    raise InputError(f"There is no degradation called {degrade.name!r}; choose BI, BD or real.")


def _make_frames(task: Task) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(ground truth to write, low quality to write) of a task."""
    if task.kind in ("frame", "clip"):
        frames = [read_image(path) for path in task.sources]
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            raise InputError(
                f"{task.sources[0].parent} holds frames of different sizes; keep one size per sequence."
            )
        gt = np.stack(frames)
    elif task.kind == "photos":
        photos = [read_image(path, convert=True) for path in task.sources]
        assert task.degrade is not None
        rng = np.random.default_rng([task.degrade.seed, task.index])
        gt = synthesize_clip(photos, rng, len(task.gt), task.height, task.width, task.motion)
    else:
        raise ValueError(task.kind)
    gt_out = list(gt) if task.gt else []
    if not task.lq:
        return gt_out, []
    assert task.degrade is not None
    return gt_out, list(degrade_clip(crop_to_multiple(gt, task.degrade.scale), task.degrade, task.index))


def encoded(task: Task) -> Iterable[tuple[Path, bytes]]:
    """The files of a task, made in memory. Errors: :class:`InputError` for a source that cannot be used."""
    gt, lq = _make_frames(task)
    for path, image in zip((*task.gt, *task.lq), (*gt, *lq), strict=True):
        yield path, encode_png(image)


def run_task(task: Task) -> Outcome:
    """Carry out a task; a source that cannot be used is part of the outcome, a full disk is raised."""
    if task.kind == "video":
        return _run_video(task)
    outputs = (*task.gt, *task.lq)
    missing = {path for path in outputs if not _is_whole_png(path)}
    if not missing:
        return Outcome(kept=len(outputs))
    written = size = 0
    try:
        for path, data in encoded(task):
            if path in missing:
                _write_file(path, data)
                written += 1
                size += len(data)
    except InputError as error:
        return Outcome(written, size, len(outputs) - len(missing), ((str(task.sources[0]), str(error)),))
    return Outcome(written, size, len(outputs) - len(missing))


def verify_task(task: Task) -> Outcome:
    """Make a task's files again in memory and compare them with those on the disk, pixel for pixel; writes nothing."""
    failures = []
    kept = 0
    try:
        gt, lq = _make_frames(task)
    except InputError as error:
        return Outcome(failures=((str(task.sources[0]), str(error)),))
    for path, expected in zip((*task.gt, *task.lq), (*gt, *lq), strict=True):
        try:
            if not path.exists():
                failures.append((str(path), f"{path} is missing."))
            elif not np.array_equal(read_image(path), expected):
                failures.append((str(path), f"{path} differs from what its ground truth gives."))
            else:
                kept += 1
        except InputError as error:
            failures.append((str(path), str(error)))
    return Outcome(kept=kept, failures=tuple(failures))


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
        clip: list[np.ndarray] = []
        with read_frames(probe(source)) as reader:
            for frame in reader:
                rgb = np.rint(np.clip(frame.rgb, 0.0, 1.0) * 255.0).astype(np.uint8)
                rgb = crop_to_multiple(rgb, task.degrade.scale)
                name = f"{count:08d}.png"
                store(gt_folder / name, rgb)
                if task.degrade.name == "real":
                    clip.append(rgb)
                else:
                    store(lq_folder / name, degrade_clip(rgb[None], task.degrade, task.index)[0])
                count += 1
        if clip:
            for number, image in enumerate(degrade_clip(np.stack(clip), task.degrade, task.index)):
                store(lq_folder / f"{number:08d}.png", image)
        _write_file(marker, str(count).encode())
    except InputError as error:
        return Outcome(written, size, kept, ((str(source), str(error)),))
    return Outcome(written, size, kept)


def is_finished(task: Task) -> bool:
    """Whether all that a task writes is there; a few bytes are read of each file."""
    if task.kind == "video":
        return (task.lq[0] / ".complete").exists()
    return all(_is_whole_png(path) for path in (*task.gt, *task.lq))
