"""Decode the film of a container, in display order, as far as its damage allows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import cast

import av

from rvrt_cli.media.clock import Clock, DisplayTimes, packets_on_one_clock
from rvrt_cli.media.color import frame_to_rgb
from rvrt_cli.media.frame import Decoded
from rvrt_cli.media.guard import LIBRARY_ERRORS
from rvrt_cli.media.probe import check_regular_file, open_container, open_decoder
from rvrt_cli.media.source import UNTAGGED_MATRICES, ColorTags, Source

# Seeking lands this long before the first wanted frame, so that the deinterlacer has its neighbours and frames that
# refer across the keyframe are complete.
SEEK_MARGIN_S = 1.0
# AVI counts packets and has no display times; those that FFmpeg makes up go back and forth where B-frames are packed together
# (Xvid, DivX). The decode time of the packet that a frame comes out with is the frame's own then, which is also what FFmpeg's
# best_effort_timestamp (libavcodec/decode.c) comes to, once it has counted more display than decode times that do not increase.
WITHOUT_DISPLAY_TIMES = frozenset({"avi"})


class FilmDecoder:
    """The frames of ``source`` (a container). threads: of the decoder, 0 for its choice.

    lost_packets: packets that gave no frame. hidden_frames: packets that an edit list hides. damage: sentences about
    where reading stopped.
    """

    def __init__(self, source: Source, *, start_s: float | None, threads: int) -> None:
        self.lost_packets = 0
        self.hidden_frames = 0
        self.damage: list[str] = []
        self._source = source
        self._start_s = start_s
        self._threads = threads
        self._lost_one = False  # since the last frame
        self._times = DisplayTimes()
        self._container: av.container.InputContainer | None = None

    def close(self) -> None:
        """Release the file. Harmless when called again."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def take_loss(self) -> bool:
        """Whether a packet was lost since this was last asked."""
        lost, self._lost_one = self._lost_one, False
        return lost

    def frames(self) -> Iterator[av.VideoFrame]:
        """Frames in display order, from a little before the wanted start where seeking works."""
        video = self._source.video
        # A time that occurs twice in the file cannot be sought.
        seekable = not self._source.clock_jumps
        if seekable and self._start_s is not None and self._start_s > 2 * SEEK_MARGIN_S:
            start_s = self._start_s + self._source.start_s
            container, stream = self._open()
            frames: Iterator[av.VideoFrame] = iter(())
            first = None
            with suppress(*LIBRARY_ERRORS):
                container.seek(int((start_s - SEEK_MARGIN_S) / video.time_base), stream=stream, backward=True)
                frames = self._demux(container, stream)
                first = next(frames, None)
            if (
                first is not None
                and first.pts is not None
                and float(first.pts * video.time_base) <= start_s - SEEK_MARGIN_S / 2
            ):
                yield first
                yield from frames
                return
            self.lost_packets = 0  # seeking does not work here: start over and decode everything
            self.damage.clear()
        yield from self._demux(*self._open())

    def timed(self, frame: av.VideoFrame) -> Decoded:
        """A frame with its time and colour, not yet converted."""
        pts = self._times.choose(frame.pts, frame.dts)
        if self._source.format in WITHOUT_DISPLAY_TIMES and frame.dts is not None:
            pts = frame.dts
        tags = self._tags(frame)
        return Decoded(pts, frame.duration or None, frame.is_corrupt, lambda: frame_to_rgb(frame, tags), tags)

    def _tags(self, frame: av.VideoFrame) -> ColorTags:
        """The film's colour with the frame's own matrix and range: a broadcast may change them between programmes."""
        tags = self._source.video.effective_color
        if tags.matrix == 0:
            return tags  # RGB
        matrix, color_range = int(frame.colorspace), int(frame.color_range)
        return replace(
            tags,
            matrix=tags.matrix if matrix in UNTAGGED_MATRICES else matrix,
            range=color_range or tags.range,
        )

    def _open(self) -> tuple[av.container.InputContainer, av.VideoStream]:
        check_regular_file(self._source.path)
        if self._container is not None:
            self._container.close()
        self._container = open_container(self._source.path)
        self._times = DisplayTimes()
        return self._container, cast(av.VideoStream, self._container.streams[self._source.video.index])

    def _demux(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.VideoFrame]:
        decoder = open_decoder(stream, self._source.video.has_alpha, self._threads)
        packets = self._packets(container, stream)
        while True:
            try:
                packet = next(packets, None)
            except LIBRARY_ERRORS as error:
                reason = getattr(error, "strerror", None) or type(error).__name__
                self.damage.append(f"Reading stopped early at damage in the file ({reason}).")
                packet = None
            if packet is not None and packet.size:
                self.hidden_frames += packet.is_discard
                try:
                    decoded = decoder.decode(packet)
                except LIBRARY_ERRORS:
                    self.lost_packets += 1
                    self._lost_one = True
                    continue
            else:
                # PyAV sends an empty packet at the end; after damage it is sent here.
                try:
                    decoded = decoder.decode(None)
                except LIBRARY_ERRORS:
                    decoded = []
            yield from cast("list[av.VideoFrame]", decoded)
            if packet is None or not packet.size:
                return

    def _packets(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
        if not self._source.clock_jumps:
            return container.demux(stream)
        return (p for p in packets_on_one_clock(container, Clock()) if p.stream_index == stream.index)
