"""Run a restorer on spatial tiles and blend them so that no seam shows.

All tiles of a picture have one shape, so an engine that compiles for fixed shapes compiles once. Tiles start on
multiples of ``ALIGN`` LQ pixels: RVRT partitions pictures into attention windows of 8×8, and the same partition inside
a tile and in the whole picture keeps the difference between them small. In an overlap the quarter nearest to a tile's
own edge is dropped and the rest cross-faded; the weights sum to one everywhere.

:func:`restore_tiled` gives float32; for films tiles are put together in 16-bit fixed point by :func:`blend_tile`. Memory runs out with
large pictures, and those are most of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rvrt_cli.errors import UsageError
from rvrt_cli.imaging.fixed_point import blend_into, row_blocks

ALIGN = 8
MIN_TILE = 32

Restore = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class TilePlan:
    """How pictures are cut: ``tile_px`` is the side of a tile in LQ pixels, None for whole pictures."""

    tile_px: int | None
    overlap_px: int = 0

    def __str__(self) -> str:
        return (
            "whole frames"
            if self.tile_px is None
            else f"{self.tile_px} px tiles, {self.overlap_px} px overlap"
        )


WHOLE = TilePlan(None)
"""No tiles."""


def check_tiles(plan: TilePlan) -> None:
    """Raise :class:`UsageError` unless the tile size and overlap are possible."""
    if plan.tile_px is None:
        return
    if plan.tile_px < MIN_TILE or plan.tile_px % ALIGN:
        raise UsageError(
            f"--tile must be a multiple of {ALIGN} and at least {MIN_TILE} pixels; got {plan.tile_px}."
        )
    if plan.overlap_px < 0 or plan.overlap_px % ALIGN or plan.overlap_px > plan.tile_px // 2:
        raise UsageError(
            f"--tile-overlap must be a multiple of {ALIGN} and at most half of the tile ({plan.tile_px} px); got {plan.overlap_px}."
        )


def plan_spans(length: int, tile: int, overlap: int) -> tuple[tuple[int, int], ...]:
    """(start, stop) of the tiles along one axis of ``length`` pixels; starts are multiples of :data:`ALIGN`.

    The last tile reaches back to keep its size, except for the at most ``ALIGN - 1`` pixels of alignment.
    """
    if tile >= length:
        return ((0, length),)
    spans = []
    start = 0
    while start + tile < length:
        spans.append((start, start + tile))
        start += tile - overlap
    last = -(-(length - tile) // ALIGN) * ALIGN
    spans.append((last, length))
    return tuple(spans)


@lru_cache(maxsize=64)
def span_weights(length: int, spans: tuple[tuple[int, int], ...], scale: int) -> tuple[np.ndarray, ...]:
    """Per span its weights along the output axis, float32 of length ``scale * (stop - start)``; they sum to one.

    Each pair of neighbours shares a run of pixels: a quarter on each side belongs to one of them alone, between them
    the weight goes over linearly.
    """
    weights = [np.ones(scale * (stop - start), np.float64) for start, stop in spans]
    for i in range(len(spans) - 1):
        shared_start, shared_stop = spans[i + 1][0], spans[i][1]
        shared = scale * (shared_stop - shared_start)
        if shared <= 0:
            continue
        dropped = shared // 4
        ramp = np.zeros(shared)
        middle = shared - 2 * dropped
        ramp[dropped : dropped + middle] = (np.arange(middle) + 0.5) / middle
        ramp[dropped + middle :] = 1.0
        # Where three tiles meet (the last one reaches back), products of ramps no longer sum to one: normalised below.
        weights[i][-shared:] *= 1.0 - ramp
        weights[i + 1][:shared] *= ramp
    total = np.zeros(scale * length)
    for (start, stop), weight in zip(spans, weights, strict=True):
        total[scale * start : scale * stop] += weight
    if total.min() <= 0:
        raise AssertionError("tiles leave pixels without weight")
    for (start, stop), weight in zip(spans, weights, strict=True):
        weight /= total[scale * start : scale * stop]
    return tuple(weight.astype(np.float32) for weight in weights)


def weight_sum(length: int, spans: tuple[tuple[int, int], ...], scale: int) -> np.ndarray:
    """Sum of all spans' weights along the output axis, float32 (scale * length); all ones by construction."""
    total = np.zeros(scale * length, np.float32)
    for (start, stop), weight in zip(spans, span_weights(length, spans, scale), strict=True):
        total[scale * start : scale * stop] += weight
    return total


