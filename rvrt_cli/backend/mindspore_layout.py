"""The primitives that join, cut and reorder, in MindSpore: gathers and concatenations, which cost its CPU kernels little."""

# ruff: noqa: RUF005 - shapes are joined by +, which graph mode is known to compile
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import Tensor, ops

from rvrt_cli.backend.mindspore_tensor import constant, static


def concat(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Join along ``axis``."""
    return ops.cat(parts, axis)


def chunk(x: Tensor, count: int, axis: int) -> tuple[Tensor, ...]:
    """Cut into ``count`` equal parts along ``axis``."""
    return ops.split(x, x.shape[axis] // count, axis)


def stack(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Join along a new axis."""
    return ops.stack(parts, axis)


@static
def _backwards(count: int) -> Tensor:
    return constant(np.arange(count)[::-1])


def flip(x: Tensor, axis: int) -> Tensor:
    """Reverse along ``axis``, as a gather."""
    return ops.gather(x, _backwards(x.shape[axis]), axis)


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same values in another shape; one size may be -1."""
    return ops.reshape(x, tuple(shape))


def permute(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Reorder the axes."""
    return ops.transpose(x, tuple(axes))


@static
def _padded_index(size: int, count: int) -> Tensor:
    return constant(np.minimum(np.arange(size + count), size - 1))


def pad_end(x: Tensor, axis: int, count: int, replicate: bool = False) -> Tensor:
    """Concatenation with zeros, or a gather of repeated entries; the Pad kernel is slow on CPU."""
    if count == 0:
        return x
    if replicate:
        return ops.gather(x, _padded_index(x.shape[axis], count), axis)
    shape = x.shape
    return ops.cat((x, ops.zeros(shape[:axis] + (count,) + shape[axis + 1 :], x.dtype)), axis)


def take(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """Gather."""
    return ops.gather(x, index, axis)


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of the same shape and type."""
    return ops.zeros_like(x)


@static
def _swapped_rows(batch: int, first: int, second: int) -> Tensor:
    """Rows of ``(batch, first, second, d)`` in the order of ``(batch, second, first, d)``."""
    return constant(np.arange(batch * first * second).reshape(batch, first, second).swapaxes(1, 2).ravel())


def swap(x: Tensor) -> Tensor:
    """``(a, b, c, d)`` → ``(a, c, b, d)`` as one gather: each Transpose kernel of the CPU keeps eight bytes per value for good."""
    a, b, c, d = x.shape
    return ops.reshape(ops.gather(ops.reshape(x, (a * b * c, d)), _swapped_rows(a, b, c), 0), (a, c, b, d))
