"""Attention in MindSpore: batched matrix products over windows and tiles, and grid_sample where positions are free."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, ops

from rvrt_cli.backend.mindspore_layout import flip, swap
from rvrt_cli.backend.mindspore_tensor import constant, narrow, static, wide

_MASKED = -30000.0
"""Added to scores that must not count: exp() of it is zero, and it fits into float16."""


def window_attention(qkv: Tensor, heads: int, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """Batched matrix products over (window, head); queries, keys and values are separated by one gather of rows."""
    b, n, c3 = qkv.shape
    d = c3 // (3 * heads)
    split = narrow(swap(ops.reshape(qkv, (b, n, 3 * heads, d))))
    q, k, v = split[:, :heads], split[:, heads : 2 * heads], split[:, 2 * heads :]
    scores = wide(ops.BatchMatMul(transpose_b=True)(q * d**-0.5, k))
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        windows = mask.shape[0]
        scores = ops.reshape(scores, (-1, windows, heads, n, n)) + ops.reshape(mask, (1, windows, 1, n, n))
        scores = ops.reshape(scores, (b, heads, n, n))
    y = wide(ops.BatchMatMul()(narrow(ops.softmax(scores, -1)), v))
    return ops.reshape(swap(y), (b, n, c3 // 3))


_TILE = 4
"""Side of the query tiles of :func:`local_attention` in pixels."""


def _tiles(frames: int, h: int, w: int, reach: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (frame, y, x) of the tiles with ``reach`` pixels more on every side, ``(tiles, count)`` each."""
    ty, tx = np.meshgrid(np.arange(-(-h // _TILE)) * _TILE, np.arange(-(-w // _TILE)) * _TILE, indexing="ij")
    side = np.arange(-reach, _TILE + reach)
    f, y, x = (a.ravel() for a in np.meshgrid(np.arange(frames), side, side, indexing="ij"))
    return np.broadcast_to(f, (ty.size, f.size)), ty.reshape(-1, 1) + y, tx.reshape(-1, 1) + x


def _query_rows(t: int, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the queries in tile order, and which of them are real: a tile may reach over the map's end."""
    f, y, x = _tiles(t, h, w, 0)
    # Queries beyond the end repeat the last pixel and are dropped afterwards.
    return ((f * h + np.minimum(y, h - 1)) * w + np.minimum(x, w - 1)).ravel(), ((y < h) & (x < w)).ravel()


@static
def _tile_queries(t: int, h: int, w: int) -> Tensor:
    """Rows of the queries in tile order."""
    return constant(_query_rows(t, h, w)[0])


@static
def _tile_keys(s: int, h: int, w: int) -> Tensor:
    """Rows of the keys in tile order; row s·h·w is the zero that lies outside the map."""
    f, y, x = _tiles(s, h, w, 1)
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    return constant(np.where(inside, (f * h + y) * w + x, s * h * w).ravel())


def _neighbours(t: int, s: int) -> np.ndarray:
    """Which of the query's 9·s neighbours each key of a tile is, ``(queries, keys)``; 9·s where it is none."""
    (_, y, x), (f, ky, kx) = (tuple(a[0] for a in _tiles(n, _TILE, _TILE, r)) for n, r in ((t, 0), (s, 1)))
    dy, dx = ky - y[:, None] + 1, kx - x[:, None] + 1
    near = (dy >= 0) & (dy < 3) & (dx >= 0) & (dx < 3)
    return np.where(near, (f * 3 + dy) * 3 + dx, 9 * s)


@static
def _tile_mask(t: int, s: int) -> Tensor:
    """0 for the 3x3 pixels around a query in every frame, a large negative number for the tile's other keys."""
    return constant(np.where(_neighbours(t, s) < 9 * s, 0.0, _MASKED))


@static
def _tile_neighbours(t: int, s: int) -> Tensor:
    """:func:`_neighbours` as flat indices into a table of biases; those of the masked keys point anywhere."""
    return constant(np.minimum(_neighbours(t, s), 9 * s - 1).ravel())


@static
def _tile_inverse(t: int, h: int, w: int) -> Tensor:
    """Where each pixel's result lies in tile order."""
    queries, real = _query_rows(t, h, w)
    where = np.empty(t * h * w, np.int64)
    where[queries[real]] = np.flatnonzero(real)
    return constant(where)


def local_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Dense attention inside small tiles, masked to the 3x3 neighbourhoods.

    The 32 queries of a 4x4 tile in both frames share 72 keys, of which each uses 18. That is four times the arithmetic,
    but as batched matrix products: on CPU four times faster than 18 shifted products (and, unlike them, fit for
    Ascend's matrix unit), with a twentieth of the graph nodes to compile.
    """
    b, t, h, w, c = q.shape
    s, d = k.shape[1], c // heads
    zero = ops.zeros((b, 1, c), k.dtype)

    def tokens(x: Tensor, index: Tensor, count: int) -> Tensor:  # (b, rows, c) → (b·tiles, heads, count, d)
        return narrow(swap(ops.reshape(ops.gather(x, index, 1), (-1, count, heads, d))))

    queries, keys = t * _TILE * _TILE, s * (_TILE + 2) * (_TILE + 2)
    query = tokens(ops.reshape(q, (b, t * h * w, c)) * d**-0.5, _tile_queries(t, h, w), queries)
    key = tokens(ops.cat((ops.reshape(k, (b, s * h * w, c)), zero), 1), _tile_keys(s, h, w), keys)
    value = tokens(ops.cat((ops.reshape(v, (b, s * h * w, c)), zero), 1), _tile_keys(s, h, w), keys)
    scores = wide(ops.BatchMatMul(transpose_b=True)(query, key)) + _tile_mask(t, s)
    if bias is not None:
        scores = scores + ops.reshape(ops.gather(bias, _tile_neighbours(t, s), 1), (heads, queries, keys))
    y = wide(ops.BatchMatMul()(narrow(ops.softmax(scores, -1)), value))
    y = ops.reshape(swap(y), (b, -1, c))
    return ops.reshape(ops.gather(y, _tile_inverse(t, h, w), 1), (b, t, h, w, c))


@static
def _neighbourhood(h: int, w: int, axis: int) -> Tensor:
    """Coordinates (axis 0: y, 1: x) of the 3x3 pixels around every pixel, ``(9, h·w)``."""
    grid = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")[axis].reshape(1, -1)
    step = np.meshgrid(np.arange(-1, 2), np.arange(-1, 2), indexing="ij")[axis].reshape(-1, 1)
    return constant((grid + step).astype(np.float32))


def deformable_attention(q: Tensor, k: Tensor, v: Tensor, offset: Tensor, heads: int, groups: int) -> Tensor:
    """GridSampler2D and products with sums, all channel-first, so that the moved keys and values are never transposed."""
    b, t, h, w, c = q.shape
    half, d = groups // 2, c // heads
    # (bt, order, groups, 9, yx, hw)
    offset = ops.transpose(ops.reshape(offset, (b * t, h * w, 2 * groups * 18)), (0, 2, 1))
    offset = ops.reshape(offset, (b * t, 2, groups, 9, 2, h * w))
    y = (offset[:, :, :, :, 0] + _neighbourhood(h, w, 0)) * (2.0 / max(h - 1, 1)) - 1.0
    x = (offset[:, :, :, :, 1] + _neighbourhood(h, w, 1)) * (2.0 / max(w - 1, 1)) - 1.0
    grid = ops.stack((x, y), -1)

    def planes(source: Tensor) -> Tensor:  # (b, t, h, w, c) → (bt, c, hw)
        return ops.transpose(ops.reshape(source, (b * t, h * w, c)), (0, 2, 1))

    def moved(source: Tensor, at: Tensor) -> Tensor:  # → (bt, heads, d, 9, hw)
        maps = ops.reshape(planes(source), (b * t * half, c // half, h, w))
        where = ops.reshape(at, (b * t * half, 9 * h, w, 2))
        return ops.reshape(
            ops.grid_sample(maps, where, "bilinear", "zeros", True), (b * t, heads, d, 9, h * w)
        )

    query = ops.reshape(planes(q) * d**-0.5, (b * t, heads, d, 1, h * w))
    same = (query * moved(k, grid[:, 0, :half])).sum(2)
    other = (query * moved(flip(k, 1), grid[:, 1, :half])).sum(2)
    weights = ops.reshape(ops.softmax(ops.cat((same, other), 2), 2), (b * t, heads, 1, 18, h * w))
    y = (weights[:, :, :, :9] * moved(v, grid[:, 0, half:])).sum(3)
    y = y + (weights[:, :, :, 9:] * moved(flip(v, 1), grid[:, 1, half:])).sum(3)
    return ops.reshape(ops.transpose(ops.reshape(y, (b * t, c, h * w)), (0, 2, 1)), (b, t, h, w, c))
