"""Pictures as 16-bit fixed point, half the size of float32, while they are put together from tiles and wait.

A code is ``round(UNIT * value + ZERO)``, so values from -1/8 to 9/8 are kept: networks overshoot at edges, and where tiles
or windows are cross-faded that must not be cut off before. What lies further out becomes the nearest of these. 0 and 1
are exact. NaN has no code and must be noticed before.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

UNIT = 52000
ZERO = UNIT // 8
TOP = UNIT + 2 * ZERO
"""The largest code. A weighted mean of codes is a code again: nothing can wrap around."""
BLOCK = 1 << 18
"""Values worked on at once: a few arrays of this size stay in a core's cache."""


def row_blocks(rows: int, row_size: int) -> Iterator[slice]:
    """``rows`` rows of ``row_size`` values in runs of about :data:`BLOCK` values."""
    step = max(1, BLOCK // max(1, row_size))
    return (slice(top, min(top + step, rows)) for top in range(0, rows, step))


def blend_into(codes: np.ndarray, values: np.ndarray, share: np.ndarray) -> None:
    """``codes`` becomes ``share`` parts of ``values`` and the rest of what it was, rounded once.

    ``codes`` (h, 3*w) uint16, ``values`` (h, w, 3) float32, ``share`` (h, 3*w) float32 in [0, 1].
    """
    new = np.empty(codes.shape, np.float32)
    np.multiply(values, np.float32(UNIT), out=new.reshape(values.shape))
    new += np.float32(ZERO)
    np.maximum(new, np.float32(0), out=new)
    np.minimum(new, np.float32(TOP), out=new)
    old = codes.astype(np.float32)
    new -= old
    new *= share
    new += old
    new += np.float32(0.5)
    np.copyto(codes, new, casting="unsafe")


def to_float(picture: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) of codes as float32, in an array of its own; a float picture itself."""
    if picture.dtype != np.uint16:
        return picture
    out = np.empty(picture.shape, np.float32)
    for rows in row_blocks(picture.shape[0], picture[0].size):
        _decode(picture[rows], out[rows])
    return out


def _decode(codes: np.ndarray, out: np.ndarray) -> None:
    np.copyto(out, codes)
    out -= np.float32(ZERO)
    out /= np.float32(UNIT)
