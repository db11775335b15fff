"""What happens to a restored picture before it is encoded: strength, size, comparison with bicubic, alpha."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rvrt_cli.errors import UsageError
from rvrt_cli.imaging.fixed_point import to_float
from rvrt_cli.imaging.resize import imresize
from rvrt_cli.upscale.options import Compare

MAX_OUTPUT_PIXELS = 1 << 29
"""A float picture of this size takes 6 GiB: beyond it nothing but a typing error is likely."""
EXCESS_TOLERANCE = 0.5 / 255
"""Values this far outside [0, 1] are rounding, not picture."""


@dataclass(frozen=True)
class Finish:
    """Settings of the last step. ``height`` and ``width``: of the restored picture, before a comparison doubles it.

    ``rotation`` and ``flipped``, as in :class:`rvrt_cli.media.VideoStream`: pictures are turned upright by them, which a
    comparison needs, for its halves and labels are placed as a person sees them.
    """

    height: int
    width: int
    strength: float = 1.0
    compare: Compare | None = None
    label: str = "rvrt"
    rotation: int = 0
    flipped: bool = False

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of what is encoded."""
        height, width = (self.width, self.height) if self.rotation % 180 else (self.height, self.width)
        return height, width * (2 if self.compare == "side" else 1)

    def picture(self, lq: np.ndarray, sr: np.ndarray) -> np.ndarray:
        """``lq`` (h, w, 3) float32 and its restored ``sr`` (s*h, s*w, 3) float32 or codes → (H, W, 3) float32.

        ``strength`` s gives s * sr + (1 - s) * bicubic. Smaller sizes come from Matlab's bicubic with antialiasing.
        A YUV source can hold values outside [0, 1] (super-whites); the model does not see them, they are added again.
        ``sr`` is clipped where it lies: another array of this size costs more time than all the rest.
        """
        size = (self.height, self.width)
        seen = np.clip(lq, 0, 1)
        sr = to_float(sr)
        np.clip(sr, 0, 1, out=sr)
        if self.strength < 1:
            sr = np.float32(self.strength) * sr + np.float32(1 - self.strength) * np.clip(
                _resized(seen, (sr.shape[0], sr.shape[1])), 0, 1
            )
        out = sr if sr.shape[:2] == size else np.clip(imresize(sr, size=size), 0, 1)
        excess = lq - seen
        if np.abs(excess).max() > EXCESS_TOLERANCE:
            out += _spread(excess, size)
        out = upright(out, self.rotation, self.flipped)
        if self.compare is None:
            return out
        bicubic = upright(np.clip(_resized(seen, size), 0, 1), self.rotation, self.flipped)
        return compose(bicubic, out, self.compare, ("bicubic", self.label))

    def alpha(self, alpha: np.ndarray) -> np.ndarray:
        """(h, w) float32 in [0, 1] → (H, W), by bicubic: the model is made for colours, and edges must stay in place."""
        out = np.clip(_resized(alpha[..., None], (self.height, self.width))[..., 0], 0, 1)
        out = upright(out, self.rotation, self.flipped)
        return np.concatenate([out, out], axis=1) if self.compare == "side" else out


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return picture if picture.shape[:2] == size else imresize(picture, size=size)


def _spread(excess: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``excess`` at ``size``, linearly: bicubic's undershoot would darken the white around it (and takes 40 times as long)."""
    import cv2

    height, width = size
    shrinks = height < excess.shape[0] or width < excess.shape[1]
    return cv2.resize(
        excess, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    ).reshape(height, width, -1)


def upright(picture: np.ndarray, rotation: int, flipped: bool) -> np.ndarray:
    """``picture`` (h, w) or (h, w, c) turned and mirrored as a stream's display matrix says; itself where that is nothing."""
    if not rotation and not flipped:
        return picture
    picture = np.rot90(picture, rotation // 90)
    return np.ascontiguousarray(picture[:, ::-1] if flipped else picture)


def compose(left: np.ndarray, right: np.ndarray, how: Compare, labels: tuple[str, str]) -> np.ndarray:
    """Two pictures (h, w, 3) float32 in [0, 1] beside each other, or one half of each with a line between, with labels."""
    width = left.shape[1]
    if how == "side":
        out = np.concatenate([left, right], axis=1)
        right_edge = width
    else:
        out = right.copy()
        right_edge = width // 2
        out[:, :right_edge] = left[:, :right_edge]
        line = max(1, width // 640)
        out[:, max(0, right_edge - line // 2) : right_edge + (line + 1) // 2] = 1.0
    draw_label(out, labels[0], 0)
    draw_label(out, labels[1], right_edge)
    return out


def draw_label(picture: np.ndarray, text: str, left: int) -> None:
    """Write ``text`` in white with a black outline into the top of ``picture`` (h, w, 3) float32, from column ``left``."""
    import cv2

    scale = max(picture.shape[0] / 540, 0.3)
    thickness = max(1, round(1.2 * scale))
    at = (left + round(12 * scale), round(28 * scale))
    for colour, width in (((0.0, 0.0, 0.0), 3 * thickness), ((1.0, 1.0, 1.0), thickness)):
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale, colour, width, cv2.LINE_AA)


def output_size(
    height: int,
    width: int,
    model_scale: int,
    *,
    scale: int | None = None,
    to_height: int | None = None,
    to_width: int | None = None,
    even: bool = True,
) -> tuple[int, int]:
    """(height, width) of the result for a source of (height, width).

    One of ``to_height`` and ``to_width`` alone keeps the proportions; ``even`` rounds sizes computed here up to even
    numbers, which chroma subsampling needs. Errors: :class:`UsageError` for contradictions, sizes below 2 and
    more than :data:`MAX_OUTPUT_PIXELS`.
    """
    if scale is not None and (to_height or to_width):
        raise UsageError("--scale and --height/--width contradict each other; give one of them.")
    for name, value in (("--height", to_height), ("--width", to_width)):
        if value is not None and value < 2:
            raise UsageError(f"{name} must be at least 2; got {value}.")
    factor = scale if scale is not None else model_scale
    if not 1 <= factor <= 4:
        raise UsageError(f"--scale must be 2, 3 or 4; got {factor}.")
    if to_height and to_width:
        size = to_height, to_width
    elif to_height:
        size = to_height, _rounded(width * to_height / height, even)
    elif to_width:
        size = _rounded(height * to_width / width, even), to_width
    else:
        size = _rounded(height * factor, even), _rounded(width * factor, even)
    if size[0] * size[1] > MAX_OUTPUT_PIXELS:
        raise UsageError(
            f"the result would have {size[1]}x{size[0]} pixels; at most {MAX_OUTPUT_PIXELS >> 20} megapixels are possible, "
            "choose a smaller --height, --width or --scale."
        )
    return size


def _rounded(value: float, even: bool) -> int:
    return max(2, 2 * -(-round(value) // 2)) if even else max(1, round(value))
