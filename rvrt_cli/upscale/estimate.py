"""Measure a few windows and say what a run will do and need, without writing anything that stays."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli.errors import InputError, OutOfMemoryError_, UsageError
from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.media import Frame, SegmentWriter, read_frames
from rvrt_cli.media.images import IMAGE_SUFFIXES
from rvrt_cli.system.memory import MIB
from rvrt_cli.upscale.advice import compression_advice
from rvrt_cli.upscale.batch import is_batch, output_suffix
from rvrt_cli.upscale.chain import engine_reason, make_rungs
from rvrt_cli.upscale.events import Event, OnEvent, counted, ignore_event
from rvrt_cli.upscale.film import open_film
from rvrt_cli.upscale.formatting import format_fps, format_size
from rvrt_cli.upscale.ladder import Ladder
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.prepare import Prepared, prepare
from rvrt_cli.upscale.shots import CutDetector, flag_cuts
from rvrt_cli.upscale.tiles import count_tiles

PLACES = (0.1, 0.5, 0.9)
"""Where in the film windows are measured, as shares of its length."""
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
    for each thing that is measured, ``on_event`` what the out-of-memory ladder does. Errors: as for a run.
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
        return _measure(prepared, say, on_event)
    finally:
        prepared.restorer.close()


def _measure(prepared: Prepared, say: Callable[[str], None], on_event: OnEvent) -> Estimate:
    source, options = prepared.source, prepared.options
    video = source.video
    frames_total = prepared.film.frames_total
    duration = video.duration_s or source.duration_s
    places = [0.0] if not duration or source.kind == "images" else [duration * share for share in PLACES]
    decode_s = model_s = encode_s = 0.0
    decoded = modelled = encoded = 0
    encoded_bytes = 0
    warm = False
    ladder = Ladder(
        make_rungs(options, prepared.restorer, brought=prepared.brought),
        prepared.window,
        options.shared_frames,
        prepared.tile,
        on_event,
    )
    for number, at_s in enumerate(places, start=1):
        say(f"Measuring window {number} of {len(places)} ...")
        before = time.perf_counter()
        frames = _window_at(prepared, at_s)
        decode_s += time.perf_counter() - before
        decoded += len(frames)
        if not frames:
            if not modelled and number == len(places) and at_s:
                # A film of one frame, or a container that is far longer than its film: the beginning is always there.
                places.append(0.0)
            continue
        lq = np.clip(np.stack([frame.rgb for frame in frames]), 0, 1)
        if not warm:
            # The first call compiles and allocates; a run pays that once, so it is not measured.
            _run(ladder, lq)
            warm = True
        frames, lq = frames[: ladder.window], lq[: ladder.window]
        before = time.perf_counter()
        pictures = _run(ladder, lq)
        frames = frames[: len(pictures)]
        model_s += time.perf_counter() - before
        modelled += len(frames)
        before = time.perf_counter()
        encoded_bytes += _encode(prepared, frames, pictures)
        encode_s += time.perf_counter() - before
        encoded += len(frames)
    if not modelled:
        raise InputError(f"{source.path} gave no frame to measure; it may be damaged.")
    prepared = replace(prepared, window=ladder.window, tile=ladder.tile, restorer=ladder.restorer)
    say("Counting shots ...")
    shots, scanned, exact = _count_shots(prepared)
    if frames_total is None and exact:
        frames_total = scanned
    if not exact and frames_total:
        shots = max(shots, round(shots * frames_total / scanned))
    step = prepared.window - options.shared_frames
    windows = (
        None
        if frames_total is None
        else shots + max(0, math.ceil((frames_total - shots * prepared.window) / step))
    )
    # Overlapped frames are computed twice.
    model_frames = (
        1.0
        if not frames_total or windows is None
        else max(1.0, min(windows * prepared.window, 2 * frames_total) / frames_total)
    )
    per_model, per_decode, per_encode = (
        model_s / modelled * model_frames,
        decode_s / decoded,
        encode_s / encoded,
    )
    # On a CPU the three stages share the cores; beside an accelerator they run at the same time.
    per_frame = (
        per_model + per_decode + per_encode
        if "cpu" in prepared.restorer.engine.lower()
        else max(per_model, per_decode, per_encode)
    )
    height, width = prepared.picture_size
    settings = prepared.settings
    output_bytes = None if frames_total is None else round(encoded_bytes / encoded * frames_total)
    # Segments and the joined file exist at the same time.
    free, warnings = free_bytes(prepared), prepared.warnings
    if output_bytes is not None and free is not None and 2 * output_bytes > free:
        warnings = (
            *warnings,
            f"The disk has {free / 1e9:.1f} GB free, less than the {2 * output_bytes / 1e9:.1f} GB that the run needs.",
        )
    return Estimate(
        input=str(source.path),
        output=str(prepared.output),
        format=source.format,
        codec=video.codec,
        pix_fmt=video.pix_fmt,
        frames=frames_total,
        fps=float(video.average_rate) if video.average_rate else None,
        width=video.width,
        height=video.height,
        output_width=width,
        output_height=height,
        output_encoder=settings.encoder if settings else "png",
        output_pix_fmt=settings.pix_fmt if settings else "rgb",
        model=prepared.restorer.name,
        engine=prepared.restorer.engine,
        window=prepared.window,
        overlap=options.shared_frames,
        windows=windows,
        tiles=str(prepared.tile),
        tiles_per_window=count_tiles(video.height, video.width, prepared.tile),
        shots=shots,
        shots_exact=exact,
        segment_frames=prepared.segment_frames,
        model_s_per_frame=per_model,
        decode_s_per_frame=per_decode,
        encode_s_per_frame=per_encode,
        expected_fps=1 / per_frame,
        expected_s=None if frames_total is None else per_frame * frames_total,
        memory_bytes=prepared.work.peak_bytes,
        memory_limit_bytes=prepared.work.limit_bytes,
        output_bytes=output_bytes,
        warnings=warnings,
        free_bytes=free,
        reason=engine_reason(prepared.restorer),
        advice=compression_advice(source, prepared.restorer.name),
    )


def _run(ladder: Ladder, lq: np.ndarray) -> np.ndarray:
    """The pictures of a window, or of its first frames where memory is too short for all of them."""
    while True:
        try:
            return ladder.run(lq[: ladder.window])
        except (OutOfMemoryError_, MemoryError) as error:
            if not ladder.step_down(*lq.shape[1:3]):
                raise OutOfMemoryError_(
                    f"memory ran out even with {ladder.tile} and windows of {ladder.window} frames; close other programs, use "
                    "a machine with more memory, or upscale a smaller video."
                ) from error


def free_bytes(prepared: Prepared) -> int | None:
    """Free space where the output will be; None where there is no such folder, or the output is a stream."""
    if prepared.output == "-":
        return None
    for folder in Path(prepared.output).resolve().parents:
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return None


def _window_at(prepared: Prepared, at_s: float) -> list[Frame]:
    try:
        with read_frames(
            prepared.source,
            start_s=at_s or None,
            max_frames=prepared.window,
            deinterlace=prepared.options.deinterlace,
            threads=prepared.options.threads,
        ) as reader:
            return list(reader)
    except InputError:
        # A place after the last frame, where the container's duration is too long: the other places count.
        if at_s == 0:
            raise
        return []


def _encode(prepared: Prepared, frames: list[Frame], pictures: np.ndarray) -> int:
    """Finish and encode a window as the run would; return the bytes it took."""
    finished: list[tuple[Frame, np.ndarray, Any]] = [
        (
            frame,
            prepared.finish.picture(frame.rgb, sr),
            prepared.finish.alpha(frame.alpha) if frame.alpha is not None else None,
        )
        for frame, sr in zip(frames, pictures, strict=True)
    ]
    if prepared.settings is None or prepared.kind != "video":
        return sum(picture.size for _, picture, _ in finished) // 2
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(Path(folder) / "measure.mkv", prepared.settings)
        with writer:
            for frame, picture, alpha in finished:
                writer.write(
                    picture, frame.pts, frame.duration, alpha if prepared.settings.has_alpha else None
                )
            return writer.close().size_bytes


def _count_shots(prepared: Prepared) -> tuple[int, int, bool]:
    """(shots, frames looked at, whether that was the whole run)."""
    shots = frames = 0
    film = open_film(prepared.source, prepared.options)
    with film.decode(0) as stream:
        for index, (_, starts_shot) in enumerate(flag_cuts(stream, CutDetector(forced=film.forced_cuts))):
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
        f"Work     {about}{counted(estimate.shots, 'shot')}{windows} of {estimate.window} frames ({estimate.overlap} shared), {estimate.tiles}{tiles}, "
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
