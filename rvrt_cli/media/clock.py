"""One clock for films whose timestamps start anew in the middle: joined recordings, lost reception, DVD chapters.

FFmpeg's rule decides what a jump is (its ``dts_delta_threshold``): decode times that go back by more than a tenth of a
second, or forward by more than ten. The first stream that jumps says by how much the time after the jump is moved; the
others follow with the same offset, each when its own packets jump, so that sound and picture stay together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import av

from rvrt_cli.media.av_errors import LIBRARY_ERRORS

# Formats whose clock starts anywhere, and may do so again; players show their start as zero.
ARBITRARY_START = frozenset({"mpegts", "mpeg", "mpegtsraw"})
BACKWARD_S = 0.1
FORWARD_S = 10.0
# Packets this far apart are so in every container's clock, too.
SEPARATE_S = 0.001


@dataclass
class _Track:
    """Where a stream stands. piece: index of its offset. last_s, next_s: decode times on the common clock."""

    piece: int = 0
    last_s: float | None = None
    next_s: float = 0.0
    last_dts: int | None = None


class Clock:
    """Moves packets, which must be given in the file's order and from its beginning, onto the common clock."""

    def __init__(self) -> None:
        self.now_s: float | None = None
        self._offsets_s = [0.0]
        self._tracks: dict[int, _Track] = {}

    @property
    def jumps(self) -> int:
        """How many jumps were met so far."""
        return len(self._offsets_s) - 1

    def move(self, packet: av.Packet) -> None:
        """Change the packet's timestamps in place. Decode times increase afterwards in every stream."""
        if packet.time_base is None or (packet.dts is None and packet.pts is None):
            return
        tick_s = float(packet.time_base)
        track = self._tracks.setdefault(packet.stream_index, _Track())
        if packet.dts is not None:
            # FFmpeg's demuxers fill in times of pictures shown later from the packets that follow, across a jump, too.
            if packet.pts is not None and not 0 <= (packet.pts - packet.dts) * tick_s <= FORWARD_S:
                packet.pts = None if packet.stream.type == "video" else packet.dts
            dts_s = packet.dts * tick_s
            track.piece = self._piece(track, dts_s, packet.stream.type in ("video", "audio"))
            track.last_s = dts_s + self._offsets_s[track.piece]
            track.next_s = track.last_s + (packet.duration or 0) * tick_s
            self.now_s = track.last_s if self.now_s is None else max(self.now_s, track.last_s)
        offset = round(self._offsets_s[track.piece] / tick_s)
        if packet.pts is not None:
            packet.pts += offset
        if packet.dts is not None:
            packet.dts += offset
            if track.last_dts is not None and packet.dts <= track.last_dts:  # pieces may overlap a little
                packet.dts = track.last_dts + max(1, round(SEPARATE_S / tick_s))
                packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
        track.last_dts = packet.dts if packet.dts is not None else track.last_dts

    def _piece(self, track: _Track, dts_s: float, regular: bool) -> int:
        """The offset for a packet: of those since the stream's last one, the one that brings it closest to the others.

        regular: sound and pictures, whose packets follow closely; where no offset fits, a jump has been met.
        """
        if self.now_s is None:
            return 0
        earliest = -float("inf") if track.last_s is None else track.last_s - BACKWARD_S
        latest = max(self.now_s, track.last_s or self.now_s) + FORWARD_S
        now_s = self.now_s
        pieces = range(track.piece, len(self._offsets_s))
        fitting = [p for p in pieces if not regular or earliest <= dts_s + self._offsets_s[p] <= latest]
        if fitting:
            return min(fitting, key=lambda p: abs(dts_s + self._offsets_s[p] - now_s))
        self._offsets_s.append((now_s if track.last_s is None else track.next_s) - dts_s)
        return self.jumps


class DisplayTimes:
    """Which of a frame's two times is its own: display times are missing or made up in films that were copied out of AVI.

    FFmpeg's rule (``guess_correct_pts`` in libavcodec/decode.c): display times, unless they failed to increase more often
    than the decode times of the packets that the frames came out with. Frames are given in the order of a decoder.
    """

    def __init__(self) -> None:
        self._wrong = {"pts": 0, "dts": 0}
        self._last: dict[str, int | None] = {"pts": None, "dts": None}

    @property
    def regular(self) -> bool:
        """Whether both kinds of times have increased so far, so that what follows does not depend on what came before."""
        return not any(self._wrong.values())

    def choose(self, pts: int | None, dts: int | None) -> int | None:
        """The next frame's time, of its display and decode time."""
        for name, own, other in (("dts", dts, pts), ("pts", pts, dts)):
            last = self._last[name]
            self._wrong[name] += own is not None and last is not None and own <= last
            if own is not None or other is not None:
                self._last[name] = own if own is not None else other
        trusted = self._wrong["pts"] <= self._wrong["dts"] or dts is None
        return pts if trusted and pts is not None else dts


def packets_on_one_clock(container: av.container.InputContainer, clock: Clock) -> Iterator[av.Packet]:
    """All packets of a file, on ``clock``; the empty ones at its end, which flush decoders, included."""
    for packet in container.demux():
        if packet.size:
            clock.move(packet)
        yield packet


def until_damage(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """``packets`` up to where the file cannot be read any further."""
    with suppress(*LIBRARY_ERRORS):
        yield from packets


def measure_clock(
    container: av.container.InputContainer, see: Callable[[av.Packet], None]
) -> tuple[int, float | None]:
    """(number of jumps, end in seconds on the common clock) of an opened file, from one pass over its packets.

    Each packet is shown to ``see``, too.
    """
    clock = Clock()
    for packet in until_damage(packets_on_one_clock(container, clock)):
        see(packet)
    return clock.jumps, clock.now_s
