"""One frame of a film as an image: a run over a plan of one picture, with a few neighbours as context."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from rvrt_cli.errors import InputError, OutputError, UsageError
from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.media import EmptyRange, Frame, read_frames
from rvrt_cli.media.images import is_pattern, write_png
from rvrt_cli.system.files import translate_write_errors
from rvrt_cli.upscale.checks import refuse_encoding, refuse_work
from rvrt_cli.upscale.events import OnEvent, Report, ignore_event
from rvrt_cli.upscale.executors import Stretch
from rvrt_cli.upscale.finish import upright
from rvrt_cli.upscale.frame_source import frames_in_memory
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.output_path import NUMBER
from rvrt_cli.upscale.prepare import Prepared, prepare
from rvrt_cli.upscale.report import final_report, started_event
from rvrt_cli.upscale.run import render_stretches
from rvrt_cli.upscale.segments import PlannerState
from rvrt_cli.upscale.shots import LOOKBACK, CutDetector, flag_cuts
from rvrt_cli.upscale.writers import PictureTaker, image_bit_depth

CONTEXT = 4
"""Frames on each side that the model sees besides (one more where that keeps the pairs)."""
WINDOW = 2 * CONTEXT + 2


def upscale_frame(
    input_path: Path | str,
    output: Path | str,
    at_s: float,
    options: UpscaleOptions,
    restorer: Restorer | None = None,
    on_event: OnEvent = ignore_event,
) -> Report:
    """Restore the frame shown ``at_s`` seconds after the film's start and write it to the PNG ``output``.

    The model sees the frames next to it, inside its shot. Errors: :class:`InputError` when the film ends before.
    """
    options.check()
    began, output = time.perf_counter(), Path(output)
    with translate_write_errors(output):
        _check(input_path, output, at_s, options)
    overlap = CONTEXT if options.overlap is None else min(CONTEXT, options.overlap)
    options = replace(
        options, window=options.window or WINDOW, overlap=min(overlap, (options.window or WINDOW) // 2)
    )
    prepared = prepare(input_path, output, options, restorer, one_picture=True)
    fallback = prepared.fallback()
    try:
        frames, position = frames_around(prepared, at_s)
        prepared = replace(
            prepared, film=frames_in_memory(lambda first: iter(frames[first:]), 1), segment_frames=1
        )
        on_event(started_event(prepared, 0))
        made: list[tuple[np.ndarray, np.ndarray | None]] = []
        taker = PictureTaker(lambda _frame, picture, alpha: made.append((picture, alpha)))
        result = render_stretches(
            prepared,
            fallback,
            lambda _index: taker,
            lambda *_: None,
            on_event,
            threading.Event(),
            stretches=(Stretch(PlannerState(start=position, decided=len(frames)), position + 1),),
        )
    finally:
        fallback.close()
        if not prepared.external:
            prepared.restorer.close()
    picture, alpha = made[0]
    video = prepared.source.video
    turn = video.rotation, video.flipped
    write_png(
        output,
        upright(picture, *turn),
        None if alpha is None else upright(alpha, *turn),
        image_bit_depth(prepared.source, options.pix_fmt),
        video.icc_profile,
    )
    size, corrupt = output.stat().st_size, int(frames[position].corrupt)
    report = final_report(prepared, result, began, frames=1, resumed=0, shots=1, corrupt=corrupt, size=size)
    return replace(report, notes=prepared.source.notes)


def frames_around(prepared: Prepared, at_s: float) -> tuple[list[Frame], int]:
    """The frame shown at ``at_s`` with its neighbours in the shot, numbered from 0, and its number among them."""
    source, options = prepared.source, prepared.options
    video = source.video
    rate = float(video.average_rate or 25)
    around = options.context_frames + 1

    def shown_at(frame: Frame) -> float:
        return float(frame.pts * video.time_base) - source.start_s

    shot: deque[Frame] = deque()
    position: int | None = None
    start_s = max(0.0, at_s - (around + LOOKBACK) / rate)
    with (
        suppress(EmptyRange),
        read_frames(source, start_s=start_s, deinterlace=options.deinterlace) as frames,
    ):
        for frame, starts_shot in flag_cuts(frames, CutDetector()):
            if position is not None and (starts_shot or len(shot) > position + around):
                break
            if position is None and shown_at(frame) > at_s + 1e-6 and shot:
                # This frame comes after the one asked for, which is the one before it.
                position = len(shot) - 1
                if starts_shot:
                    break
            elif starts_shot:
                shot.clear()
            shot.append(frame)
            if position is None and len(shot) > around + 1:
                shot.popleft()
    if position is None:
        end = shown_at(shot[-1]) if shot else -1.0
        length = float(shot[-1].duration * video.time_base) if shot and shot[-1].duration else 1 / rate
        if not shot or at_s > end + length + 1e-6:
            raise InputError(f"{source.path} ends before {at_s:g} s; give --frame an earlier time.")
        position = len(shot) - 1 if end <= at_s + 1e-6 else 0
    return [replace(frame, index=index) for index, frame in enumerate(shot)], position


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
