"""A whole pass through the media layer with nearest-neighbour scaling as the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_helpers import Passed, scaled

from rvrt_cli.media import (
    EncodeOptions,
    SegmentWriter,
    Source,
    dry_run_output,
    mux,
    plan_mux,
    probe,
    read_frames,
    resolve_encoding,
)


@pytest.fixture
def run_through(tmp_path: Path) -> Callable[..., Passed]:
    """Read a file, scale it, write segments, mux, verify: what ``rvrt upscale`` does, without a model."""

    def run(
        path: Path,
        output: str,
        *,
        factor: float = 4,
        per_segment: int = 40,
        options: EncodeOptions = EncodeOptions(),
        source: Source | None = None,
        **read: Any,
    ) -> Passed:
        source = source or probe(path)
        height, width = scaled(np.empty((source.video.height, source.video.width)), factor).shape
        target = tmp_path / output
        settings = resolve_encoding(source, options, target, width, height)
        trimmed = any(value is not None for value in read.values())
        start_s, end_s = read.get("start_s"), read.get("end_s")
        plan = plan_mux(source, settings, trimmed=trimmed, start_s=start_s, end_s=end_s)
        plan = dry_run_output(source, settings, plan, trimmed=trimmed, start_s=start_s)
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
                writer.write(
                    scaled(frame.rgb, factor), frame.pts, frame.duration, scaled(frame.alpha, factor)
                )
                pts.append(frame.pts)
        assert writer is not None
        writer.close()
        mux(source, segments, target, settings, plan, trimmed=trimmed)
        leftovers = [p for p in tmp_path.iterdir() if ".part" in p.name]
        assert not leftovers
        return Passed(
            source,
            settings,
            plan,
            target,
            pts,
            frames.corrupt_frames,
            frames.resized_frames,
            frames.repaired_timestamps,
            frames.notes,
        )

    return run
