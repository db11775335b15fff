"""Which streams of a film have anything in them, or in a part of it: containers also announce tracks that stay empty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

import av

from rvrt_cli.errors import RvrtError
from rvrt_cli.media.av_errors import LIBRARY_ERRORS
from rvrt_cli.media.clock import Clock, packets_on_one_clock, until_damage
from rvrt_cli.media.open_file import open_container
from rvrt_cli.media.source import Source

# Streams are interleaved: what belongs to a time is not further than this behind it in the file.
INTERLEAVED_S = 10.0


def streams_with_packets(
    source: Source, indices: Iterable[int], from_s: float | None = None, until_s: float | None = None
) -> Set[int]:
    """Those of the streams ``indices`` that have a packet between two times on the film's clock (None: no bound).

    Reads until every one of them had a packet; where one has none, to the end of the part. Of a file that cannot be read
    all streams are taken to be filled: whoever copies it says what is wrong.
    """
    waiting = set(indices)
    found: set[int] = set()
    try:
        with open_container(source.path) as container:
            if from_s is not None and not source.clock_jumps:
                container.seek(int(max(from_s - INTERLEAVED_S, source.start_s) * av.time_base))
            for packet in until_damage(_packets(source, container)):
                if not waiting:
                    break
                time = packet.pts if packet.pts is not None else packet.dts
                if not packet.size or time is None or packet.time_base is None:
                    continue
                begins_s = float(time * packet.time_base)
                ends_s = begins_s + float((packet.duration or 1) * packet.time_base)
                if until_s is not None and begins_s > until_s + INTERLEAVED_S:
                    break
                if (from_s is None or ends_s > from_s) and (until_s is None or begins_s < until_s):
                    found |= waiting & {packet.stream_index}
                    waiting.discard(packet.stream_index)
    except (RvrtError, OSError, *LIBRARY_ERRORS):
        return found | waiting
    return found


def _packets(source: Source, container: av.container.InputContainer) -> Iterator[av.Packet]:
    return packets_on_one_clock(container, Clock()) if source.clock_jumps else container.demux()
