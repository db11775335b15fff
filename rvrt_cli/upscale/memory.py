"""How large windows and tiles may be, and what to try when memory runs out all the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rvrt_cli.errors import UsageError
from rvrt_cli.inference.tiles import ALIGN, MIN_TILE, TilePlan, is_cut
from rvrt_cli.system.memory import MIB

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
ENCODER_BYTES_PER_PX = {"libx264": 105, "libx265": 185, "libsvtav1": 340, "libvpx-vp9": 140, "ffv1": 50}
"""Peak bytes an encoder holds per pixel of an 8-bit picture (frames it looks ahead and refers to), measured at 1920x1080."""
X264_LOOKAHEAD = 40
"""Frames; ``--segment-frames`` can be fewer. Other encoders look less far ahead, or it was not measured."""
OTHER_ENCODER_BYTES_PER_PX = 150
PICTURE_BYTES_PER_PX = 30
"""The same where no encoder runs (PNG, y4m): the conversion of one picture."""
DEFAULT_BYTES_PER_PX = 6000
"""Bytes that a restorer needs per LQ pixel and frame of a tile, its result included, where it does not say so itself."""

Hunger = Callable[[int, int, int, int], int]
"""Peak bytes of a restorer's stream by height, width, window and look-ahead: :meth:`Restorer.memory_bytes`."""


def unknown_hunger(height: int, width: int, window: int, lookahead: int) -> int:
    """For a restorer that does not say what it needs. Between its windows it holds nothing but frames."""
    return height * width * (window + lookahead if window else 0) * DEFAULT_BYTES_PER_PX


GOOD_TILE = 96
AUTO_TILES = (1024, 768, 512, 384, 256, 192, 128, 96, 64, MIN_TILE)

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes of a size such as ``6G``, ``800M``, ``1.5 GiB`` or ``4000000``."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)i?b?\s*", text.lower())
    if match is None:
        raise UsageError(f"--memory-limit must be a size such as 6G or 800M; got {text!r}.")
    return int(float(match[1]) * _UNITS[match[2]])


def encoder_bytes(
    encoder: str | None, bit_depth: int, output_px: int, segment_frames: int | None = None
) -> int:
    """Peak bytes of ``encoder`` (ffmpeg's name; None where pictures leave one by one) for pictures of ``output_px`` pixels.

    ``segment_frames``: length of its segments; an encoder that looks further ahead holds no more pictures than there are.
    """
    if encoder is None:
        return PICTURE_BYTES_PER_PX * output_px
    per_px = ENCODER_BYTES_PER_PX.get(encoder, OTHER_ENCODER_BYTES_PER_PX)
    if encoder == "libx264" and segment_frames is not None:
        # 1.5 bytes a pixel and picture: 4:2:0.
        per_px -= 3 * max(0, X264_LOOKAHEAD - segment_frames) // 2
    return per_px * output_px * (1 if bit_depth <= 8 else 2)


@dataclass(frozen=True)
class Need:
    """What a run needs: LQ size, scale, what the restorer takes, and the bytes that the encoder holds."""

    height: int
    width: int
    scale: int
    restorer_bytes: Hunger = unknown_hunger
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


@dataclass(frozen=True)
class AutoPlan:
    """What :func:`plan_auto` settled. ``overlapped``: the model makes a window while the one before is encoded."""

    window: int
    tile: TilePlan
    overlapped: bool


def plan_auto(
    need: Need,
    limit_bytes: int,
    window: int | None,
    tile: TilePlan | None,
    *,
    default_window: int,
    overlap: int,
    tile_overlap: int,
) -> AutoPlan:
    """Window and tile for a memory limit; what the user fixed (not None) is kept.

    Whole frames are preferred, then larger tiles, then one window at a time, then a shorter window: RVRT gains from
    neighbouring frames up to about 16 and longer windows repeat fewer frames, while a tile costs only its overlap, and on a
    CPU model and encoder share the cores anyway. Tiles below :data:`GOOD_TILE`, most of which are overlap, come last.
    """
    windows = [window] if window is not None else _shorter(default_window, overlap)
    if tile is not None:
        tiles: tuple[TilePlan, ...] = (tile,)
    else:
        useful = (side for side in AUTO_TILES if side < max(need.height, need.width))
        tiles = (
            TilePlan(None),
            *(TilePlan(side, min(tile_overlap, side // 2 // ALIGN * ALIGN)) for side in useful),
        )
    good = tuple(option for option in tiles if option.tile_px is None or option.tile_px >= GOOD_TILE) or tiles
    for choice in (good, tiles):
        for frames in windows:
            for overlapped in (True, False):
                for option in choice:
                    if need.peak_bytes(frames, option, overlapped) <= limit_bytes:
                        return AutoPlan(frames, option, overlapped)
    # Nothing fits by the estimate. What is left is mostly the film's own pictures, which tiny tiles would not make fewer.
    return AutoPlan(windows[-1], good[-1], False)


def _shorter(window: int, overlap: int) -> list[int]:
    """``window`` and ever shorter even windows that still advance past their overlap."""
    sizes = [window]
    while (half := sizes[-1] // 2 // 2 * 2) >= max(2 * overlap, 2) and half < sizes[-1]:
        sizes.append(half)
    return sizes


def smaller_steps(
    window: int, tile: TilePlan, overlap: int, height: int, width: int
) -> Iterator[tuple[int, TilePlan]]:
    """What to try, in order, after memory ran out with ``window`` and ``tile``; first smaller tiles, then shorter windows."""
    side = tile.tile_px or -(-max(height, width) // ALIGN) * ALIGN
    smallest = tile
    while side > MIN_TILE:
        side = max(MIN_TILE, side // 2 // ALIGN * ALIGN)
        smallest = TilePlan(side, min(tile.overlap_px or 16, side // 2 // ALIGN * ALIGN))
        yield window, smallest
    for size in _shorter(window, overlap)[1:]:
        yield size, smallest
