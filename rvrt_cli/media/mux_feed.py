"""Rewrap the packets of the segments, on the clock of the final file, into a pipe to ffmpeg."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import av

from rvrt_cli.errors import InterruptedRun, OutputError
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.mux_clock import FilmEnd, set_decode_times, track_timescale
from rvrt_cli.media.segment import DecodeOrder, SegmentFooter, read_packets


def feed_format_of(settings: EncodeSettings) -> str:
    """How packets travel to ffmpeg: fragmented MP4/MOV keeps exact times; Matroska keeps VP9's alpha and odd codecs."""
    if settings.codec in ("h264", "hevc", "av1", "vp9") and not settings.has_alpha:
        return "mp4"
    return "matroska" if settings.container in ("mkv", "webm") else "mov"


def feed(
    pipe: IO[bytes],
    segments: Sequence[Path],
    footers: Sequence[SegmentFooter],
    settings: EncodeSettings,
    feed_format: str,
    shift: int,
    stop: threading.Event | None,
) -> list[int]:
    """Write all packets of the segments to ``pipe``; returns their timestamps in decode order."""
    options = {}
    if feed_format != "matroska":
        scale = str(track_timescale(settings.time_base))
        options = {
            "movflags": "frag_every_frame+delay_moov+default_base_moof",
            "movie_timescale": scale,
            "video_track_timescale": scale,
        }
    end = FilmEnd.of(settings, footers, shift)
    order = DecodeOrder(settings.codec, footers[0].first_pts + shift, end.step)
    # Matroska holds no decode times, and takes the distance of two of them for the time that a frame is shown.
    slack = order.delay * end.step if settings.container in ("mp4", "mov") else None
    written: list[int] = []
    # PyAV looks for a seek method; a pipe has one that fails.
    with av.open(_WriteOnly(pipe), "w", format=feed_format, options=options) as out:
        with av.open(f"file:{segments[0]}") as container:
            stream: Any = out.add_stream_from_template(container.streams.video[0], opaque=True)
        stream.time_base = settings.time_base
        # Most codecs' segments carry none; a Matroska feed does not take it (see mux_command._aspect_arguments).
        stream.codec_context.sample_aspect_ratio = settings.sar
        packets = _packets(segments, footers, shift, stop)
        for packet in set_decode_times(packets, order, slack, str(segments[0].parent)):
            pts, dts = cast(int, packet.pts), cast(int, packet.dts)
            written.append(pts)
            last = len(written) == end.frames
            packet.stream, packet.time_base = stream, settings.time_base
            packet.duration = end.last_packet_duration(pts, dts, slack) if last else end.last_duration
            out.mux(packet)
    return written


def _packets(
    segments: Sequence[Path], footers: Sequence[SegmentFooter], shift: int, stop: threading.Event | None
) -> Iterator[av.Packet]:
    """The film's packets in decode order, display times on the final file's clock."""
    for path, footer in zip(segments, footers, strict=True):
        count = 0
        with av.open(f"file:{path}") as container:
            for packet in read_packets(container, footer):
                raise_if_stopped(stop)
                packet.pts = cast(int, packet.pts) + shift
                count += 1
                yield packet
        if count != footer.frames:
            raise OutputError(
                f"The segment {path} holds {count} of {footer.frames} frames; delete it and run the same command again."
            )


class _WriteOnly:
    """A file object without seek, so that PyAV writes a stream."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def write(self, data: bytes) -> int:
        return self._pipe.write(data)


def raise_if_stopped(stop: threading.Event | None) -> None:
    """Raise :class:`InterruptedRun` once ``stop`` is set."""
    if stop is not None and stop.is_set():
        raise InterruptedRun(
            "Interrupted while the file was being assembled; all frames are finished and kept. "
            "Run the same command again to continue."
        )
