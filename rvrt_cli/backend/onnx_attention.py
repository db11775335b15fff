"""Attention in the tracing backend: plain MatMul, Softmax, MatMul, which OpenVINO fuses into one kernel."""

from __future__ import annotations

import functools

import numpy as np
import spox.opset.ai.onnx.v20 as op
from spox import Var

from rvrt_cli.backend.onnx_layout import flip, permute
from rvrt_cli.backend.onnx_tensor import Tensor, affine, cast, constant, grid_sample, integers, scaled, stored


def _attend(q: Var, k: Var, v: Var, extra: Var | None) -> Var:
    """Softmax(q kᵀ + extra) v for ``(b, tokens, heads, d)`` each; q is scaled already. → ``(b, queries, heads, d)``."""
    q, k, v = (
        op.transpose(q, perm=[0, 2, 1, 3]),
        op.transpose(k, perm=[0, 2, 3, 1]),
        op.transpose(v, perm=[0, 2, 1, 3]),
    )
    scores = op.matmul(q, k)
    if extra is not None:
        scores = op.add(scores, extra)
    return op.transpose(op.matmul(op.softmax(scores, axis=-1), v), perm=[0, 2, 1, 3])


def window_attention(qkv: Tensor, heads: int, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """Multi-head self-attention inside windows.

    ``qkv (b, n, 3c)`` holds queries, keys, values of ``n`` tokens per window; ``bias (heads, n, n)`` is added to
    the scaled products, and so is ``mask (windows, n, n)``, where ``b`` is a multiple of ``windows``. → ``(b, n, c)``.
    """
    b, n, c3 = qkv.shape
    c, d = c3 // 3, c3 // (3 * heads)
    assert qkv.linear is not None, (
        "window_attention follows the linear layer that makes queries, keys and values"
    )
    x, weight, offset = qkv.linear
    # Three products instead of one that is cut: the cut would copy. The scale lies in the query's weights.
    factors = (np.float32(d**-0.5), np.float32(1), np.float32(1))
    parts = [
        affine(x, factor * weight[i * c : (i + 1) * c], factor * offset[i * c : (i + 1) * c], c)
        for i, factor in enumerate(factors)
    ]

    def build(first: bool) -> Var:
        extra = None
        if mask is not None:
            assert mask.array is not None
            windows = mask.shape[0]
            whole = np.tile(mask.array, (b // windows, 1, 1))[:, None]
            extra = stored(whole.astype(qkv.dtype))
        if bias is not None:
            more = op.unsqueeze(cast(bias, qkv.dtype).var(), integers([0]))
            extra = more if extra is None else op.add(extra, more)
        q, k, v = (op.reshape(part.var(), integers([b, n, heads, d])) for part in parts)
        return op.reshape(_attend(q, k, v, extra), integers([b, n, c]))

    return Tensor((b, n, c), build, dtype=qkv.dtype)


@functools.lru_cache(maxsize=64)
def _tiling(
    t: int, s: int, h: int, w: int, th: int, tw: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Indices for 3x3 attention of a ``(t, h, w)`` map to a ``(s, h, w)`` one in tiles of ``th`` x ``tw`` pixels.

    → queries of each tile ``(tiles, t·th·tw)``; keys of each tile, the tile and a border of one pixel, where ``s·h·w``
    stands for a zero outside the map ``(tiles, s·(th+2)·(tw+2))``; where each pixel's result lies ``(t·h·w)``; for each
    pair ``(queries, keys)`` which of the query's 9·s neighbours the key is, 9·s where it is none.
    """
    rows, columns = -(-h // th), -(-w // tw)
    y0, x0 = (
        a.ravel() * size
        for a, size in zip(
            np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), (th, tw), strict=True
        )
    )
    f, y, x = (a.ravel() for a in np.meshgrid(np.arange(t), np.arange(th), np.arange(tw), indexing="ij"))
    kf, ky, kx = (
        a.ravel()
        for a in np.meshgrid(np.arange(s), np.arange(-1, th + 1), np.arange(-1, tw + 1), indexing="ij")
    )
    qy, qx = y0[:, None] + y, x0[:, None] + x
    real = (qy < h) & (qx < w)
    queries = np.where(real, (f * h + qy) * w + qx, 0)
    ny, nx = y0[:, None] + ky, x0[:, None] + kx
    inside = (ny >= 0) & (ny < h) & (nx >= 0) & (nx < w)
    keys = np.where(inside, (kf * h + ny) * w + nx, s * h * w)
    place = np.empty(t * h * w, np.int64)
    place[queries[real]] = np.flatnonzero(real.ravel())
    dy, dx = ky - y[:, None] + 1, kx - x[:, None] + 1
    near = (dy >= 0) & (dy < 3) & (dx >= 0) & (dx < 3)
    return queries, keys, place, np.where(near, (kf * 3 + dy) * 3 + dx, 9 * s)


LOCAL_TILE = (4, 4)
"""Pixels of one tile of :func:`local_attention`."""
LOCAL_QUERIES = 1 << 15
"""Queries that :func:`local_attention` works on at a time: each brings 4.5 keys and values along."""
_MASKED = -1e4
"""Added to scores that must not count."""


def local_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Each query pixel attends to the 3x3 pixels around it in every source frame (RVRT Light: both of the other clip).

    ``q (b, t, h, w, c)``, ``k, v (b, s, h, w, c)``, ``bias (heads, 9·s)`` → ``(b, t, h, w, c)``. Outside the map keys and
    values are zero (and still take part in the softmax). Recorded as full attention between the pixels of a tile and those
    of the tile with its border, masked to the neighbours: 4 times the arithmetic of 9·s shifted products, and several times
    faster, because it is one fused kernel instead of 54 passes through memory.
    """
    b, t, h, w, c = q.shape
    s, d = k.shape[1], c // heads
    queries, keys, place, neighbour = _tiling(t, s, h, w, *LOCAL_TILE)
    tiles, nq = queries.shape
    q = scaled(q, d**-0.5)
    table = np.zeros((1, 9 * s), np.float32)
    if bias is not None:
        assert bias.array is not None
        table = bias.array
    mask = np.pad(table, ((0, 0), (0, 1)), constant_values=_MASKED)[:, neighbour]

    def flat(x: Tensor, outside: bool) -> Var:
        y = op.reshape(x.var(), integers([b, x.shape[1] * h * w, c]))
        return op.concat([y, stored(np.zeros((b, 1, c), x.dtype))], axis=1) if outside else y

    def tokens(y: Var, index: np.ndarray) -> Var:
        return op.reshape(
            op.gather(y, stored(index.ravel()), axis=1),
            integers([b * index.shape[0], index.shape[1], heads, d]),
        )

    def build(first: bool) -> Var:
        query, key, value = flat(q, False), flat(k, True), flat(v, True)
        allowed = stored(mask[None].astype(q.dtype))
        parts = []
        step = max(1, LOCAL_QUERIES // (b * nq))
        for start in range(0, tiles, step):
            part = slice(start, start + step)
            y = _attend(
                tokens(query, queries[part]), tokens(key, keys[part]), tokens(value, keys[part]), allowed
            )
            parts.append(op.reshape(y, integers([b, len(queries[part]) * nq, c])))
        y = parts[0] if len(parts) == 1 else op.concat(parts, axis=1)
        return op.reshape(op.gather(y, stored(place), axis=1), integers([b, t, h, w, c]))

    return Tensor(q.shape, build, dtype=q.dtype)


def deformable_attention(q: Tensor, k: Tensor, v: Tensor, offset: Tensor, heads: int, groups: int) -> Tensor:
    """Guided deformable attention over 2 frames × 3x3 moved positions (RVRT paper, section 3.3).

    ``q, k, v (b, 2, h, w, c)``; ``offset (b, 2, h, w, 2, groups, 9, 2)``: for each query frame first the offsets
    into the frame of the same index, then into the other one, as (y, x) pixels around the 3x3 grid. The first half of
    the groups moves channel groups of the keys, the second half those of the values. → ``(b, 2, h, w, c)``.
    """
    b, t, h, w, c = q.shape
    half, d = groups // 2, c // heads
    gy, gx = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    ky, kx = np.meshgrid(np.arange(-1, 2), np.arange(-1, 2), indexing="ij")
    base = (np.stack([gx, gy], -1)[:, :, None] + np.stack([kx, ky], -1).reshape(9, 2)).astype(np.float32)
    position = flip(cast(offset, np.float32), 7) + constant(base[:, :, None, None])
    q = scaled(q, d**-0.5)
    dtype = q.dtype

    def sampled(x: Tensor, order: int, start: int) -> Var:  # → (b·t, heads, d, h, w, 9)
        source = cast(x if order == 0 else flip(x, 1), np.float32)
        maps = op.reshape(source.var(True), integers([b * t * half, c // half, h, w]))
        at = permute(position[:, :, :, :, order, start : start + half], (0, 1, 4, 2, 3, 5, 6))
        y = grid_sample(maps, op.reshape(at.var(), integers([b * t * half, h, w * 9, 2])), h, w, False)
        y = op.reshape(y, integers([b * t, heads, d, h, w, 9]))
        return y if dtype == np.float32 else op.cast(y, to=dtype)

    def build(first: bool) -> Var:
        key = op.concat([sampled(k, order, 0) for order in range(2)], axis=5)
        value = op.concat([sampled(v, order, half) for order in range(2)], axis=5)
        query = op.reshape(q.var(True), integers([b * t, heads, d, h, w, 1]))
        weights = op.softmax(op.reduce_sum(op.mul(query, key), integers([2]), keepdims=1), axis=5)
        y = op.reduce_sum(op.mul(weights, value), integers([5]), keepdims=0)
        return op.reshape(y, integers([b * t, c, h, w]))

    return Tensor(q.shape, build, True, dtype=dtype)
