"""The shapes of the picture in a film that changes between them, as broadcasts and DVDs do: a 4:3 logo, then a 16:9 film.

Transport and program streams state the shape in the pictures alone, with every key frame.
"""

from __future__ import annotations

import re
from contextlib import suppress
from fractions import Fraction
from typing import cast

import av

from rvrt_cli.media.av_errors import LIBRARY_ERRORS

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


class ShapeSurvey:
    """Counts the pictures of each shape. shapes: (width : height as shown, packets), in the order met."""

    def __init__(self, codec: str) -> None:
        self.shapes: list[tuple[Fraction, int]] = []
        self._codec = codec
        pattern = _STATEMENTS.get(codec)
        self._pattern = None if pattern is None else re.compile(pattern, re.DOTALL)
        self._known: dict[bytes, Fraction | None] = {}
        self._now: Fraction | None = None

    def see(self, packet: av.Packet) -> None:
        """The next packet of the film's stream."""
        if self._pattern is None or not packet.size:
            return
        if packet.is_keyframe:
            match = self._pattern.search(bytes(memoryview(packet)[:LOOKED_AT_BYTES]))
            if match is not None:
                statement = match[0]
                if statement not in self._known:
                    self._known[statement] = self._shape_of(packet)
                self._now = self._known[statement] or self._now
        if self._now is None:
            return
        for number, (shape, packets) in enumerate(self.shapes):
            if abs(self._now / shape - 1) < SAME_SHAPE:
                self.shapes[number] = (shape, packets + 1)
                return
        self.shapes.append((self._now, 1))

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
