"""One frame of a film as an image, restored with its neighbours."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from rvrt_cli.errors import InputError, OutputError, UsageError
from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.media import Frame, read_frames
from rvrt_cli.media.images import is_pattern, write_png
from rvrt_cli.system.files import explained_writing
from rvrt_cli.system.memory import peak_rss_mib
from rvrt_cli.upscale.chain import engine_reason, load_chain, make_rungs
from rvrt_cli.upscale.checks import open_source, refuse_encoding, refuse_work
from rvrt_cli.upscale.events import OnEvent, Report, Started, ignore_event
from rvrt_cli.upscale.finish import Finish
from rvrt_cli.upscale.job import PipelineSettings
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.pipeline import run_pipeline
from rvrt_cli.upscale.plan import plan_work
from rvrt_cli.upscale.prepare import wanted_size
from rvrt_cli.upscale.shots import LOOKBACK, CutDetector, flag_cuts
from rvrt_cli.upscale.sinks import CallbackSink, image_bit_depth
from rvrt_cli.upscale.target import NUMBER, PictureNames, check_target


def upscale_frame(
    input_path: Path | str,
    output: Path | str,
    at_s: float,
    options: UpscaleOptions,
    restorer: Restorer | None = None,
    on_event: OnEvent = ignore_event,
) -> Report:
    """Restore the frame shown ``at_s`` seconds after the film's start and write it to the PNG ``output``.

    The model sees one window around it, inside its shot. Errors: :class:`InputError` when the film ends before.
    """
    options.check()
    began = time.perf_counter()
    output = Path(output)
    with explained_writing(output):
        _check(input_path, output, at_s, options)
    source = open_source(input_path, options)
    names = PictureNames(output.parent, output.name)
    with explained_writing(output):
        check_target(output, source, "images", names, overwrite=options.overwrite)
    bit_depth = image_bit_depth(source, options.pix_fmt)
    brought = restorer is not None
    restorer = restorer or load_chain(options)
    video = source.video
    try:
        height, width = wanted_size(options, video, restorer.scale, even=False)
        finish = Finish(
            height,
            width,
            options.strength,
            options.compare,
            label=restorer.name,
            rotation=video.rotation,
            flipped=video.flipped,
        )
        work = plan_work(options, restorer, video.height, video.width)
        window = work.window

        def shown_at(frame: Frame) -> float:
            return float(frame.pts * video.time_base) - source.start_s

        rate = float(video.average_rate or 25)
        start_s = max(0.0, at_s - (window // 2 + LOOKBACK) / rate)
        shot: deque[Frame] = deque()
        position = None
        with read_frames(source, start_s=start_s, deinterlace=options.deinterlace) as frames:
            for frame, starts_shot in flag_cuts(frames, CutDetector()):
                if position is not None and (starts_shot or len(shot) >= position + window - window // 2):
                    break
                if starts_shot:
                    shot.clear()
                shot.append(frame)
                if position is None and shown_at(frame) <= at_s + 1e-6:
                    continue
                if position is None:
                    # This frame comes after the one asked for, which is the one before it, or the first of all.
                    if len(shot) == 1 and starts_shot:
                        break
                    position = max(0, len(shot) - 2)
        if position is None:
            last = shown_at(shot[-1]) if shot else -1.0
            end = last + (
                float(shot[-1].duration * video.time_base) if shot and shot[-1].duration else 1 / rate
            )
            if not shot or at_s > end + 1e-6:
                raise InputError(f"{source.path} ends before {at_s:g} s; give --frame an earlier time.")
            position = len(shot) - 1
        first = max(0, min(position - window // 2, len(shot) - window))
        chosen = [shot[i] for i in range(first, min(len(shot), first + window))]
        target = chosen[position - first]
        made: list[tuple[np.ndarray, np.ndarray | None]] = []

        def take(frame: Frame, picture: np.ndarray, alpha: np.ndarray | None) -> None:
            if frame.index == position - first:
                made.append((picture, alpha))

        @contextmanager
        def decode(skip: int) -> Iterator[Iterator[Frame]]:
            yield (replace(frame, index=i) for i, frame in enumerate(chosen) if i >= skip)

        on_event(
            Started(
                input=str(source.path),
                output=str(output),
                frames_total=1,
                frames_done=0,
                width=video.width,
                height=video.height,
                output_width=finish.output_size[1],
                output_height=finish.output_size[0],
                model=restorer.name,
                engine=restorer.engine,
                window=len(chosen),
                overlap=0,
                tiles=str(work.tile),
                segment_frames=1,
                reason=engine_reason(restorer),
                memory_bytes=work.peak_bytes,
                memory_limit_bytes=work.limit_bytes,
            )
        )
        # A run of one window: the ladder, the check for NaN and the progress are those of any run.
        result = run_pipeline(
            PipelineSettings(
                decode=decode,
                rungs=make_rungs(options, restorer, brought=brought),
                finish=finish,
                window=window,
                overlap=options.shared_frames,
                tile=work.tile,
                segment_frames=len(chosen),
                frames_total=len(chosen),
                detect_shots=False,
            ),
            CallbackSink(take),
            on_event,
        )
        write_png(output, *made[0], bit_depth, source.video.icc_profile)
        elapsed = time.perf_counter() - began
        return Report(
            input=str(source.path),
            output=str(output),
            frames=1,
            frames_resumed=0,
            shots=1,
            corrupt_frames=int(target.corrupt),
            width=video.width,
            height=video.height,
            output_width=finish.output_size[1],
            output_height=finish.output_size[0],
            model=result.model,
            engine=result.engine,
            window=len(chosen),
            overlap=0,
            tiles=str(result.tile),
            elapsed_s=elapsed,
            fps=1 / elapsed,
            stages={},
            model_busy=0.0,
            peak_rss_mib=peak_rss_mib(),
            output_bytes=output.stat().st_size,
            verified=False,
            notes=source.notes,
        )
    finally:
        restorer.close()


def _check(input_path: Path | str, output: Path, at_s: float, options: UpscaleOptions) -> None:
    """Refuse, before anything is read, what cannot work or would be ignored."""
    if str(input_path) == "-":
        raise UsageError("--frame needs a file to seek in; it cannot read standard input.")
    if at_s < 0:
        raise UsageError(f"--frame must be at least 0 seconds; got {at_s:g}.")
    if str(output) == "-":
        raise OutputError("--frame writes one PNG file; name the output like frame.png.")
    if output.suffix.lower() != ".png" or (is_pattern(output) and NUMBER.search(output.name)):
        name = NUMBER.sub("", output.with_suffix(".png").name)
        raise OutputError(f"--frame writes one PNG image; name the output like {name}.")
    if output.exists() and not options.overwrite:
        raise OutputError(f"{output} exists; choose another name or add --overwrite.")
    refuse_encoding(options, "--frame, which writes a PNG image")
    refuse_work(options, "--frame")
