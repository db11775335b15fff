"""Count a film's pictures without decoding them: what the decoder must have given, from a pass of its own over the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import av

from rvrt_cli.media.av_errors import LIBRARY_ERRORS
from rvrt_cli.media.clock import Clock, packets_on_one_clock, until_damage
from rvrt_cli.media.decode import SEEK_MARGIN_S, WITHOUT_DISPLAY_TIMES, can_seek
from rvrt_cli.media.open_file import open_container
from rvrt_cli.media.source import Source


def count_pictures(source: Source, start_s: float | None = None, end_s: float | None = None) -> int | None:
    """How many pictures the packets of the film hold with ``start_s <= time < end_s``, on the container's clock.

    Empty packets count, for they repeat a picture; those that an edit list hides and hidden ones of VP8 and VP9 do not. A
    picture coded as two fields may have two packets. None where the container does not say when packets are shown, and a range
    is asked for.
    """
    ranged = start_s is not None or end_s is not None
    if ranged and (not source.has_times or source.format in WITHOUT_DISPLAY_TIMES):
        return None
    index, codec = source.video.index, source.video.codec
    count = 0
    for packet in _packets(source, start_s):
        if packet.stream_index != index or packet.is_discard or (packet.size == 0 and packet.dts is None):
            continue
        if codec in ("vp8", "vp9") and packet.size and _is_hidden(codec, bytes(packet)):
            continue
        tick = source.video.time_base
        if end_s is not None and packet.dts is not None and packet.dts * tick >= end_s:
            break
        if ranged and packet.pts is None:
            return None
        if packet.pts is not None and (
            (start_s is not None and packet.pts * tick < start_s)
            or (end_s is not None and packet.pts * tick >= end_s)
        ):
            continue
        count += 1
    return count


def _packets(source: Source, start_s: float | None) -> Iterator[av.Packet]:
    """The file's packets, up to where it cannot be read any further, from before ``start_s`` where it can be sought."""
    if source.clock_jumps:
        with open_container(source.path) as container:
            yield from until_damage(packets_on_one_clock(container, Clock()))
        return
    if start_s is not None and can_seek(source):
        tick = source.video.time_base
        with open_container(source.path) as container:
            stream = container.streams[source.video.index]
            packets: Iterator[av.Packet] = iter(())
            first = None
            with suppress(*LIBRARY_ERRORS):
                container.seek(int((start_s - SEEK_MARGIN_S) / tick), stream=stream, backward=True)
                packets = until_damage(container.demux(stream))
                first = next(packets, None)
            if (
                first is not None
                and first.dts is not None
                and first.dts * tick <= start_s - SEEK_MARGIN_S / 2
            ):
                yield first
                yield from packets
                return
    with open_container(source.path) as container:
        yield from until_damage(container.demux(container.streams[source.video.index]))


def _is_hidden(codec: str, data: bytes) -> bool:
    """Whether a packet of VP8 or VP9 holds nothing but a picture that others refer to and nobody sees.

    The bit show_frame of RFC 6386, 9.1, and of the VP9 bitstream specification, 6.2; a superframe (its annex B) ends with
    a picture that is shown.
    """
    if codec == "vp8":
        return not data[0] & 0x10
    if data[-1] & 0xE0 == 0xC0 and len(data) > 1:
        return False
    bits = data[0] << 1 & 0xFF if data[0] & 0x30 == 0x30 else data[0]  # profile 3 has one more bit before
    return not bits & 0x08 and not bits & 0x02
