"""What a run says of itself: what it is going to do, and what came of it."""

from __future__ import annotations

import time

from rvrt_cli.system.memory import peak_rss_mib
from rvrt_cli.upscale.events import Report, Started
from rvrt_cli.upscale.executors import RenderResult
from rvrt_cli.upscale.prepare import Prepared
from rvrt_cli.upscale.sequential import engine_reason


def started_event(prepared: Prepared, done: int) -> Started:
    """The event of a run that begins with ``done`` frames of an earlier one."""
    height, width = prepared.picture_size
    return Started(
        input=str(prepared.source.path),
        output=str(prepared.output),
        frames_total=prepared.film.frames_total,
        frames_done=done,
        width=prepared.source.video.width,
        height=prepared.source.video.height,
        output_width=width,
        output_height=height,
        model=prepared.restorer.name,
        engine=prepared.restorer.engine,
        window=prepared.level.window,
        overlap=prepared.options.context_frames,
        tiles=str(prepared.level.tile),
        segment_frames=prepared.segment_frames,
        reason=engine_reason(prepared.restorer),
        memory_bytes=prepared.work.peak_bytes,
        memory_limit_bytes=prepared.work.limit_bytes,
        can_continue=prepared.can_continue,
    )


def final_report(
    prepared: Prepared,
    result: RenderResult,
    began: float,
    *,
    frames: int,
    resumed: int,
    shots: int,
    corrupt: int,
    size: int | None = None,
    verified: bool = False,
) -> Report:
    """The report of a run that began at ``began`` (``time.perf_counter``); ``frames`` includes the ``resumed`` ones."""
    elapsed = time.perf_counter() - began
    level = result.level or prepared.level
    height, width = prepared.picture_size
    return Report(
        input=str(prepared.source.path),
        output=str(prepared.output),
        frames=frames,
        frames_resumed=resumed,
        shots=shots,
        corrupt_frames=corrupt,
        width=prepared.source.video.width,
        height=prepared.source.video.height,
        output_width=width,
        output_height=height,
        model=result.model,
        engine=result.engine,
        window=level.window,
        overlap=prepared.options.context_frames,
        tiles=str(level.tile),
        elapsed_s=elapsed,
        fps=(frames - resumed) / max(elapsed - result.skipped_s, 1e-6),
        stages=result.times.shares(result.elapsed_s),
        model_busy=result.model_busy,
        peak_rss_mib=peak_rss_mib(),
        output_bytes=size,
        verified=verified,
        notes=prepared.film.notes(),
        skipped_s=result.skipped_s,
    )
