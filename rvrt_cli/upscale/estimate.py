"""Measure a few windows and say what a run will do and need, without writing anything that stays."""

from __future__ import annotations

import math
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rvrt_cli.errors import InputError, UsageError
from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.inference.tiles import count_tiles
from rvrt_cli.system.memory import MIB
from rvrt_cli.system.suffixes import IMAGE_SUFFIXES
from rvrt_cli.upscale.advice import compression_advice
from rvrt_cli.upscale.batch import is_batch, output_suffix
from rvrt_cli.upscale.events import Event, MemoryReduced, OnEvent, counted, ignore_event
from rvrt_cli.upscale.formatting import format_fps, format_size
from rvrt_cli.upscale.frame_source import open_frame_source
from rvrt_cli.upscale.oom_fallback import OomFallback
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.planner import detector_for
from rvrt_cli.upscale.prepare import Prepared, prepare
from rvrt_cli.upscale.render import FinishedFile, SegmentFile
from rvrt_cli.upscale.run import render_stretches
from rvrt_cli.upscale.segments import PlannerState, Segment
from rvrt_cli.upscale.sequential import engine_reason
from rvrt_cli.upscale.shots import flag_cuts
from rvrt_cli.upscale.writers import PictureTaker, VideoFile

PLACES = (0.1, 0.5, 0.9)
"""Where in the film windows are measured, as shares of its length."""
MEASURED_FRAMES = 12
"""Rendered at each place."""
SHOT_SCAN_FRAMES = 1500
"""Shots are counted exactly in films of at most this many frames; of longer ones this many are looked at."""


@dataclass(frozen=True)
class Estimate(Event):
    """The plan of a run and what it will need. Times in seconds, sizes in bytes; None where nothing is known.

    ``shots`` is exact when ``shots_exact``, otherwise what the first ``SHOT_SCAN_FRAMES`` frames suggest. ``free_bytes``:
    on the disk of the output. ``reason``: why this engine was chosen. ``advice``: which shipped network suits the film better.
    """

    input: str
    output: str
    format: str
    codec: str
    pix_fmt: str
    frames: int | None
    fps: float | None
    width: int
    height: int
    output_width: int
    output_height: int
    output_encoder: str
    output_pix_fmt: str
    model: str
    engine: str
    window: int
    overlap: int
    windows: int | None
    tiles: str
    tiles_per_window: int
    shots: int
    shots_exact: bool
    segment_frames: int
    model_s_per_frame: float
    decode_s_per_frame: float
    encode_s_per_frame: float
    expected_fps: float
    expected_s: float | None
    memory_bytes: int
    memory_limit_bytes: int
    output_bytes: int | None
    warnings: tuple[str, ...]
    free_bytes: int | None = None
    reason: str = ""
    advice: str = ""


def estimate_run(
    input_path: str,
    output: str | None,
    options: UpscaleOptions,
    restorer: Restorer | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
    on_event: OnEvent = ignore_event,
) -> Estimate:
    """Plan a run of ``input_path`` and measure up to three windows of it.

    Without ``output`` a file of the input's own format is assumed; one that exists is no hindrance. ``say`` gets a line
    for each thing that is measured, ``on_event`` what happens where memory runs out. Errors: as for a run.
    """
    if input_path == "-" or is_batch(input_path):
        raise UsageError(
            "--estimate measures one video; give it a file instead of standard input or a folder of videos."
        )
    source_path = Path(input_path)
    given = output is not None
    if output is None:
        suffix = ".mp4"
        if source_path.is_file() and source_path.suffix.lower() not in IMAGE_SUFFIXES:
            suffix = output_suffix(source_path, options.container)
        output = str(source_path.with_name(f"{source_path.stem.replace('%', '')}-x4{suffix}"))
    prepared = prepare(input_path, output, replace(options, overwrite=True), restorer, check_place=given)
    try:
        return _estimate(prepared, say, on_event)
    finally:
        if not prepared.external:
            prepared.restorer.close()


@dataclass
class _Measured:
    """Sums over the places that were measured; ``frames`` of them in all."""

    frames: int = 0
    decode_s: float = 0.0
    model_s: float = 0.0
    encode_s: float = 0.0
    encoded_bytes: int = 0


