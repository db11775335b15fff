"""Validation during training: Y-PSNR of whole clips beside bicubic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvrt_cli.data.clips import FrameSource
from rvrt_cli.data.recognise import looks_like_film, open_clip_source
from rvrt_cli.data.vimeo import find_vimeo_root, septuplet_frames
from rvrt_cli.errors import InputError, OutOfMemoryError_, UsageError
from rvrt_cli.evaluate.metrics import psnr
from rvrt_cli.imaging.images import read_image
from rvrt_cli.imaging.resize import imresize_u8
from rvrt_cli.inference.tiles import TilePlan, restore_tiled
from rvrt_cli.model.config import ModelConfig

_TILES_LQ_PX = (256, 128, 64)
"""Tried one after the other where a whole frame does not fit into memory."""
_OVERLAP_LQ_PX = 16


@dataclass(frozen=True)
class ValidationSpec:
    """A folder of frame sequences, or a Vimeo-90K tree (its test list)."""

    name: str
    path: str
    frames: int = 6
    """First frames of each sequence; Vimeo-90K always gives its seven."""
    clips: int = 16
    """At most so many sequences, spread evenly over the set."""

    def __str__(self) -> str:
        return f"{self.name} ({self.frames} frames of at most {self.clips} clips)"


def parse_validation(texts: list[str], frames: int, clips: int) -> tuple[ValidationSpec, ...]:
    """Read ``DIR`` or ``NAME=DIR`` each; without a name the folder's own is used.

    Errors: :class:`UsageError` for two sets of one name.
    """
    specs: list[ValidationSpec] = []
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            name, path = Path(text).resolve().name, text
        if name in (spec.name for spec in specs):
            raise UsageError(f"Two --val sets are called {name}; name one of them: --val NAME={path}.")
        specs.append(ValidationSpec(name, path, frames, clips))
    return tuple(specs)


@dataclass(frozen=True)
class ValidationClip:
    """``lq (t, h, w, 3)`` and ``gt (t, 4h, 4w, 3)``, uint8, and the Y-PSNR of bicubic in dB."""

    name: str
    lq: np.ndarray
    gt: np.ndarray
    bicubic: float


@dataclass(frozen=True)
class ValidationResult:
    """Mean Y-PSNR in dB over the clips of a set."""

    name: str
    psnr_y: float
    bicubic: float
    clips: tuple[tuple[str, float, float], ...]
    """(clip, network, bicubic)."""


def load_validation(
    spec: ValidationSpec, config: ModelConfig, rank: int = 0, world: int = 1
) -> list[ValidationClip]:
    """Read this rank's clips of a set for the network ``config`` and enlarge them by bicubic.

    Errors: :class:`InputError` for a folder without sequences, with damaged or too small frames or frames of several sizes.
    """
    upscale = config.upscale
    sequences = _sequences(spec)
    chosen = np.unique(
        np.linspace(0, len(sequences) - 1, min(spec.clips, len(sequences))).round().astype(int)
    )
    clips = []
    for index in chosen[rank::world]:
        name, files = sequences[int(index)]
        frames = [read_image(path, convert=True) for path in files]
        for path, frame in zip(files, frames, strict=True):
            if frame.shape != frames[0].shape:
                raise InputError(
                    f"{path} has another size than {files[0].name}; the frames of a --val clip must have one size."
                )
        h, w = (size // upscale * upscale for size in frames[0].shape[:2])
        if min(h, w) < config.min_size * upscale:
            raise InputError(
                f"{files[0]} is {frames[0].shape[1]}×{frames[0].shape[0]} pixels, but this network needs "
                f"{config.min_size * upscale} on each side; remove it from the --val set."
            )
        gt = np.stack([frame[:h, :w] for frame in frames])
        lq = imresize_u8(gt, 1.0 / upscale)
        clips.append(ValidationClip(name, lq, gt, _mean_psnr(imresize_u8(lq, upscale), gt)))
    return clips


def _sequences(spec: ValidationSpec) -> list[tuple[str, list[Path]]]:
    """Each sequence's name, which no other has, and its files."""
    path = Path(spec.path)
    try:
        layout = find_vimeo_root(path)
    except InputError:
        layout = None
    if layout is not None and "test" in layout.lists:
        return [
            (name.replace("/", "-"), septuplet_frames(layout.images, name))
            for name in layout.read_list("test")
        ]
    source = open_clip_source(path, "frames")
    if not isinstance(source, FrameSource):
        raise InputError(
            f"{path} holds no folders of frames; give --val a folder with one sub-folder of frames per clip."
        )
    found = []
    for sequence in source.sequences:
        folder = sequence[0].parent
        if len(sequence) > 1 and not looks_like_film(sequence):
            raise InputError(
                f"The pictures in {folder} are no consecutive frames; give --val a folder with one sub-folder of frames per clip."
            )
        name = "-".join(folder.relative_to(path).parts) or folder.resolve().name
        found.append((name, list(sequence[: spec.frames])))
    return found


def validate(
    name: str,
    clips: list[ValidationClip],
    predict: Callable[[np.ndarray], np.ndarray],
    keep: Callable[[str, np.ndarray], None],
) -> list[tuple[str, float, float]]:
    """Y-PSNR of each clip: (clip, network, bicubic). ``keep`` receives the middle frame of each as a picture to look at."""
    rows = []
    for clip in clips:
        lq = clip.lq.astype(np.float32) / 255.0
        t = len(lq)
        if t % 2:  # an odd clip is mirrored in time, as in training
            lq = np.concatenate([lq, lq[::-1]])
        sr = np.clip(np.rint(predict(lq)[:t] * 255.0), 0, 255).astype(np.uint8)
        rows.append((clip.name, _mean_psnr(sr, clip.gt), clip.bicubic))
        middle = t // 2
        keep(f"{name}-{clip.name}", _side_by_side(clip.lq[middle], sr[middle], clip.gt[middle]))
    return rows


def predict_within_memory(
    predict: Callable[[np.ndarray], np.ndarray], lq: np.ndarray, scale: int, note: Callable[[str], None]
) -> np.ndarray:
    """``predict(lq)`` of whole frames, or in tiles where those do not fit into memory; ``note`` is told so.

    ``lq (t, h, w, c)`` float32 → ``(t, scale·h, scale·w, 3)`` float32.
    Errors: :class:`OutOfMemoryError_` where the smallest tiles do not fit either.
    """
    height, width = lq.shape[1:3]
    plan = TilePlan(None)
    for px in _TILES_LQ_PX:
        if px < max(height, width):
            try:
                return restore_tiled(predict, lq, scale, plan)
            except OutOfMemoryError_:
                note(
                    f"a validation clip of {width}×{height} LQ pixels does not fit into memory in {plan}; smaller ones are tried"
                )
                plan = TilePlan(px, _OVERLAP_LQ_PX)
    return restore_tiled(predict, lq, scale, plan)


def _mean_psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean([psnr(x, y, y_channel=True) for x, y in zip(a, b, strict=True)]))


def _side_by_side(lq: np.ndarray, sr: np.ndarray, gt: np.ndarray, size: int = 256) -> np.ndarray:
    """The centre of bicubic | network | truth, at most ``size`` pixels each."""
    pictures = [imresize_u8(lq, size=(gt.shape[0], gt.shape[1])), sr, gt]
    top, left = max(0, (gt.shape[0] - size) // 2), max(0, (gt.shape[1] - size) // 2)
    return np.concatenate([picture[top : top + size, left : left + size] for picture in pictures], axis=1)
