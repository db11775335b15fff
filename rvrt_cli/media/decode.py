"""Decode the film of a container, in display order, as far as its damage allows."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import cast

import av

from rvrt_cli.media.av_errors import LIBRARY_ERRORS
from rvrt_cli.media.clock import Clock, DisplayTimes, packets_on_one_clock
from rvrt_cli.media.color import frame_to_rgb
from rvrt_cli.media.frame import Decoded
from rvrt_cli.media.open_file import check_regular_file, open_container, open_decoder
from rvrt_cli.media.source import UNTAGGED_MATRICES, ColorTags, Source, stated_range

# Seeking lands this long before the first wanted frame, so that the deinterlacer has its neighbours and frames that
# refer across the keyframe are complete.
SEEK_MARGIN_S = 1.0
# Transport streams have no index of key frames: seeking can lead behind the one that is wanted.
SEEK_EARLIER_S = (0.0, SEEK_MARGIN_S, 10 * SEEK_MARGIN_S)
# AVI counts packets and has no display times; those that FFmpeg makes up go back and forth where B-frames are packed together
# (Xvid, DivX). The decode time of the packet that a frame comes out with is the frame's own then, which is also what FFmpeg's
# best_effort_timestamp (libavcodec/decode.c) comes to, once it has counted more display than decode times that do not increase.
WITHOUT_DISPLAY_TIMES = frozenset({"avi"})


class NotSeekable(Exception):  # noqa: N818 - a message to the caller, who decodes from the start instead
    """The key frame that was asked for is not where seeking leads."""


class FilmDecoder:
    """The frames of ``source`` (a container).

    An empty packet shows the picture before it again: Theora and QuickTime repeat pictures that way. lost_packets:
    packets that gave no frame. interlaced: whether a frame was. damage: sentences about where reading stopped.
    """

    def __init__(self, source: Source, *, start_s: float | None) -> None:
        self.lost_packets = 0
        self.interlaced = False
        self.damage: list[str] = []
        self._source = source
        self._start_s = start_s
        self._empty: list[tuple[int, int | None]] = []  # heap of (time, duration) of the empty packets
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

    def frames(self) -> Iterator[tuple[Decoded, av.VideoFrame]]:
        """Frames in display order, with time and colour but not yet converted, from a little before the wanted start."""
        video = self._source.video
        if can_seek(self._source) and self._start_s is not None and self._start_s > 2 * SEEK_MARGIN_S:
            start_s = self._start_s + self._source.start_s
            container, stream = self._open()
            frames: Iterator[tuple[Decoded, av.VideoFrame]] = iter(())
            first = None
            with suppress(*LIBRARY_ERRORS):
                container.seek(int((start_s - SEEK_MARGIN_S) / video.time_base), stream=stream, backward=True)
                frames = self._timed(self._demux(container, stream))
                first = next(frames, None)
            if (
                first is not None
                and first[0].pts is not None
                and float(first[0].pts * video.time_base) <= start_s - SEEK_MARGIN_S / 2
            ):
                yield first
                yield from frames
                return
            self.lost_packets = 0  # seeking does not work here: start over and decode everything
            self._empty.clear()
            self.damage.clear()
        yield from self._timed(self._demux(*self._open()))

    def frames_from(self, key_pts: int) -> Iterator[tuple[Decoded, av.VideoFrame]]:
        """As :meth:`frames`, from the key frame with the timestamp ``key_pts`` on.

        Errors: :class:`NotSeekable` where it is not found, or times do not tell frames apart.
        """
        if not can_seek(self._source):
            raise NotSeekable
        for margin_s in SEEK_EARLIER_S:
            container, stream = self._open()
            at = key_pts - int(margin_s / self._source.video.time_base)
            frames: Iterator[tuple[Decoded, av.VideoFrame]] = iter(())
            first = None
            with suppress(*LIBRARY_ERRORS):
                container.seek(at, stream=stream, backward=True)
                frames = self._timed(self._from(key_pts, self._demux(container, stream)))
                first = next(frames, None)
            self.lost_packets, self._lost_one = 0, False  # of frames that were not wanted
            self.damage.clear()
            if first is not None:
                yield first
                yield from frames
                return
            self._empty.clear()
        raise NotSeekable

    @staticmethod
    def _from(key_pts: int, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """``frames`` without those shown before the key frame, which refer to frames that were not decoded."""
        for frame in frames:
            if frame.pts == key_pts and frame.key_frame:
                yield frame
                yield from frames
            if frame.pts is None or frame.pts >= key_pts:
                return

    def _timed(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[Decoded, av.VideoFrame]]:
        """The frames with their times, and the one before again for each empty packet."""
        video = self._source.video
        step = Fraction(0) if video.average_rate is None else 1 / (video.average_rate * video.time_base)
        counted = not self._source.has_times and step > 0
        before: tuple[Decoded, av.VideoFrame] | None = None
        for number, frame in enumerate(frames):
            decoded = self._decoded(frame)
            if counted:
                decoded = replace(decoded, pts=round(number * step), duration=max(1, round(step)))
            while self._empty and decoded.pts is not None and self._empty[0][0] < decoded.pts:
                if before is None:  # there is no picture yet that could be shown again
                    heapq.heappop(self._empty)
                    self.lost_packets += 1
                else:
                    yield self._again(before)
            before = decoded, frame
            self.interlaced |= frame.interlaced_frame
            yield before
        while before is not None and self._empty:
            yield self._again(before)

    def _again(self, before: tuple[Decoded, av.VideoFrame]) -> tuple[Decoded, av.VideoFrame]:
        decoded, frame = before
        pts, duration = heapq.heappop(self._empty)
        return replace(
            decoded, pts=pts, duration=duration, corrupt=False, key_frame=False, repeated=True
        ), frame

    def _decoded(self, frame: av.VideoFrame) -> Decoded:
        """A frame with its own time and colour, not yet converted."""
        pts = self._times.choose(frame.pts, frame.dts)
        if self._source.format in WITHOUT_DISPLAY_TIMES and frame.dts is not None:
            pts = frame.dts
        tags = self._tags(frame)
        return Decoded(
            pts,
            frame.duration or None,
            frame.is_corrupt,
            lambda: frame_to_rgb(frame, tags),
            tags,
            # Times chosen by what came before would be others after seeking here.
            frame.key_frame and frame.pts is not None and frame.pts == pts and self._times.regular,
        )

    def _tags(self, frame: av.VideoFrame) -> ColorTags:
        """The film's colour with the frame's own matrix and range: a broadcast may change them between programmes."""
        tags = self._source.video.effective_color
        if tags.matrix == 0:
            return tags  # RGB
        matrix = int(frame.colorspace)
        color_range = stated_range(int(frame.color_range), frame.format.name, self._source.video.codec)
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
        decoder = open_decoder(stream, self._source.video.has_alpha)
        packets = self._packets(container, stream)
        while True:
            try:
                packet = next(packets, None)
            except LIBRARY_ERRORS as error:
                reason = getattr(error, "strerror", None) or type(error).__name__
                self.damage.append(f"Reading stopped early at damage in the file ({reason}).")
                packet = None
            if packet is None:
                with suppress(*LIBRARY_ERRORS):
                    yield from cast("list[av.VideoFrame]", decoder.decode(None))
                return
            if not packet.size:
                # An empty packet is not the end, which is what the decoder would take it for. PyAV adds one without a time
                # at the end of each stream.
                time = packet.dts if self._source.format in WITHOUT_DISPLAY_TIMES else packet.pts
                if time is not None:
                    heapq.heappush(self._empty, (time, packet.duration or None))
                continue
            try:
                decoded = decoder.decode(packet)
            except LIBRARY_ERRORS:
                self.lost_packets += 1
                self._lost_one = True
                continue
            yield from cast("list[av.VideoFrame]", decoded)

    def _packets(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
        if not self._source.clock_jumps:
            return container.demux(stream)
        return (p for p in packets_on_one_clock(container, Clock()) if p.stream_index == stream.index)


def can_seek(source: Source) -> bool:
    """Whether a time means one place of the file: not where it occurs twice, nor where frames are merely counted."""
    return not source.clock_jumps and source.has_times