def _estimate(prepared: Prepared, say: Callable[[str], None], on_event: OnEvent) -> Estimate:
    source, options = prepared.source, prepared.options
    fallback = prepared.fallback()
    try:
        measured = _measure(prepared, fallback, say, on_event)
    finally:
        fallback.close()
    level = fallback.level
    prepared = replace(prepared, level=level, restorer=fallback.restorer)
    say("Counting shots ...")
    shots, scanned, exact = _count_shots(prepared)
    frames = prepared.film.frames_total
    if frames is None and exact:
        frames = scanned
    if not exact and frames:
        shots = max(shots, round(shots * frames / scanned))
    windows = None if frames is None else max(shots, math.ceil(frames / level.window))
    per_decode, per_model, per_encode = (
        seconds / measured.frames for seconds in (measured.decode_s, measured.model_s, measured.encode_s)
    )
    # On a CPU the three stages share the cores; beside an accelerator they run at the same time.
    per_frame = (
        per_model + per_decode + per_encode
        if prepared.restorer.device == "cpu"
        else max(per_model, per_decode, per_encode)
    )
    height, width = prepared.picture_size
    settings, video = prepared.settings, source.video
    output_bytes = None if frames is None else round(measured.encoded_bytes / measured.frames * frames)
    free = free_bytes(prepared)
    return Estimate(
        input=str(source.path),
        output=str(prepared.output),
        format=source.format,
        codec=video.codec,
        pix_fmt=video.pix_fmt,
        frames=frames,
        fps=float(video.average_rate) if video.average_rate else None,
        width=video.width,
        height=video.height,
        output_width=width,
        output_height=height,
        output_encoder=settings.encoder if settings else "png",
        output_pix_fmt=settings.pix_fmt if settings else "rgb",
        model=prepared.restorer.name,
        engine=prepared.restorer.engine,
        window=level.window,
        overlap=options.context_frames,
        windows=windows,
        tiles=str(level.tile),
        tiles_per_window=count_tiles(video.height, video.width, level.tile),
        shots=shots,
        shots_exact=exact,
        segment_frames=prepared.segment_frames,
        model_s_per_frame=per_model,
        decode_s_per_frame=per_decode,
        encode_s_per_frame=per_encode,
        expected_fps=1 / per_frame,
        expected_s=None if frames is None else per_frame * frames,
        memory_bytes=prepared.work.peak_bytes,
        memory_limit_bytes=prepared.work.limit_bytes,
        output_bytes=output_bytes,
        warnings=(*prepared.warnings, *_disk_warning(output_bytes, free)),
        free_bytes=free,
        reason=engine_reason(prepared.restorer),
        advice=compression_advice(source, prepared.restorer.name),
    )


def _measure(
    prepared: Prepared, fallback: OomFallback, say: Callable[[str], None], on_event: OnEvent
) -> _Measured:
    """Render a few frames at each place, as a run does. Errors: :class:`InputError` where there is none anywhere."""
    source = prepared.source
    duration = source.video.duration_s or source.duration_s
    places = [0.0] if not duration or source.kind == "images" else [duration * share for share in PLACES]
    measured, warm = _Measured(), False
    for number, at_s in enumerate(places, start=1):
        say(f"Measuring window {number} of {len(places)} ...")
        if not warm:
            # The first pictures wait for the compilation; a run pays that once, so it is not measured.
            warm = _render_at(prepared, fallback, at_s, _Measured(), on_event)
        found = _render_at(prepared, fallback, at_s, measured, on_event)
        if not found and not measured.frames and number == len(places) and at_s:
            # A film of one frame, or a container that is far longer than its film: the beginning is always there.
            places.append(0.0)
    if not measured.frames:
        raise InputError(f"{source.path} gave no frame to measure; it may be damaged.")
    return measured


