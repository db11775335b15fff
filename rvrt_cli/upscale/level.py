"""How segments are made: what memory decides, and what travels from the plan to the segments."""

from __future__ import annotations

from dataclasses import dataclass

from rvrt_cli.inference.tiles import WHOLE, TilePlan
from rvrt_cli.upscale.segments import Segment


@dataclass(frozen=True)
class Level:
    """``window``: frames of one backward pass, ``tile``, and the number of the restorer (0: the one that was planned)."""

    window: int
    tile: TilePlan = WHOLE
    restorer: int = 0


def level_of(segment: Segment) -> Level:
    """How a segment is made."""
    return Level(segment.window, TilePlan(segment.tile_px, segment.tile_overlap_px), segment.fallback)
