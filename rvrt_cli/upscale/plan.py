"""Settle window and tiles for a picture size, a restorer and the user's options."""

from __future__ import annotations

from dataclasses import dataclass

from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.system.memory import total_memory
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.memory import (
    DEFAULT_SHARE,
    GIB,
    MemoryModel,
    parse_size,
    plan_auto,
    unknown_restorer_bytes,
)
from rvrt_cli.upscale.options import DEFAULT_WINDOW, UpscaleOptions


@dataclass(frozen=True)
class WorkPlan:
    """``level``: windows and tiles; ``overlapped``: the model makes a window while the one before is encoded; ``limit_bytes`` is what was planned for, ``peak_bytes`` what the plan is expected to take."""

    level: Level
    overlapped: bool
    limit_bytes: int
    peak_bytes: int

    @property
    def warning(self) -> str | None:
        """A sentence where even the smallest plan is expected to take more than the limit."""
        if self.peak_bytes <= self.limit_bytes:
            return None
        return (
            f"About {self.peak_bytes / GIB:.1f} GiB of memory will be needed, more than the limit of {self.limit_bytes / GIB:.1f} GiB; "
            "another --codec or a smaller --scale needs less, and so does a smaller --window or --tile where they were given."
        )


def plan_work(
    options: UpscaleOptions,
    restorer: Restorer,
    height: int,
    width: int,
    *,
    encoder_bytes: int = 0,
) -> WorkPlan:
    """Window and tiles for pictures of (height, width) LQ pixels within ``--memory-limit`` or half of the machine's memory.

    ``encoder_bytes``: what the encoder holds, see :func:`rvrt_cli.upscale.memory.encoder_bytes`.
    """
    restorer_bytes = getattr(restorer, "memory_bytes", unknown_restorer_bytes)
    need = MemoryModel(height, width, restorer.scale, restorer_bytes, encoder_bytes, options.context_frames)
    limit = parse_size(options.memory_limit) if options.memory_limit else int(total_memory() * DEFAULT_SHARE)
    auto = plan_auto(
        need,
        limit,
        options.window,
        options.fixed_tile(),
        default_window=DEFAULT_WINDOW,
        tile_overlap=options.tile_overlap,
    )
    peak = need.peak_bytes(auto.level.window, auto.level.tile, auto.overlapped)
    return WorkPlan(auto.level, auto.overlapped, limit, peak)
