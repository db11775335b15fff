"""Primitives of the tracing backend that only move data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import spox.opset.ai.onnx.v20 as op
from spox import Var

from rvrt_cli.backend.onnx_tensor import (
    Tensor,
    cast,
    constant,
    count_images,
    cut,
    fixed,
    moved,
    reshape,
    stored,
    zeros,
)


def concat(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Join along ``axis``."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    types = {part.dtype for part in parts if not part.zero}
    dtype = types.pop() if len(types) == 1 else np.float32
    parts = [cast(part, dtype) for part in parts]
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    rank = len(shape)
    y = Tensor(
        shape, lambda first: op.concat([part.var() for part in parts], axis=axis), dtype=dtype, later=True
    )
    if axis == rank - 1:
        y.parts = [piece for part in parts for piece in (part.parts or [part])]
    return y


def chunk(x: Tensor, count: int, axis: int) -> list[Tensor]:
    """Cut into ``count`` equal parts along ``axis``."""
    size = x.shape[axis] // count
    return [cut(x, axis, i * size, (i + 1) * size) for i in range(count)]


def stack(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Join along a new axis."""
    shape = list(parts[0].shape)
    shape.insert(axis, 1)
    return concat([reshape(part, shape) for part in parts], axis)


def flip(x: Tensor, axis: int) -> Tensor:
    """Reverse along ``axis``."""
    if x.shape[axis] == 1 or x.zero:
        return x
    if x.flipped is not None and x.flipped[1] == axis:
        return x.flipped[0]
    order = np.arange(x.shape[axis])[::-1].copy()
    if axis < len(x.shape) - 3:  # whole images change places, in whichever layout they are wanted
        images = np.arange(count_images(x.shape)).reshape(x.shape[:-3])
        images = np.flip(images, axis).ravel()

        def build(first: bool) -> Var:
            return (
                op.gather(x.var(True), stored(images), axis=0)
                if first
                else op.gather(x.var(), stored(order), axis=axis)
            )

        y = Tensor(x.shape, build, None, dtype=x.dtype)
        y.prefers = x.prefers
    else:
        y = moved(x, x.shape, lambda v: op.gather(v, stored(order), axis=axis))
    y.flipped = (x, axis)
    return y


def permute(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Reorder the axes."""
    if x.array is not None:
        return fixed(x.array.transpose(axes), x.dtype)
    return Tensor(
        [x.shape[a] for a in axes], lambda first: op.transpose(x.var(), perm=list(axes)), dtype=x.dtype
    )


def pad_end(x: Tensor, axis: int, count: int, replicate: bool = False) -> Tensor:
    """Append ``count`` zero entries (or copies of the last one) along ``axis``."""
    if count == 0:
        return x
    shape = list(x.shape)
    shape[axis] = count
    if not replicate:
        return concat([x, zeros(shape, x.dtype)], axis)
    last = x.shape[axis] - 1
    return take(x, constant(np.minimum(np.arange(last + 1 + count), last)), axis)


def take(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """Gather entries of ``x`` along ``axis`` in the order of ``index`` (1-D)."""
    assert index.array is not None
    order = index.array.astype(np.int64)
    if x.array is not None:
        return fixed(np.take(x.array, order, axis), x.dtype)
    shape = list(x.shape)
    shape[axis] = order.size
    return moved(x, shape, lambda v: op.gather(v, stored(order), axis=axis))


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of the same shape and type; nothing is recorded until they are mixed with other values."""
    return zeros(x.shape, x.dtype)