def restore_tiled(restore: Restore, lq: np.ndarray, scale: int, plan: TilePlan) -> np.ndarray:
    """Restore ``lq`` (t, h, w, c) float32 tile by tile → (t, scale*h, scale*w, 3) float32."""
    count, height, width, _ = lq.shape
    if not is_cut(height, width, plan):
        return restore(lq)
    rows, columns = spans_of(height, width, scale, plan)
    out = np.zeros((count, scale * height, scale * width, 3), np.float32)
    for (top, bottom), row_weight in zip(rows, span_weights(height, rows, scale), strict=True):
        for (left, right), column_weight in zip(columns, span_weights(width, columns, scale), strict=True):
            sr = restore(np.ascontiguousarray(lq[:, top:bottom, left:right]))
            weight = row_weight[:, None, None] * column_weight[:, None]
            target = out[:, scale * top : scale * bottom, scale * left : scale * right]
            for frame, picture in zip(target, sr, strict=True):
                frame += picture * weight
    return out


def blend_tile(
    codes: np.ndarray,
    picture: np.ndarray,
    rows: tuple[tuple[int, int], ...],
    columns: tuple[tuple[int, int], ...],
    scale: int,
    row: int,
    column: int,
) -> None:
    """Add the ``picture`` (h, w, 3) float32 of a tile to ``codes`` (scale*height, scale*width, 3) uint16, which begin as zeros.

    Tiles are added row by row. Codes (:mod:`~rvrt_cli.imaging.fixed_point`) differ from the float32 of :func:`restore_tiled` by half a
    code (1e-5) where one tile is alone, by two at most (4e-5) where four meet. What ``picture`` has beyond the tile is left out; NaN
    must be noticed before.
    """
    (top, bottom), (left, right) = rows[row], columns[column]
    height, width = scale * (bottom - top), scale * (right - left)
    flat = codes.reshape(codes.shape[0], -1)
    flat = flat[scale * top : scale * bottom, 3 * scale * left : 3 * scale * right]
    for block in row_blocks(height, 3 * width):
        share = tile_share(rows, columns, scale, row, column, block)
        blend_into(flat[block], picture[block, :width], share)


def tile_share(
    rows: tuple[tuple[int, int], ...],
    columns: tuple[tuple[int, int], ...],
    scale: int,
    row: int,
    column: int,
    block: slice,
) -> np.ndarray:
    """Share (h, 3*w) float32 of a tile in what it and those before it make, in the rows ``block`` of its output.

    A tile takes its share of all weight so far, one where it is the first with weight. Rounded weighted parts would add up
    to another black and white; so, what tiles agree on stays as it is.
    """
    own_rows, above = _weights_until(rows, scale)[row]
    own_columns, before = _weights_until(columns, scale)[column]
    part = own_rows[block, None].astype(np.float64)
    weight = part * own_columns
    total = above[block, None] + part * (before + own_columns)
    share = np.divide(weight, total, out=np.zeros_like(weight), where=weight > 0)
    return np.repeat(share.astype(np.float32), 3, axis=1)


@lru_cache(maxsize=64)
def _weights_until(
    spans: tuple[tuple[int, int], ...], scale: int
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Per span its weights and the sum, float64, of those of the spans before it where it lies."""
    length = spans[-1][1]
    total = np.zeros(scale * length)
    result = []
    for (start, stop), weight in zip(spans, span_weights(length, spans, scale), strict=True):
        place = slice(scale * start, scale * stop)
        result.append((weight, total[place].copy()))
        total[place] += weight
    return tuple(result)


def is_cut(height: int, width: int, plan: TilePlan) -> bool:
    """Whether pictures of (height, width) LQ pixels are put together from more than one tile."""
    return plan.tile_px is not None and (plan.tile_px < height or plan.tile_px < width)


def spans_of(
    height: int, width: int, scale: int, plan: TilePlan
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """The spans of both axes; an error of this program where their weights do not sum to one."""
    assert plan.tile_px is not None
    rows = plan_spans(height, plan.tile_px, plan.overlap_px)
    columns = plan_spans(width, plan.tile_px, plan.overlap_px)
    for length, spans in ((height, rows), (width, columns)):
        if np.abs(weight_sum(length, spans, scale) - 1).max() > 1e-5:
            raise AssertionError("the tiles' weights do not sum to one")
    return rows, columns


def count_tiles(height: int, width: int, plan: TilePlan) -> int:
    """How many model calls one window of (height, width) LQ pixels takes."""
    if plan.tile_px is None:
        return 1
    return len(plan_spans(height, plan.tile_px, plan.overlap_px)) * len(
        plan_spans(width, plan.tile_px, plan.overlap_px)
    )
