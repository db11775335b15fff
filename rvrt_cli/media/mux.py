"""Assemble the final file: upscaled video segments plus everything else of the source, by stream copy.

The segments' packets are rewrapped on the fly and piped into the ffmpeg binary as its first input; the source is its
second. Both keep their own timestamps (``-copyts``), so sound and picture stay as far apart as they were.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from rvrt_cli.errors import OutputError
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.ffmpeg import OWN_GROUP, explain_ffmpeg_failure
from rvrt_cli.media.mux_clock import shift_of
from rvrt_cli.media.mux_command import assembling_command
from rvrt_cli.media.mux_feed import feed, feed_format_of, raise_if_stopped
from rvrt_cli.media.mux_plan import MuxPlan
from rvrt_cli.media.scratch import scratch_folder
from rvrt_cli.media.segment import SegmentFooter, read_footer
from rvrt_cli.media.source import Source
from rvrt_cli.media.verify import Expected, verify_output
from rvrt_cli.system.files import atomic_path

STOP_CHECKED_S = 0.2


@dataclass(frozen=True, eq=False)
class Timeline:
    """The video's timestamps as they will be in the output. pts: int64, sorted, in time_base units, shift included."""

    pts: np.ndarray
    last_duration: int


def mux(
    source: Source,
    segments: Sequence[Path],
    output: Path,
    settings: EncodeSettings,
    plan: MuxPlan,
    *,
    trimmed: bool = False,
    rehearsal: bool = False,
    stop: threading.Event | None = None,
) -> None:
    """Join ``segments`` in order, add the other streams and replace ``output`` atomically after verifying the result.

    The video's timestamps are the segments'. trimmed: the run covers only part of the film; the output then starts at
    zero with its first frame, and the other streams are cut to the same range. rehearsal: how long the file lasts does
    not matter. stop: ends the work when it is set.
    Errors: :class:`OutputError`, :class:`DiskFullError`, :class:`VerifyError`, :class:`InterruptedRun`; ``output`` is
    untouched then.
    """
    if not segments:
        raise OutputError(f"{output} cannot be written: there are no finished segments.")
    footers = [read_footer(path) for path in segments]
    for before, after in pairwise(footers):
        if after.first_pts <= before.last_pts:
            raise OutputError(
                "The segments overlap in time; delete the work directory and run the same command again."
            )
    shift = shift_of(source, settings.time_base, footers[0].first_pts, trimmed)
    with atomic_path(output) as temporary:
        timeline = _assemble(source, segments, footers, temporary, settings, plan, shift, trimmed, stop)
        width, height = settings.coded_size
        expected = Expected(
            pts=timeline.pts, time_base=settings.time_base, width=width, height=height, color=settings.color,
            sar=settings.sar, shift_s=float(shift * settings.time_base), trimmed=trimmed, last_duration=timeline.last_duration,
            rotation=source.video.rotation - settings.bake_rotation, flipped=source.video.flipped and not settings.bake_flip,
            any_duration=rehearsal,
        )  # fmt: skip
        verify_output(source, temporary, expected, plan)


def _assemble(
    source: Source,
    segments: Sequence[Path],
    footers: Sequence[SegmentFooter],
    output: Path,
    settings: EncodeSettings,
    plan: MuxPlan,
    shift: int,
    trimmed: bool,
    stop: threading.Event | None,
) -> Timeline:
    feed_format = feed_format_of(settings)
    with scratch_folder() as folder, tempfile.TemporaryFile() as stderr:
        command = assembling_command(
            source, output, settings, plan, feed_format, footers, shift, trimmed, folder
        )
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=stderr, stdout=subprocess.DEVNULL, **OWN_GROUP
        )
        assert process.stdin is not None
        broken: Exception | None = None
        pts: list[int] = []
        try:
            try:
                pts = feed(process.stdin, segments, footers, settings, feed_format, shift, stop)
            except (BrokenPipeError, av.error.BrokenPipeError) as error:
                broken = error
            with suppress(OSError):
                process.stdin.close()
            while process.poll() is None:
                raise_if_stopped(stop)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_CHECKED_S)
        except BaseException:
            process.kill()
            with suppress(OSError):
                process.stdin.close()
            process.wait()
            raise
        stderr.seek(0)
        said = stderr.read().decode("utf-8", "replace")
        if process.returncode != 0 or broken is not None:
            raise explain_ffmpeg_failure(said, "assembling the output", process.returncode) from broken
    return Timeline(np.sort(np.array(pts, np.int64)), footers[-1].last_duration)
