"""From ground truth to low quality: the field's BI and BD, and a random chain of what real films suffer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rvrt_cli.errors import InputError
from rvrt_cli.imaging.resize import imresize_u8

DegradationName = Literal["BI", "BD", "real"]
DEGRADATIONS: tuple[DegradationName, ...] = ("BI", "BD", "real")

_BD_SIGMA_PX = 1.6
_BD_KERNEL_PX = 13


@dataclass(frozen=True)
class RealSettings:
    """Ranges from which :func:`degrade_real` draws; lengths in GT pixels, noise in 8-bit levels."""

    blur_share: float = 0.5
    blur_sigma_px: tuple[float, float] = (0.3, 1.8)
    noise_share: float = 0.5
    noise_sigma: tuple[float, float] = (0.5, 8.0)
    compress_share: float = 0.85
    crf: tuple[float, float] = (15.0, 33.0)
    presets: tuple[str, ...] = ("ultrafast", "veryfast", "medium")


def _check(gt: np.ndarray, scale: int) -> None:
    if gt.ndim < 3 or gt.dtype != np.uint8:
        raise InputError(
            f"Frames to degrade must be uint8 (…, height, width, 3); these are {gt.dtype} {gt.shape}."
        )
    h, w = gt.shape[-3:-1]
    if h % scale or w % scale:
        raise InputError(
            f"Frames of {w}×{h} pixels cannot be reduced by {scale}; crop them to a multiple of {scale}."
        )


def degrade_bi(gt: np.ndarray, scale: int = 4) -> np.ndarray:
    """Matlab bicubic reduction, rounded to uint8: (..., h, w, 3) uint8 -> (..., h / scale, w / scale, 3) uint8."""
    _check(gt, scale)
    return imresize_u8(gt, 1.0 / scale)


def degrade_bd(gt: np.ndarray, scale: int = 4) -> np.ndarray:
    """Gaussian blur of σ 1.6 (13 × 13, mirrored borders), then every ``scale``-th pixel from the first; uint8 to uint8."""
    _check(gt, scale)
    radius = _BD_KERNEL_PX // 2
    kernel = np.exp(-np.square(np.arange(-radius, radius + 1)) / (2 * _BD_SIGMA_PX**2))
    kernel /= kernel.sum()
    h, w = gt.shape[-3:-1]
    edges = [(0, 0)] * (gt.ndim - 3) + [(radius, radius), (radius, radius), (0, 0)]
    padded = np.pad(gt.astype(np.float64), edges, mode="reflect")
    # Only the pixels that are kept are blurred: rows first, on every scale-th of them, then columns.
    rows = sum(weight * padded[..., k : k + h : scale, :, :] for k, weight in enumerate(kernel))
    values = sum(weight * rows[..., k : k + w : scale, :] for k, weight in enumerate(kernel))
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


def degrade_real(
    gt: np.ndarray, rng: np.random.Generator, scale: int = 4, settings: RealSettings | None = None
) -> np.ndarray:
    """:func:`degrade_real_frames` of a clip in memory: (t, h, w, 3) uint8 -> (t, h / scale, w / scale, 3) uint8."""
    return np.stack(list(degrade_real_frames(gt, len(gt), rng, scale, settings)))


def degrade_real_frames(
    gt: Iterable[np.ndarray],
    count: int,
    rng: np.random.Generator,
    scale: int = 4,
    settings: RealSettings | None = None,
) -> Iterator[np.ndarray]:
    """Blur, reduce by a random kernel, add noise, compress with H.264: ``count`` frames (h, w, 3) uint8 -> (h / scale, w / scale, 3).

    The chain and its strengths are drawn once per clip, the noise anew for every frame; all from ``rng``, so the same
    seed gives the same bytes. No more than a frame of ``gt`` is held, and the compressed clip in a temporary file.
    """
    from rvrt_cli.media.recompress import compress_h264_frames

    settings = settings or RealSettings()
    choice = rng.random(4)
    sigma_x, sigma_y = rng.uniform(*settings.blur_sigma_px, 2)
    noise_sigma = float(rng.uniform(*settings.noise_sigma))
    crf = float(rng.uniform(*settings.crf))
    preset = settings.presets[int(rng.integers(len(settings.presets)))]
    blur = (sigma_x, sigma_y) if choice[0] < settings.blur_share else None
    lq: Iterator[np.ndarray] = (_reduced(frame, scale, blur, choice[1]) for frame in gt)
    if choice[2] < settings.noise_share:
        lq = _with_noise(lq, count, rng, noise_sigma)
    if choice[3] < settings.compress_share:
        lq = compress_h264_frames(lq, crf=crf, preset=preset)
    return lq


def _reduced(gt: np.ndarray, scale: int, blur: tuple[float, float] | None, choice: float) -> np.ndarray:
    """A frame, blurred by Gaussians of these widths in pixels, and reduced by the kernel that ``choice`` in [0, 1) picks."""
    import cv2

    _check(gt, scale)
    if blur is not None:
        gt = cv2.GaussianBlur(gt, (0, 0), blur[0], sigmaY=blur[1])
    if choice < 0.6:
        return imresize_u8(gt, 1.0 / scale)
    how = cv2.INTER_AREA if choice < 0.85 else cv2.INTER_LINEAR
    return cv2.resize(gt, (gt.shape[1] // scale, gt.shape[0] // scale), interpolation=how)


def _with_noise(
    frames: Iterable[np.ndarray], count: int, rng: np.random.Generator, sigma: float
) -> Iterator[np.ndarray]:
    """Sensor-like noise: stronger in the shadows' square root, partly common to the channels (luma grain).

    The grain of all frames is drawn before their colour noise, so one copy of ``rng`` draws the one while another, which has
    gone past all of it, draws the other.
    """
    share = rng.random()
    grain_rng = copy.deepcopy(rng)
    for number, lq in enumerate(frames):
        if number == 0:
            for _ in range(count):
                rng.standard_normal((*lq.shape[:2], 1), dtype=np.float32)
        grain = grain_rng.standard_normal((*lq.shape[:2], 1), dtype=np.float32)
        colour = rng.standard_normal(lq.shape, dtype=np.float32)
        level = np.sqrt(0.25 + 0.75 * lq.astype(np.float32) / 255.0)
        noisy = lq + sigma * level * (
            np.float32(share**0.5) * grain + np.float32((1.0 - share) ** 0.5) * colour
        )
        yield np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def make_degradation(
    name: str, scale: int = 4, settings: RealSettings | None = None
) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """The degradation called ``name`` (BI, BD or real) as a function of a GT clip and a random generator.

    Errors: :class:`InputError` for an unknown name.
    """
    if name == "BI":
        return lambda gt, rng: degrade_bi(gt, scale)
    if name == "BD":
        return lambda gt, rng: degrade_bd(gt, scale)
    if name == "real":
        return lambda gt, rng: degrade_real(gt, rng, scale, settings)
    raise InputError(f"There is no degradation called {name!r}; choose one of {', '.join(DEGRADATIONS)}.")
