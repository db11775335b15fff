"""Helpers for the tests of the media layer: scaling, an independent look at packets, a made-up source."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from rvrt_cli.media import ColorTags, EncodeSettings, MuxPlan, Source, VideoStream


@dataclass(frozen=True)
class Passed:
    """What a pass did. pts: of the frames read, in source.video.time_base units."""

    source: Source
    settings: EncodeSettings
    plan: MuxPlan
    output: Path
    pts: list[int]
    corrupt: int
    resized: int
    repaired: int
    notes: tuple[str, ...]


def scaled(picture: np.ndarray | None, factor: float) -> np.ndarray | None:
    """Nearest-neighbour: factor 4 repeats every pixel 4x4 times, factor 0.125 keeps every 8th."""
    if picture is None or factor == 1:
        return picture
    if factor < 1:
        step = round(1 / factor)
        return np.ascontiguousarray(picture[::step, ::step])
    return picture.repeat(int(factor), 0).repeat(int(factor), 1)


@dataclass
class Track:
    """Packets of one stream as a demuxer gives them. times_s: of the packets, sorted; digest: sha256 of their bytes."""

    kind: str
    codec: str
    times_s: list[float]
    digest: str
    packets: int


def tracks(path: Path) -> list[Track]:
    """Independent look at a file: every stream's packets, hashed."""
    found: dict[int, tuple[Any, list[float], Any, int]] = {}
    with av.open(str(path), metadata_errors="replace") as container:
        for stream in container.streams:
            found[stream.index] = (stream, [], hashlib.sha256(), 0)
        for packet in container.demux():
            if packet.size:
                stream, times, digest, count = found[packet.stream_index]
                if packet.pts is not None:
                    times.append(float(packet.pts * packet.time_base))
                digest.update(bytes(packet))
                found[packet.stream_index] = (stream, times, digest, count + 1)
        return [
            Track(
                s.type,
                s.codec_context.codec.canonical_name if s.codec_context else "none",
                sorted(t),
                d.hexdigest(),
                n,
            )
            for s, t, d, n in found.values()
        ]


def made_up_source(**changes: object) -> Source:
    """A 64x48 H.264-like source; ``changes`` to its VideoStream."""
    video = VideoStream(
        index=0, codec="h264", width=64, height=48, sar=Fraction(1), rotation=0, flipped=False, pix_fmt="yuv420p", bit_depth=8,
        has_alpha=False, chroma="420", color=ColorTags(1, 1, 1, 1, "left"), effective_color=ColorTags(1, 1, 1, 1, "left"), hdr=None,
        average_rate=Fraction(25), time_base=Fraction(1, 12800), interlaced=False, frame_count_hint=None, start_pts=0, duration_s=1.0,
    )  # fmt: skip
    return Source(
        "video", Path("in.mp4"), "mov,mp4,m4a,3gp,3g2,mj2", 1, 1.0, 0.0, (), (), (), replace(video, **changes)
    )
