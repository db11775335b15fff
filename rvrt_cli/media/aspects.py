"""The shapes of the picture in a film that changes between them, as broadcasts and DVDs do: a 4:3 logo, then a 16:9 film.

Transport and program streams state the shape in the pictures alone, with every key frame.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import cast

import av

from rvrt_cli.media.av_errors import LIBRARY_ERRORS
from rvrt_cli.media.source import ShapeRun, Source

# What states size and shape, up to the next start code that begins something else: sequence headers with their extensions of
# MPEG-1 and MPEG-2, sequence parameter sets of H.264 and HEVC.
_STATEMENTS = {
    "mpeg1video": rb"\x00\x00\x01\xb3.*?(?=\x00\x00\x01[\x00\xb8])",
    "mpeg2video": rb"\x00\x00\x01\xb3.*?(?=\x00\x00\x01[\x00\xb8])",
    "h264": rb"\x00\x00\x01[\x07\x27\x47\x67].*?(?=\x00\x00\x01)",
    "hevc": rb"\x00\x00\x01\x42.*?(?=\x00\x00\x01)",
}
LOOKED_AT_BYTES = 4096
# Shapes closer than this are one: 704 and 720 columns, and rounded pixel aspects.
SAME_SHAPE = 0.03


def shapes_in(source: Source, start_s: float | None, end_s: float | None) -> list[tuple[Fraction, float]]:
    """(shape, share of the time) in a range of seconds after ``source.start_s``, the most frequent first."""
    begin = source.start_s + (start_s or 0.0)
    end = source.start_s + (source.duration_s or 0.0)
    end = end if end_s is None else min(end, source.start_s + end_s)
    found: dict[Fraction, float] = {}
    for (shape, first_s), (_, until_s) in pairwise([*source.shapes, ShapeRun(Fraction(1), math.inf)]):
        inside = min(until_s, end) - max(first_s, begin)
        if inside > 0:
            known = next((other for other in found if _are_one(shape, other)), shape)
            found[known] = found.get(known, 0.0) + inside
    total = sum(found.values())
    return sorted(((shape, time / total) for shape, time in found.items()), key=lambda pair: -pair[1])


def in_one_shape(source: Source, start_s: float | None = None, end_s: float | None = None) -> Source:
    """``source`` with the shape that a range (seconds after ``source.start_s``) has for the longest time."""
    shapes = shapes_in(source, start_s, end_s)
    if not shapes:
        return source
    video = source.video
    return replace(source, video=replace(video, sar=shapes[0][0] * Fraction(video.height, video.width)))


def shape_notes(source: Source, start_s: float | None = None, end_s: float | None = None) -> list[str]:
    """A sentence where a range of the film has several shapes."""
    shapes = shapes_in(source, start_s, end_s)
    if len(shapes) < 2:
        return []
    found = ", ".join(f"{float(shape):.2f}:1 in {share:.0%}" for shape, share in shapes)
    return [
        f"The aspect of the picture changes in the film ({found} of the time); all of it is shown as {float(shapes[0][0]):.2f}:1, "
        "so that the rest is stretched. Cut it with --start and --end where it changes to avoid that."
    ]


def _are_one(shape: Fraction, other: Fraction) -> bool:
    return abs(shape / other - 1) < SAME_SHAPE


class ShapeSurvey:
    """Finds where the shape changes. runs: in the order met, times on the clock of the packets that are shown to it."""

    def __init__(self, codec: str) -> None:
        self.runs: list[ShapeRun] = []
        self._codec = codec
        pattern = _STATEMENTS.get(codec)
        self._pattern = None if pattern is None else re.compile(pattern, re.DOTALL)
        self._known: dict[bytes, Fraction | None] = {}

    def see(self, packet: av.Packet) -> None:
        """The next packet of the film's stream."""
        if self._pattern is None or not packet.size or not packet.is_keyframe:
            return
        match = self._pattern.search(bytes(memoryview(packet)[:LOOKED_AT_BYTES]))
        if match is None:
            return
        statement = match[0]
        if statement not in self._known:
            self._known[statement] = self._shape_of(packet)
        shape = self._known[statement]
        if shape is None or (self.runs and _are_one(shape, self.runs[-1].shape)):
            return
        time = packet.dts if packet.pts is None else packet.pts
        if not self.runs:
            self.runs.append(ShapeRun(shape, -math.inf))  # also of what comes before the first key frame
        elif time is not None and packet.time_base is not None:
            self.runs.append(ShapeRun(shape, float(time * packet.time_base)))

    def _shape_of(self, packet: av.Packet) -> Fraction | None:
        """The shape of a key frame, asked of a decoder of its own."""
        context = cast(av.VideoCodecContext, av.CodecContext.create(self._codec, "r"))
        context.thread_count = 1
        frames: list[av.VideoFrame] = []
        with suppress(*LIBRARY_ERRORS):
            copy = av.Packet(bytes(packet))
            frames = [*context.decode(copy), *context.decode(None)]
        sar = context.sample_aspect_ratio
        if not frames:
            return None
        return Fraction(frames[0].width, frames[0].height) * (Fraction(sar) if sar and sar > 0 else 1)
