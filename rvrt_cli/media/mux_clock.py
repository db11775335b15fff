"""The clocks of the final file: where it starts, in which ticks it counts, how long its last frame is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from rvrt_cli.media.clock import ARBITRARY_START
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.segment import SegmentFooter, frame_step
from rvrt_cli.media.source import Source

LARGEST_TIMESCALE = 10_000_000


def shift_of(source: Source, time_base: Fraction, first_pts: int, trimmed: bool) -> int:
    """Ticks added to every timestamp: to start at zero where the source's start means nothing, to avoid negative ones."""
    if trimmed:
        return -first_pts
    shift = -round(source.start_s / time_base) if source.format in ARBITRARY_START else 0
    return shift if first_pts + shift >= 0 else -first_pts


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


def last_duration_filter(
    settings: EncodeSettings, footers: Sequence[SegmentFooter], feed_format: str, shift: int
) -> str:
    """A bitstream filter that makes the frame shown last keep its duration, which ends the film.

    Fragments hold the time to the next *decoded* packet instead; with a variable rate that is another number, and the
    file would end too early or too late.
    """
    clock = (
        Fraction(1, 1000) if feed_format == "matroska" else Fraction(1, track_timescale(settings.time_base))
    )
    last, duration, step = (
        round(ticks * settings.time_base / clock)
        for ticks in (footers[-1].last_pts + shift, footers[-1].last_duration, frame_step(settings))
    )
    return f"setts=pts=PTS:dts=DTS:duration=if(lt(abs(PTS-({last}))\\,0.6)\\,{max(duration, 1)}\\,min(DURATION\\,{max(step, 1)}))"
