"""How large windows and tiles may be, and what to try when memory runs out all the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rvrt_cli.errors import UsageError
from rvrt_cli.inference.tiles import ALIGN, MIN_TILE, TilePlan, count_tiles, is_cut
from rvrt_cli.system.memory import MIB
from rvrt_cli.upscale.level import Level

GIB = 1 << 30
FLOAT_BYTES = 4
CODE_BYTES = 2
DEFAULT_SHARE = 0.5
"""Share of the machine's memory that a run may plan to use; the rest is for other programs and the page cache."""
BASE_MIB = 130
"""Interpreter, decoder and encoder before the first frame."""
SOURCE_AHEAD = 4
"""Source frames that the decoder, the cut detector and the encoder hold beside whole windows."""
FINISHING_PICTURES = 2
"""Float pictures that exist beside those of the restorer: one being finished, and its conversion."""
ENCODER_BYTES_PER_PX = {"libx264": 70, "libx265": 185, "libsvtav1": 340, "libvpx-vp9": 140, "ffv1": 50}
"""Peak bytes an encoder holds per pixel of an 8-bit picture (frames it looks ahead and refers to), measured at 1920x1080."""
OTHER_ENCODER_BYTES_PER_PX = 150
PICTURE_BYTES_PER_PX = 30
"""The same where no encoder runs (PNG, y4m): the conversion of one picture."""
DEFAULT_BYTES_PER_PX = 6000
"""Bytes that a restorer needs per LQ pixel and frame of a tile, its result included, where it does not say so itself."""

RestorerBytes = Callable[[int, int, int, int], int]
"""Peak bytes of a restorer's stream by height, width, window and look-ahead: :meth:`Restorer.memory_bytes`."""


def unknown_restorer_bytes(height: int, width: int, window: int, lookahead: int) -> int:
    """For a restorer that does not say what it needs. Between its windows it holds nothing but frames."""
    return height * width * (window + lookahead if window else 0) * DEFAULT_BYTES_PER_PX


GOOD_TILE = 96
"""Most of smaller tiles is overlap."""
AUTO_TILES = (*range(1024, GOOD_TILE, -32), GOOD_TILE, 64, MIN_TILE)
AUTO_WINDOWS = (24, 16, 12, 8)
LAST_WINDOWS = (4, 2)
"""Tried only after memory ran out: a second look at most frames."""
LOOKAHEAD_TIME = 0.37
"""Share of a frame's time that a backward pass takes, which each window does again for the look-ahead (light-s, OpenVINO)."""
TILED_LOOKAHEAD_TIME = 0.5
"""The same where there are tiles, which drop the features of the look-ahead meanwhile."""
WAITING_TIME = 1.06
"""Time of a run whose stages wait for one another, on a CPU, where they share the cores anyway."""
MEMORY_SLACK = 1.05
"""Time that is given for less memory, in runs that take more than :data:`LITTLE_BYTES`."""
LITTLE_BYTES = 1 << 30

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes of a size such as ``6G``, ``800M``, ``1.5 GiB`` or ``4000000``."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)i?b?\s*", text.lower())
    if match is None:
        raise UsageError(f"--memory-limit must be a size such as 6G or 800M; got {text!r}.")
    return int(float(match[1]) * _UNITS[match[2]])


def encoder_bytes(encoder: str | None, bit_depth: int, output_px: int) -> int:
    """Peak bytes of ``encoder`` (ffmpeg's name; None where pictures leave one by one) for pictures of ``output_px`` pixels.

    x264 holds few pictures whatever the length of a segment: without its macroblock tree it looks no further ahead than its
    B-frames.
    """
    if encoder is None:
        return PICTURE_BYTES_PER_PX * output_px
    return (
        ENCODER_BYTES_PER_PX.get(encoder, OTHER_ENCODER_BYTES_PER_PX)
        * output_px
        * (1 if bit_depth <= 8 else 2)
    )


