"""Matlab's antialiased bicubic resizing (``imresize``), which the field uses to make low-quality frames.

Each axis is a product with a sparse matrix whose rows are the sampled cubic kernel. Output samples are taken in
blocks: a block of outputs needs a short run of inputs, so one axis is a handful of small dense products that the
BLAS library runs at full speed. Borders are folded into the weights (Matlab mirrors the image symmetrically), so
nothing is padded.

Source: R. Keys, "Cubic convolution interpolation for digital image processing" (1981), a = -0.5; the sampling grid,
the kernel widened for antialiasing and the mirrored borders are those of Matlab's ``imresize``.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rvrt_cli.errors import InputError
from rvrt_cli.imaging.cubic import cubic

_BLOCK = 4
"""Outputs computed by one product: larger blocks multiply more zeros, smaller ones make more calls."""


class _Block(NamedTuple):
    """Outputs ``out_start:out_stop`` are ``weights @ inputs[in_start:in_stop]``."""

    out_start: int
    out_stop: int
    in_start: int
    in_stop: int
    weights: np.ndarray
    """(outputs, inputs)."""
    interleaved: np.ndarray
    """(inputs * c, outputs * c): the same product for samples whose c channels lie side by side."""


def _taps(in_size: int, out_size: int, scale: float, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """float64 weights and the inputs that they belong to, both (out_size, taps); an input may occur twice in a row.

    ``scale`` is the factor between the two sampling grids; it differs from ``out_size / in_size`` where the output
    size was rounded up. The weights of an output sum to one.
    """
    kernel_scale = min(scale, 1.0) if antialias else 1.0
    width = 4.0 / kernel_scale
    # Matlab counts samples from 1: output centre u lies at u / scale + (1 - 1 / scale) / 2 on the input grid.
    centre = np.arange(1, out_size + 1) / scale + 0.5 * (1.0 - 1.0 / scale)
    left = np.floor(centre - width / 2.0)
    index = left[:, None] + np.arange(math.ceil(width) + 2)[None, :]
    weights = kernel_scale * cubic(kernel_scale * (centre[:, None] - index))
    weights /= weights.sum(axis=1, keepdims=True)
    # Symmetric borders: ... 2 1 | 1 2 ... n | n n-1 ...
    mirrored = np.mod(index.astype(np.int64) - 1, 2 * in_size)
    return weights, np.where(mirrored < in_size, mirrored, 2 * in_size - 1 - mirrored)


@lru_cache(maxsize=64)
def _blocks(
    in_size: int, out_size: int, scale: float, antialias: bool, channels: int, dtype: type
) -> tuple[_Block, ...]:
    taps, inputs = _taps(in_size, out_size, scale, antialias)
    blocks = []
    for start in range(0, out_size, _BLOCK):
        stop = min(start + _BLOCK, out_size)
        # Not of the whole matrix, which has gigabytes where pictures are large.
        rows, near = inputs[start:stop], int(inputs[start:stop].min())
        matrix = np.zeros((stop - start, int(rows.max()) + 1 - near))
        np.add.at(matrix, (np.arange(stop - start)[:, None], rows - near), taps[start:stop])
        used = np.flatnonzero(matrix.any(axis=0))
        first, last = near + int(used[0]), near + int(used[-1]) + 1
        weights: np.ndarray = matrix[:, used[0] : used[-1] + 1].astype(dtype)
        interleaved = np.kron(weights.T, np.eye(channels, dtype=dtype))
        blocks.append(_Block(start, stop, first, last, weights, interleaved))
    return tuple(blocks)


def _resize_rows(x: np.ndarray, out_size: int, scale: float, antialias: bool, dtype: type) -> np.ndarray:
    """(n, h, k) of any type -> (n, out_size, k) ``dtype``."""
    result: np.ndarray = np.empty((x.shape[0], out_size, x.shape[2]), dtype=dtype)
    for block in _blocks(x.shape[1], out_size, scale, antialias, 1, dtype):
        # Converted here and not as a whole: a block stays in the processor's cache.
        rows: np.ndarray = x[:, block.in_start : block.in_stop].astype(dtype, copy=False)
        np.matmul(block.weights, rows, out=result[:, block.out_start : block.out_stop])
    return result


def _resize_columns(
    x: np.ndarray, channels: int, out_size: int, scale: float, antialias: bool, dtype: type
) -> np.ndarray:
    """(n, w * c) of any type -> (n, out_size * c) ``dtype``."""
    c = channels
    result: np.ndarray = np.empty((x.shape[0], out_size * c), dtype=dtype)
    for block in _blocks(x.shape[1] // c, out_size, scale, antialias, c, dtype):
        columns: np.ndarray = x[:, block.in_start * c : block.in_stop * c].astype(dtype, copy=False)
        np.matmul(columns, block.interleaved, out=result[:, block.out_start * c : block.out_stop * c])
    return result


def imresize(
    x: np.ndarray,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    antialias: bool = True,
) -> np.ndarray:
    """Resize images as Matlab's ``imresize(x, scale, 'bicubic')`` does.

    ``x``: (..., h, w, c) float or uint8 in any range, with any number of leading axes. Give either ``scale`` (the
    output is ``ceil(scale * h)`` by ``ceil(scale * w)``) or ``size`` as (height, width). ``antialias`` widens the
    kernel when shrinking, as Matlab does unless told otherwise.

    Returns (..., h', w', c) float32 in the range of the input, neither rounded nor clipped: bicubic overshoots.
    Errors: :class:`InputError` for empty images or sizes below one pixel.
    """
    return _imresize(x, scale, size, antialias, np.float32)


def imresize_u8(
    x: np.ndarray,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    antialias: bool = True,
) -> np.ndarray:
    """:func:`imresize` of images in [0, 255], rounded to nearest (ties up, as Matlab does) and clipped to uint8.

    Computed in float64: at simple scales the weights are multiples of powers of two and exact ties are common in
    8-bit images; in float64 they stay exact, so every machine writes the same bytes whatever its BLAS.
    """
    values = _imresize(x, scale, size, antialias, np.float64)
    values += 0.5
    np.floor(values, out=values)
    np.clip(values, 0.0, 255.0, out=values)
    return values.astype(np.uint8)


def _imresize(
    x: np.ndarray,
    scale: float | None,
    size: tuple[int, int] | None,
    antialias: bool,
    dtype: type,
) -> np.ndarray:
    """:func:`imresize` computed in and returned as ``dtype``."""
    if x.ndim < 3:
        raise InputError(
            f"An image to resize needs the axes (height, width, channels), but this one has shape {x.shape}."
        )
    if (scale is None) == (size is None):
        raise ValueError("give either scale or size")
    *leading, h, w, c = x.shape
    if min(h, w, c) < 1:
        raise InputError(f"An image of shape {x.shape} has no pixels to resize.")
    if scale is not None:
        out_h, out_w = math.ceil(h * scale), math.ceil(w * scale)
        scale_h = scale_w = float(scale)
    else:
        assert size is not None
        out_h, out_w = size
        scale_h, scale_w = out_h / h, out_w / w
    if min(out_h, out_w) < 1:
        raise InputError(
            f"A {w}×{h} image cannot be resized to {out_w}×{out_h}; the result needs at least one pixel."
        )

    count = math.prod(leading)
    values: np.ndarray = np.ascontiguousarray(x)
    # Matlab starts with the axis that shrinks most; rows first where both are equal.
    if scale_h <= scale_w:
        values = _resize_rows(values.reshape(count, h, w * c), out_h, scale_h, antialias, dtype)
        values = _resize_columns(values.reshape(count * out_h, w * c), c, out_w, scale_w, antialias, dtype)
    else:
        values = _resize_columns(values.reshape(count * h, w * c), c, out_w, scale_w, antialias, dtype)
        values = _resize_rows(values.reshape(count, h, out_w * c), out_h, scale_h, antialias, dtype)
    return values.reshape(*leading, out_h, out_w, c)
