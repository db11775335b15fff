"""Settle window and tiles for a picture size, a restorer and the user's options."""

from __future__ import annotations

from dataclasses import dataclass

from rvrt_cli.restorer import Restorer
from rvrt_cli.upscale.memory import (
    DEFAULT_BYTES_PER_PX,
    DEFAULT_SHARE,
    Need,
    parse_size,
    plan_auto,
    total_memory,
)
from rvrt_cli.upscale.options import DEFAULT_WINDOW, UpscaleOptions
from rvrt_cli.upscale.tiles import TilePlan


@dataclass(frozen=True)
class WorkPlan:
    """``window`` in frames; ``limit_bytes`` is what was planned for, ``peak_bytes`` what the plan is expected to take."""

    window: int
    tile: TilePlan
    limit_bytes: int
    peak_bytes: int


def plan_work(options: UpscaleOptions, restorer: Restorer, height: int, width: int) -> WorkPlan:
    """Window and tiles for pictures of (height, width) LQ pixels within ``--memory-limit`` or half of the machine's memory."""
    need = Need(height, width, restorer.scale, getattr(restorer, "bytes_per_px", None) or DEFAULT_BYTES_PER_PX)
    limit = parse_size(options.memory_limit) if options.memory_limit else int(total_memory() * DEFAULT_SHARE)
    window, tile = plan_auto(
        need,
        limit,
        options.window,
        options.fixed_tile(),
        default_window=DEFAULT_WINDOW,
        overlap=options.overlap,
        tile_overlap=options.tile_overlap,
    )
    return WorkPlan(window, tile, limit, need.peak_bytes(window, tile))
