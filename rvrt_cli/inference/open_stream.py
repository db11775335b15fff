"""Open a stream on any restorer, whole or in tiles."""

from __future__ import annotations

from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.inference.stream import CheckedStream, PictureStream, TiledStream, WindowStream
from rvrt_cli.inference.tiles import TilePlan, is_cut


def open_stream(
    restorer: Restorer, height: int, width: int, *, window: int, lookahead: int, tile: TilePlan
) -> PictureStream:
    """A stream for frames of ``height`` x ``width`` LQ pixels.

    ``window``: frames of one backward pass, even; ``lookahead``: further frames that it begins with. Restorers that look at
    one frame at a time use neither. ``tile``: pictures that are cut are put together in 16-bit fixed point.
    """

    cut = is_cut(height, width, tile)

    def opened(height: int, width: int) -> PictureStream:
        if not hasattr(restorer, "stream"):
            return WindowStream(restorer, window, lookahead)
        return restorer.stream(height, width, window=window, lookahead=lookahead, frugal=cut)

    if cut:
        return TiledStream(opened, height, width, restorer.scale, tile)
    return CheckedStream(opened(height, width))
