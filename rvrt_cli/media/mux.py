"""Assemble the final file: upscaled video segments plus everything else of the source, by stream copy.

The segments' packets are rewrapped on the fly and piped into the ffmpeg binary as its first input; the source is its
second. Both keep their own timestamps (``-copyts``), so sound and picture stay as far apart as they were.
"""

from __future__ import annotations

import os
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

from rvrt_cli.errors import OutputError, VerifyError
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.ffmpeg import OWN_GROUP, explain_ffmpeg_failure
from rvrt_cli.media.mux_clock import shift_for_early_sound, shift_of
from rvrt_cli.media.mux_command import assembling_command, begins_with_the_sound
from rvrt_cli.media.mux_feed import feed, feed_format_of, raise_if_stopped
from rvrt_cli.media.mux_plan import MuxPlan
from rvrt_cli.media.scratch import scratch_folder
from rvrt_cli.media.segment import SegmentFooter, read_footer
from rvrt_cli.media.source import Source
from rvrt_cli.media.verify import Expected, SideStreamsError, verify_output
from rvrt_cli.system.files import atomic_path, fitting_name, sync_file

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
    dry_run: bool = False,
    stop: threading.Event | None = None,
) -> None:
    """Join ``segments`` in order, add the other streams and replace ``output`` atomically after verifying the result.

    The video's timestamps are the segments'. trimmed: the run covers only part of the film; the output then starts at
    zero with its first frame, and the other streams are cut to the same range. dry_run: the segments are a few frames
    of the film, and of the other streams only the beginning is needed. stop: ends the work when it is set.
    Errors: :class:`OutputError`, :class:`DiskFullError`, :class:`VerifyError`, :class:`InterruptedRun`; ``output`` is
    untouched then. A film that is right but for what goes with it is kept beside ``output``, and the error says where.
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
    if source.kind == "video" and (not trimmed or begins_with_the_sound(source, footers[0], settings)):
        shift += shift_for_early_sound(source, plan, settings.time_base, shift)
    sparse = any(p.kind in ("subtitle", "data") for p in plan.kept) or (plan.chapters and source.chapters)
    brief = dry_run and not sparse
    with atomic_path(output) as temporary:
        timeline = _assemble(
            source, segments, footers, temporary, settings, plan, shift, trimmed, dry_run, brief, stop
        )
        width, height = settings.coded_size
        expected = Expected(
            pts=timeline.pts, time_base=settings.time_base, width=width, height=height, color=settings.color,
            sar=settings.sar, shift_s=float(shift * settings.time_base), trimmed=trimmed, last_duration=timeline.last_duration,
            rotation=source.video.rotation - settings.bake_rotation, flipped=source.video.flipped and not settings.bake_flip,
            dry_run=dry_run, brief=brief,
        )  # fmt: skip
        try:
            verify_output(source, temporary, expected, plan)
        except SideStreamsError as error:
            if dry_run:
                raise
            raise _kept_beside(temporary, output, error) from error


def _kept_beside(film: Path, output: Path, error: SideStreamsError) -> VerifyError:
    """Give ``film`` a free name beside ``output``; the error that says so."""
    names = (
        fitting_name(output.parent, output.stem, f".differs{number}{output.suffix}")
        for number in ("", *range(2, 1000))
    )
    beside = next((path for name in names if not (path := output.with_name(name)).exists()), None)
    if beside is None:
        return error
    sync_file(film)
    os.replace(film, beside)
    return VerifyError(
        f"All frames are there, but the film is not in every way what was promised: {'; '.join(error.problems)}. It is kept as "
        f"{beside}; please report this."
    )


def _assemble(
    source: Source,
    segments: Sequence[Path],
    footers: Sequence[SegmentFooter],
    output: Path,
    settings: EncodeSettings,
    plan: MuxPlan,
    shift: int,
    trimmed: bool,
    dry_run: bool,
    brief: bool,
    stop: threading.Event | None,
) -> Timeline:
    feed_format = feed_format_of(settings)
    with scratch_folder() as folder, tempfile.TemporaryFile() as stderr:
        command = assembling_command(
            source, output, settings, plan, feed_format, footers, shift, trimmed, folder, dry_run, brief
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
