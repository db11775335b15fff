"""A whole pass through the media layer with nearest-neighbour scaling as the model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from rvrt_cli.media import (
    EncodeOptions,
    EncodeSettings,
    MuxPlan,
    SegmentWriter,
    Source,
    mux,
    plan_mux,
    probe,
    read_frames,
    resolve_encoding,
)


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


@pytest.fixture
def run_through(tmp_path: Path) -> Callable[..., Passed]:
    """Read a file, scale it, write segments, mux, verify: what ``rvrt upscale`` does, without a model."""

    def run(
        path: Path,
        output: str,
        *,
        factor: float = 4,
        per_segment: int = 40,
        options: EncodeOptions = EncodeOptions(),  # noqa: B008
        source: Source | None = None,
        **read: Any,
    ) -> Passed:
        source = source or probe(path)
        height, width = scaled(np.empty((source.video.height, source.video.width)), factor).shape  # type: ignore[union-attr]
        target = tmp_path / output
        settings = resolve_encoding(source, options, target, width, height)
        trimmed = any(value is not None for value in read.values())
        plan = plan_mux(source, settings, trimmed=trimmed)
        segments: list[Path] = []
        pts: list[int] = []
        writer = None
        with read_frames(source, **read) as frames:
            for frame in frames:
                if len(pts) % per_segment == 0:
                    if writer is not None:
                        writer.close()
                    segments.append(tmp_path / f"segment{len(segments)}.mkv")
                    writer = SegmentWriter(segments[-1], settings)
                assert writer is not None
                writer.write(scaled(frame.rgb, factor), frame.pts, frame.duration, scaled(frame.alpha, factor))
                pts.append(frame.pts)
        assert writer is not None
        writer.close()
        mux(source, segments, target, settings, plan, trimmed=trimmed)
        leftovers = [p for p in tmp_path.iterdir() if ".part" in p.name]
        assert not leftovers
        return Passed(
            source, settings, plan, target, pts, frames.corrupt_frames, frames.resized_frames, frames.repaired_timestamps, frames.notes
        )

    return run


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
            Track(s.type, s.codec_context.codec.canonical_name if s.codec_context else "none", sorted(t), d.hexdigest(), n)
            for s, t, d, n in found.values()
        ]
