"""The clocks of the final file: where it starts, in which ticks it counts, how long its last frame is shown."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av

from rvrt_cli.errors import OutputError
from rvrt_cli.media.clock import ARBITRARY_START
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.mux_plan import MuxPlan
from rvrt_cli.media.segment import DecodeOrder, SegmentFooter, frame_step
from rvrt_cli.media.side_streams import first_sound_s
from rvrt_cli.media.source import Source

LARGEST_TIMESCALE = 10_000_000
MATROSKA_TICK = Fraction(1, 1000)  # s
# Matroska rounds to its ticks: what lies less than half of one before zero stays at zero. Where a delay is stated, the time
# in the source may have been rounded once before, and the delay is rounded with it.
ROUNDING_S = 0.0005
ROUNDING_WITH_DELAY_S = 0.001


def shift_of(source: Source, time_base: Fraction, first_pts: int, trimmed: bool) -> int:
    """Ticks added to every timestamp: to start at zero where the source's start means nothing, to avoid negative ones."""
    if trimmed:
        return -first_pts
    shift = -round(source.start_s / time_base) if source.format in ARBITRARY_START else 0
    return shift if first_pts + shift >= 0 else -first_pts


def shift_for_early_sound(source: Source, plan: MuxPlan, time_base: Fraction, shift: int) -> int:
    """Ticks to be added to ``shift`` for sound that would begin before zero, which Matroska moves there with everything else.

    A codec's delay may lie before zero: a copy states it for players to skip, a conversion leaves it out.
    """
    if plan.container not in ("mkv", "webm"):
        return 0
    kept = {p.index for p in plan.kept if p.kind == "audio"}
    sound = {s.index: s.delay_s for s in source.streams if s.index in kept}
    if not sound:
        return 0
    starts = first_sound_s(source)
    early_s = 0.0
    for index in sound.keys() & starts.keys():
        before_s = -starts[index] - float(shift * time_base) - sound[index]
        if before_s > (ROUNDING_WITH_DELAY_S if sound[index] else ROUNDING_S):
            early_s = max(early_s, before_s)
    return math.ceil(early_s / time_base)


def track_timescale(time_base: Fraction) -> int:
    """Ticks per second of an MP4 track that holds every multiple of ``time_base``."""
    scale = time_base.denominator
    while scale < 10_000:  # ffmpeg's own rule: coarse clocks make players stutter
        scale *= 2
    return scale


def movie_timescale(source: Source, settings: EncodeSettings) -> int:
    """Edit lists are written in this unit; a common multiple keeps the offset of sound and picture exact."""
    scale = track_timescale(settings.time_base)
    for stream in source.streams:
        if stream.kind == "audio":
            common = math.lcm(scale, stream.time_base.denominator)
            if common <= LARGEST_TIMESCALE:
                scale = common
    return scale


@dataclass(frozen=True)
class FilmEnd:
    """Where the film ends, in settings.time_base ticks of the final file. step: ticks between frames on average."""

    last_pts: int
    last_duration: int
    frames: int
    step: int

    @classmethod
    def of(cls, settings: EncodeSettings, footers: Sequence[SegmentFooter], shift: int) -> FilmEnd:
        """The end of segments that are moved by ``shift`` ticks."""
        last = footers[-1]
        frames = sum(footer.frames for footer in footers)
        return cls(last.last_pts + shift, last.last_duration, frames, frame_step(settings))

    def last_packet_duration(self, pts: int, dts: int, slack: int | None) -> int:
        """Ticks that the packet decoded last lasts, so that decode times end ``slack`` before the film, not earlier.

        MP4's media header states the sum of all packets' durations, and is what many programs show.
        """
        own = self.last_duration if pts == self.last_pts else min(self.last_duration, self.step)
        return own if slack is None else max(own, self.last_pts + self.last_duration - slack - dts)


def set_decode_times(
    packets: Iterable[av.Packet], order: DecodeOrder, slack: int | None, name: str
) -> Iterator[av.Packet]:
    """``packets``, given in decode order, with decode times at most ``slack`` ticks before what is shown next.

    ``order`` alone (slack: None) lets them fall behind where frames are shown for long: their sum, which MP4 states as
    the film's length, misses the last few frames. At a constant rate the two agree. name: of the file, for errors.
    """
    waiting: deque[av.Packet] = deque()
    before: int | None = None

    def timed() -> av.Packet:
        nonlocal before
        times = [cast(int, p.pts) for p in waiting]
        packet = waiting.popleft()
        dts = cast(int, packet.dts)
        if slack is not None:
            due = min(times) - slack
            if before is not None:  # packets that are decoded in advance share the time until then
                due = max(before + 1, before + (due - before) // (times.index(min(times)) + 1))
            dts = max(dts, due)
        packet.dts = before = dts
        return packet

    for packet in packets:
        pts = cast(int, packet.pts)
        packet.dts = order.decode_time(pts)
        if packet.dts > pts:
            raise OutputError(
                f"{name}: packets are out of order by more than {order.delay} frames; choose another --codec."
            )
        waiting.append(packet)
        if len(waiting) > order.delay:  # nothing that comes later is shown earlier than these
            yield timed()
    while waiting:
        yield timed()


def duration_filter(settings: EncodeSettings, end: FilmEnd, feed_format: str) -> str:
    """A bitstream filter that makes the frame shown last keep its duration, which ends the film.

    Fragments hold the time to the next *decoded* packet instead; with a variable rate that is another number, and the
    file would end too early or too late. The packet decoded last keeps what the feed says (:meth:`FilmEnd.last_packet_duration`).
    No packet of a Matroska file lasts less than one of its ticks: it would take none for the film's usual duration.
    """
    clock = MATROSKA_TICK if feed_format == "matroska" else Fraction(1, track_timescale(settings.time_base))
    last, duration, step = (
        round(ticks * settings.time_base / clock) for ticks in (end.last_pts, end.last_duration, end.step)
    )
    shortest = math.ceil(MATROSKA_TICK / clock) if settings.container in ("mkv", "webm") else 1
    others = f"if(eq(N\\,{end.frames - 1})\\,DURATION\\,max(min(DURATION\\,{max(step, 1)})\\,{shortest}))"
    return f"setts=pts=PTS:dts=DTS:duration=if(lt(abs(PTS-({last}))\\,0.6)\\,{max(duration, 1)}\\,{others})"