def _render_at(
    prepared: Prepared, fallback: OomFallback, at_s: float, measured: _Measured, on_event: OnEvent
) -> bool:
    """Render the frames from ``at_s`` on and add what that took to ``measured``; False where there are none."""
    options = replace(
        prepared.options, start_s=at_s or None, end_s=None, preview=None, frames=MEASURED_FRAMES
    )
    short = replace(
        prepared, film=open_frame_source(prepared.source, options), segment_frames=MEASURED_FRAMES
    )
    sizes: list[int] = []

    def tell(event: Event) -> None:
        if isinstance(event, MemoryReduced):
            on_event(event)

    with tempfile.TemporaryDirectory() as folder:

        def open_file(index: int) -> SegmentFile:
            if prepared.settings is None or prepared.kind != "video":
                return PictureTaker(lambda _frame, picture, _alpha: sizes.append(picture.size // 2))
            return VideoFile(Path(folder), index, prepared.settings)

        def finished(_segment: Segment, file: FinishedFile, _after: PlannerState) -> None:
            if file.name:
                sizes.append((Path(folder) / file.name).stat().st_size)

        try:
            result = render_stretches(short, fallback, open_file, finished, tell, threading.Event())
        except InputError:
            # A place after the last frame, where the container's duration is too long: the other places count.
            if at_s == 0:
                raise
            return False
    measured.frames += result.frames
    measured.decode_s += result.times.decode_s
    measured.model_s += result.times.model_s
    measured.encode_s += result.times.encode_s
    measured.encoded_bytes += sum(sizes)
    return result.frames > 0


def _disk_warning(output_bytes: int | None, free: int | None) -> tuple[str, ...]:
    # Segments and the joined file exist at the same time.
    if output_bytes is None or free is None or 2 * output_bytes <= free:
        return ()
    return (
        f"The disk has {free / 1e9:.1f} GB free, less than the {2 * output_bytes / 1e9:.1f} GB that the run needs.",
    )


def free_bytes(prepared: Prepared) -> int | None:
    """Free space where the output will be; None where there is no such folder, or the output is a stream."""
    if prepared.output == "-":
        return None
    for folder in Path(prepared.output).resolve().parents:
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return None


def _count_shots(prepared: Prepared) -> tuple[int, int, bool]:
    """(shots, frames looked at, whether that was the whole run)."""
    shots = frames = 0
    film, state = prepared.film, PlannerState()
    with film.open(state, lambda _: None) as stream:
        flagged = flag_cuts(stream, detector_for(state, film.forced_cuts))
        for index, (_, starts_shot) in enumerate(flagged):
            if index >= SHOT_SCAN_FRAMES:
                return shots, frames, False
            shots += starts_shot or index == 0
            frames += 1
    return shots, frames, True


def _format_name(estimate: Estimate) -> str:
    """The container in one word: of FFmpeg's names for it (``mov,mp4,m4a,3gp``) the one that the file bears."""
    names = estimate.format.split(",")
    suffix = Path(estimate.input).suffix.lower().lstrip(".")
    return suffix if suffix in names else names[0]


def describe_estimate(estimate: Estimate) -> list[str]:
    """The plan in words, one fact a line."""
    fps = f"{estimate.fps:.3f}".rstrip("0").rstrip(".") + " fps" if estimate.fps else "unknown rate"
    frames = counted(estimate.frames, "frame") if estimate.frames is not None else "unknown length"
    about = "" if estimate.shots_exact else "about "
    windows = f", {about}{counted(estimate.windows, 'window')}" if estimate.windows is not None else ""
    tiles = f" ({estimate.tiles_per_window} a window)" if estimate.tiles_per_window > 1 else ""
    lines = [
        f"Input    {estimate.input}: {_format_name(estimate)}, {estimate.codec} {estimate.pix_fmt}, {estimate.width}x{estimate.height}, {frames}, {fps}",
        f"Output   {estimate.output}: {estimate.output_encoder} {estimate.output_pix_fmt}, {estimate.output_width}x{estimate.output_height}",
        f"Model    {estimate.model}",
        f"Engine   {estimate.engine}" + (f": {estimate.reason}" if estimate.reason else ""),
        f"Work     {about}{counted(estimate.shots, 'shot')}{windows} of {estimate.window} frames ({estimate.overlap} of context), {estimate.tiles}{tiles}, "
        f"segments of {estimate.segment_frames} frames",
        f"Measured model {estimate.model_s_per_frame:.3f} s, decode {estimate.decode_s_per_frame:.3f} s, encode {estimate.encode_s_per_frame:.3f} s a frame",
    ]
    if estimate.expected_s is not None:
        hours, rest = divmod(round(estimate.expected_s), 3600)
        lines.append(
            f"Time     about {hours}:{rest // 60:02}:{rest % 60:02} ({format_fps(estimate.expected_fps)} fps)"
        )
    else:
        lines.append(f"Speed    about {format_fps(estimate.expected_fps)} fps")
    lines.append(
        f"Memory   about {estimate.memory_bytes // MIB} MiB (limit {estimate.memory_limit_bytes // MIB} MiB)"
    )
    if estimate.output_bytes is not None:
        free = f" ({format_size(estimate.free_bytes)} free)" if estimate.free_bytes is not None else ""
        lines.append(
            f"Disk     about {format_size(estimate.output_bytes)}, and as much again while the segments are joined{free}"
        )
    if estimate.advice:
        lines.append(f"Advice   {estimate.advice}")
    return [*lines, *(f"Warning  {warning}" for warning in estimate.warnings)]
