"""Validation during training: Y-PSNR of whole clips beside bicubic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvrt_cli.data.bicubic import imresize_u8
from rvrt_cli.data.clips import FrameSource
from rvrt_cli.data.images import read_image
from rvrt_cli.data.recognise import open_clip_source
from rvrt_cli.data.vimeo import find_vimeo_root, septuplet_frames
from rvrt_cli.errors import InputError
from rvrt_cli.evaluate.metrics import psnr


@dataclass(frozen=True)
class ValidationSpec:
    """A folder of frame sequences, or a Vimeo-90K tree (its test list)."""

    name: str
    path: str
    frames: int = 6
    """First frames of each sequence; Vimeo-90K always gives its seven."""
    clips: int = 16
    """At most so many sequences, spread evenly over the set."""


def parse_validation(text: str, frames: int, clips: int) -> ValidationSpec:
    """Read ``DIR`` or ``NAME=DIR``; without a name the folder's own is used."""
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        name, path = Path(text).name, text
    return ValidationSpec(name, path, frames, clips)


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
    spec: ValidationSpec, upscale: int, rank: int = 0, world: int = 1
) -> list[ValidationClip]:
    """Read this rank's clips of a set and enlarge them by bicubic.

    Errors: :class:`InputError` for a folder without sequences or with damaged frames.
    """
    sequences = _sequences(spec)
    chosen = np.unique(
        np.linspace(0, len(sequences) - 1, min(spec.clips, len(sequences))).round().astype(int)
    )
    clips = []
    for index in chosen[rank::world]:
        files = sequences[int(index)]
        gt = np.stack([read_image(path, convert=True) for path in files])
        h, w = gt.shape[1] // upscale * upscale, gt.shape[2] // upscale * upscale
        gt = np.ascontiguousarray(gt[:, :h, :w])
        lq = imresize_u8(gt, 1.0 / upscale)
        clips.append(ValidationClip(files[0].parent.name, lq, gt, _mean_psnr(imresize_u8(lq, upscale), gt)))
    return clips


def _sequences(spec: ValidationSpec) -> list[list[Path]]:
    path = Path(spec.path)
    try:
        layout = find_vimeo_root(path)
    except InputError:
        layout = None
    if layout is not None and "test" in layout.lists:
        return [septuplet_frames(layout.images, name) for name in layout.read_list("test")]
    source = open_clip_source(path, "frames")
    if not isinstance(source, FrameSource):
        raise InputError(
            f"{path} holds no folders of frames; give --val a folder with one sub-folder of frames per clip."
        )
    return [list(sequence[: spec.frames]) for sequence in source.sequences]


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


def _mean_psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean([psnr(x, y, y_channel=True) for x, y in zip(a, b, strict=True)]))


def _side_by_side(lq: np.ndarray, sr: np.ndarray, gt: np.ndarray, size: int = 256) -> np.ndarray:
    """The centre of bicubic | network | truth, at most ``size`` pixels each."""
    pictures = [imresize_u8(lq, size=(gt.shape[0], gt.shape[1])), sr, gt]
    top, left = max(0, (gt.shape[0] - size) // 2), max(0, (gt.shape[1] - size) // 2)
    return np.concatenate([picture[top : top + size, left : left + size] for picture in pictures], axis=1)
