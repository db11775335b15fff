"""Turn interlaced frames into progressive ones, one for one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import cast

import av

from rvrt_cli.media.color import frame_to_rgb, rgb_to_frame
from rvrt_cli.media.frame import Decoded
from rvrt_cli.media.source import ColorTags, VideoStream

# One frame out per frame in; "interlaced" leaves frames alone that are not flagged.
DEINTERLACER = "bwdif"


class Deinterlacer:
    """Passes the frames of ``video`` through FFmpeg's filter.

    everything: treat all frames as interlaced, not only those that are flagged. active: whether any frame went through
    the filter so far.
    """

    def __init__(self, video: VideoStream, *, everything: bool) -> None:
        self._video = video
        self._everything = everything
        self.active = False

    def run(self, frames: Iterator[tuple[Decoded, av.VideoFrame]]) -> Iterator[Decoded]:
        """Pass frames through the deinterlacer from the first interlaced one on.

        The picture comes from the filter, everything else from the decoder.
        """
        graph: av.filter.Graph | None = None
        shape: tuple[int, int, str] | None = None
        waiting: deque[Decoded | None] = deque()
        before: av.VideoFrame | None = None

        def drain() -> Iterator[Decoded]:
            assert graph is not None
            while True:
                try:
                    picture = cast(av.VideoFrame, graph.pull())
                except (av.error.BlockingIOError, av.error.EOFError):
                    return
                decoded = waiting.popleft()
                if decoded is not None:
                    tags = decoded.tags or self._video.effective_color
                    yield replace(decoded, convert=partial(frame_to_rgb, picture, tags))

        for decoded, frame in frames:
            if graph is None and not (self._everything or frame.interlaced_frame):
                yield decoded
                before = frame
                continue
            if shape != (frame.width, frame.height, frame.format.name):
                if graph is not None:
                    graph.push(None)
                    yield from drain()
                shape = (frame.width, frame.height, frame.format.name)
                graph = self._graph(frame)
                self.active = True
                if before is not None and shape == (before.width, before.height, before.format.name):
                    # The neighbour of the first interlaced frame, which was delivered as it is.
                    waiting.append(None)
                    graph.push(before)
                before = None
            waiting.append(decoded)
            cast(av.filter.Graph, graph).push(frame)
            yield from drain()
        if graph is not None:
            graph.push(None)
            yield from drain()

    def _graph(self, frame: av.VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        buffer = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self._video.time_base
        )
        which = "all" if self._everything else "interlaced"
        parity = "bff" if self._video.bottom_field_first else "auto"
        nodes = [
            buffer,
            graph.add(DEINTERLACER, f"mode=send_frame:deint={which}:parity={parity}"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        return graph


def picture_of(decoded: Decoded, pix_fmt: str, tags: ColorTags) -> av.VideoFrame:
    """A decoded frame for a filter, in the pixel format of its source."""
    frame = rgb_to_frame(*decoded.convert(), pix_fmt, tags)
    frame.pts = decoded.pts
    return frame
