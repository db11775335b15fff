"""PSNR and SSIM as the super-resolution field reports them, computed in float64.

Images are (h, w, 3) RGB or (h, w) / (h, w, 1) single-channel, uint8 or float in [0, 255]. ``crop`` removes that many
pixels at each border first; ``y_channel`` compares BT.601 studio-range luma instead of RGB.
"""

from __future__ import annotations

import numpy as np

from rvrt_cli.errors import InputError

_Y_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255.0
_SSIM_WINDOW_PX = 11
_SSIM_SIGMA_PX = 1.5


def rgb_to_y(x: np.ndarray) -> np.ndarray:
    """BT.601 studio-range luma of RGB in [0, 255]: (..., 3) -> (...) float64 in [16, 235], not rounded."""
    return np.asarray(x, dtype=np.float64) @ _Y_WEIGHTS + 16.0


def _planes(image: np.ndarray, crop: int, y_channel: bool) -> np.ndarray:
    """The float64 (h, w, c) values that are compared."""
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3:
        raise InputError(
            f"An image to compare needs the axes (height, width, channels), but this one has shape {image.shape}."
        )
    h, w, c = image.shape
    if crop < 0 or min(h, w) <= 2 * crop:
        raise InputError(f"A border of {crop} pixels cannot be cropped from a {w}×{h} image.")
    image = image[crop : h - crop, crop : w - crop]
    if y_channel and c == 3:
        return rgb_to_y(image)[..., None]
    return image.astype(np.float64)


def _pair(a: np.ndarray, b: np.ndarray, crop: int, y_channel: bool) -> tuple[np.ndarray, np.ndarray]:
    if a.shape != b.shape:
        raise InputError(f"Images of different sizes cannot be compared: {a.shape} and {b.shape}.")
    return _planes(a, crop, y_channel), _planes(b, crop, y_channel)


def psnr(a: np.ndarray, b: np.ndarray, crop: int = 0, y_channel: bool = False) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 255; ``inf`` for equal images."""
    first, second = _pair(a, b, crop, y_channel)
    error = float(np.mean(np.square(first - second)))
    return float("inf") if error == 0.0 else float(10.0 * np.log10(255.0**2 / error))


def ssim(a: np.ndarray, b: np.ndarray, crop: int = 0, y_channel: bool = False) -> float:
    """Structural similarity, at most 1: Gaussian window of 11 pixels, σ 1.5, only where the window fits, mean over channels.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004).
    Errors: :class:`InputError` when the (cropped) image is smaller than the window.
    """
    import cv2

    first, second = _pair(a, b, crop, y_channel)
    if min(first.shape[:2]) < _SSIM_WINDOW_PX:
        raise InputError(
            f"SSIM needs images of at least {_SSIM_WINDOW_PX} pixels on each side; after cropping this one is "
            f"{first.shape[1]}×{first.shape[0]}."
        )
    kernel = cv2.getGaussianKernel(_SSIM_WINDOW_PX, _SSIM_SIGMA_PX, cv2.CV_64F)
    margin = _SSIM_WINDOW_PX // 2

    def local_mean(plane: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel)[margin:-margin, margin:-margin]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    scores = []
    for channel in range(first.shape[2]):
        x, y = np.ascontiguousarray(first[..., channel]), np.ascontiguousarray(second[..., channel])
        mean_x, mean_y = local_mean(x), local_mean(y)
        mean_xy = mean_x * mean_y
        mean_squares = mean_x**2 + mean_y**2
        # Sums of variances: E[x^2] + E[y^2] - mean_x^2 - mean_y^2, one filter instead of two.
        variances = local_mean(x * x + y * y) - mean_squares
        covariance = local_mean(x * y) - mean_xy
        map_ = ((2 * mean_xy + c1) * (2 * covariance + c2)) / ((mean_squares + c1) * (variances + c2))
        scores.append(float(map_.mean()))
    return float(np.mean(scores))