@dataclass(frozen=True)
class MemoryModel:
    """What a run needs: LQ size, scale, what the restorer takes, and the bytes that the encoder holds."""

    height: int
    width: int
    scale: int
    restorer_bytes: RestorerBytes = unknown_restorer_bytes
    encoder_bytes: int = 0
    lookahead: int = 0

    def peak_bytes(self, window: int, tile: TilePlan, overlapped: bool = True) -> int:
        """Estimated peak memory of a run with this window and these tiles.

        Pictures leave one by one, and the restorer counts those that it makes. Where tiles are put together, a window of
        pictures waits beside it as codes, and each tile keeps the features of the clip before, of two stages: as much as four
        frames of the look-ahead.
        ``overlapped``: the decoder runs a window ahead, and the encoder a picture behind.
        """
        picture = self.height * self.width * self.scale**2 * 3 * FLOAT_BYTES
        frame = self.height * self.width * 3 * FLOAT_BYTES
        ahead = window if overlapped else 0
        fixed = BASE_MIB * MIB + self.encoder_bytes + (FINISHING_PICTURES + int(overlapped)) * picture
        source = frame * (ahead + 2 * self.lookahead + SOURCE_AHEAD)
        if not is_cut(self.height, self.width, tile):
            return fixed + source + self.restorer_bytes(self.height, self.width, window, self.lookahead)
        assert tile.tile_px is not None
        height, width = min(tile.tile_px, self.height), min(tile.tile_px, self.width)
        codes = window * picture * CODE_BYTES // FLOAT_BYTES
        kept, none = (self.restorer_bytes(self.height, self.width, 0, n) for n in (4, 0))
        waiting = window * frame + kept - none
        return fixed + source + codes + waiting + self.restorer_bytes(height, width, window, self.lookahead)

    def relative_time(self, window: int, tile: TilePlan, overlapped: bool = True) -> float:
        """Time a frame over that of one in an endless window of whole frames."""
        share = LOOKAHEAD_TIME
        pixels = 1.0
        if is_cut(self.height, self.width, tile):
            assert tile.tile_px is not None
            share = TILED_LOOKAHEAD_TIME
            one = min(tile.tile_px, self.height) * min(tile.tile_px, self.width)
            pixels = count_tiles(self.height, self.width, tile) * one / (self.height * self.width)
        return pixels * (1 + share * self.lookahead / window) * (1 if overlapped else WAITING_TIME)


@dataclass(frozen=True)
class AutoPlan:
    """What :func:`plan_auto` settled. ``overlapped``: the decoder runs ahead and a picture is made while one is encoded."""

    level: Level
    overlapped: bool


def plan_auto(
    need: MemoryModel,
    limit_bytes: int,
    window: int | None,
    tile: TilePlan | None,
    *,
    default_window: int,
    tile_overlap: int,
) -> AutoPlan:
    """Window and tile for a memory limit; what the user fixed (not None) is kept.

    Of the plans that fit, the one that takes least memory and at most :data:`MEMORY_SLACK` times the time of the fastest.
    Tiles below :data:`GOOD_TILE` come last.
    """
    windows = [window] if window is not None else _shorter(default_window)
    if tile is not None:
        tiles = [tile]
    else:
        sides = [side for side in AUTO_TILES if side < max(need.height, need.width)]
        tiles = [TilePlan(None)]
        tiles += [TilePlan(side, min(tile_overlap, side // 2 // ALIGN * ALIGN)) for side in sides]
    good = [option for option in tiles if option.tile_px is None or option.tile_px >= GOOD_TILE] or tiles

    def peak(plan: AutoPlan) -> int:
        return need.peak_bytes(plan.level.window, plan.level.tile, plan.overlapped)

    def seconds(plan: AutoPlan) -> float:
        return need.relative_time(plan.level.window, plan.level.tile, plan.overlapped)

    for choice in (good, tiles):
        plans = [
            AutoPlan(Level(w, t), overlapped) for w in windows for t in choice for overlapped in (True, False)
        ]
        fitting = [plan for plan in plans if peak(plan) <= limit_bytes]
        if fitting:
            fastest = min(fitting, key=lambda plan: (seconds(plan), peak(plan)))
            if peak(fastest) <= LITTLE_BYTES:
                return fastest
            enough = MEMORY_SLACK * seconds(fastest)
            return min((plan for plan in fitting if seconds(plan) <= enough), key=peak)
    # Nothing fits by the estimate. What is left is mostly the film's own pictures, which tiny tiles would not make fewer.
    return min((AutoPlan(Level(windows[-1], option), False) for option in good), key=peak)


def _shorter(window: int) -> list[int]:
    """``window`` and the shorter ones of :data:`AUTO_WINDOWS`."""
    return [window, *(size for size in AUTO_WINDOWS if size < window)]


def smaller_steps(level: Level, height: int, width: int) -> Iterator[Level]:
    """What to try, in order, after memory ran out at ``level``, with the same restorer; first smaller tiles, then shorter windows."""
    tile = level.tile
    side = tile.tile_px or -(-max(height, width) // ALIGN) * ALIGN
    smallest = tile
    while side > MIN_TILE:
        side = max(MIN_TILE, side // 2 // ALIGN * ALIGN)
        smallest = TilePlan(side, min(tile.overlap_px or 16, side // 2 // ALIGN * ALIGN))
        yield replace(level, tile=smallest)
    for size in (size for size in (*AUTO_WINDOWS, *LAST_WINDOWS) if size < level.window):
        yield replace(level, window=size, tile=smallest)
