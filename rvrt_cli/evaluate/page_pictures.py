"""Pictures inside a page: each encoded as well as its share of the page's size allows, the films of one place alike."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rvrt_cli.errors import InputError

THUMBNAIL_WIDTH_PX = 160
_JPEG_444 = [
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    cv2.IMWRITE_JPEG_OPTIMIZE,
    1,
]
_LADDER: tuple[tuple[str, str, str, list[int]], ...] = (
    (".png", "image/png", "PNG, lossless", [cv2.IMWRITE_PNG_COMPRESSION, 6]),
    (
        ".jpg",
        "image/jpeg",
        "JPEG of quality 95, full colour",
        [cv2.IMWRITE_JPEG_QUALITY, 95, *_JPEG_444],
    ),
    (".webp", "image/webp", "WebP of quality 92", [cv2.IMWRITE_WEBP_QUALITY, 92]),
)
"""From the best on. JPEG without chroma subsampling comes before WebP, which always halves the colour's resolution."""
_THUMBNAIL = (
    ".jpg",
    "image/jpeg",
    "JPEG",
    [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
)
_SHRINK = 0.8
_MIN_CROP_PX = 64


@dataclass(frozen=True)
class Encoded:
    """A picture as it lies in the page. description: how it is stored, in words, and which part it is."""

    mime: str
    data: bytes
    width: int
    height: int
    description: str

    @property
    def data_uri(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode()}"


def encode_alike(pictures: Sequence[np.ndarray], budget_bytes: float) -> list[Encoded]:
    """(h, w, 3) uint8 pictures of one size, encoded in one way that fits ``budget_bytes`` in the page together.

    Lossless where that fits, else JPEG, else WebP; and where whole pictures do not fit even so, the part of them that differs
    most, at 100 %.
    """
    height, width = pictures[0].shape[:2]
    part = (0, 0, height, width)
    while True:
        top, left, rows, columns = part
        cropped = [picture[top : top + rows, left : left + columns] for picture in pictures]
        which = "" if (rows, columns) == (height, width) else f"{columns}x{rows} of {width}x{height} pixels; "
        for kind in _LADDER:
            found = [_encode(picture, kind, which) for picture in cropped]
            # Base64 takes four bytes for three.
            if sum(len(picture.data) for picture in found) * 4 / 3 <= budget_bytes:
                return found
        if min(rows, columns) * _SHRINK < _MIN_CROP_PX:
            return found
        part = _where_they_differ(pictures, int(rows * _SHRINK), int(columns * _SHRINK))


def thumbnail(picture: np.ndarray, pixel_aspect: float = 1.0) -> Encoded:
    """A small JPEG of (h, w, 3) uint8."""
    height, width = picture.shape[:2]
    size = (THUMBNAIL_WIDTH_PX, max(1, round(THUMBNAIL_WIDTH_PX * height / (width * pixel_aspect))))
    return _encode(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), _THUMBNAIL, "")


def _encode(picture: np.ndarray, kind: tuple[str, str, str, list[int]], which: str) -> Encoded:
    suffix, mime, words, options = kind
    done, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise InputError(f"A picture of {picture.shape[1]}x{picture.shape[0]} cannot be stored as {words}.")
    return Encoded(mime, data.tobytes(), picture.shape[1], picture.shape[0], which + words)


def _where_they_differ(pictures: Sequence[np.ndarray], rows: int, columns: int) -> tuple[int, int, int, int]:
    """(top, left, rows, columns) of the part in which the first and the last picture differ most."""
    difference = cv2.absdiff(pictures[0], pictures[-1]).sum(axis=2, dtype=np.float64)
    sums = cv2.integral(difference)
    inside = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(top), int(left), rows, columns
