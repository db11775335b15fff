"""One run: an input, an output, options → a finished and verified file and a report."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rvrt_cli import __version__
from rvrt_cli.atomic import remove_leftovers
from rvrt_cli.errors import InterruptedRun, OutputError, UsageError
from rvrt_cli.media import (
    EncodeOptions,
    EncodeSettings,
    MuxPlan,
    Source,
    VideoStream,
    mux,
    plan_mux,
    probe,
    rehearse,
    resolve_encoding,
    with_shape_kept,
)
from rvrt_cli.media.color import planar_format
from rvrt_cli.media.y4m import y4m_settings
from rvrt_cli.restorer import ChainRestorer, DenoisingRestorer, Restorer, load_restorer
from rvrt_cli.upscale.events import Finishing, Notice, OnEvent, Report, Started, ignore_event
from rvrt_cli.upscale.film import Film, open_film
from rvrt_cli.upscale.finish import Finish, output_size
from rvrt_cli.upscale.journal import WORK_SUFFIX, Journal, identify_file
from rvrt_cli.upscale.memory import encoder_bytes, peak_rss_mib
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.pipeline import PipelineResult, PipelineSettings, run_pipeline
from rvrt_cli.upscale.plan import WorkPlan, plan_work
from rvrt_cli.upscale.sinks import ImageSink, StreamSink, VideoSink, image_bit_depth
from rvrt_cli.upscale.tiles import TilePlan

OutputKind = Literal["video", "images", "stream"]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
SEGMENT_PIXELS = 96 * 1920 * 1080
"""Pixels in a segment: 96 frames of full HD. A killed run loses at most one segment; each begins with a key frame."""
MIN_SEGMENT_FRAMES = 24
MAX_SEGMENT_FRAMES = 240


@dataclass(frozen=True)
class Prepared:
    """Everything that is settled before the first frame.

    ``settings`` and ``mux_plan`` are None for images. ``brought``: the restorer is the caller's, not the options'.
    """

    source: Source
    output: Path | Literal["-"]
    kind: OutputKind
    options: UpscaleOptions
    film: Film
    restorer: Restorer
    finish: Finish
    settings: EncodeSettings | None
    mux_plan: MuxPlan | None
    window: int
    tile: TilePlan
    segment_frames: int
    work: WorkPlan
    brought: bool = False

    @property
    def work_folder(self) -> Path:
        """The work directory: beside the output, or in ``--work-dir``."""
        output = Path(self.output)
        base = output.parent if "%" in output.name else output
        return (self.options.work_dir or base.parent) / f"{base.name}{WORK_SUFFIX}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences to show before the run: guesses about the input, fallbacks, streams the container cannot hold."""
        settings = self.settings.notes if self.settings else ()
        plan = self.mux_plan.warnings if self.mux_plan else ()
        memory = (self.work.warning,) if self.work.warning else ()
        return (*self.source.notes, *settings, *plan, *memory)


def prepare(
    input_path: Path | str, output: Path | str, options: UpscaleOptions, restorer: Restorer | None = None
) -> Prepared:
    """Probe, check and plan; writes nothing.

    ``restorer`` replaces the one that ``options`` name (tests, in-memory use). Errors: those of :mod:`rvrt_cli.errors`.
    """
    options.check()
    source = probe(str(input_path) if str(input_path) == "-" else Path(input_path), fps=_rate(options.fps))
    kind = output_kind(output, source)
    target: Path | Literal["-"] = "-" if str(output) == "-" else Path(output)
    if target != "-":
        check_target(target, source, kind, overwrite=options.overwrite)
    brought = restorer is not None
    restorer = restorer or load_chain(options)
    video = source.video
    even = kind != "images"
    height, width = wanted_size(options, video, restorer.scale, even=even)
    video = with_shape_kept(video, height, width)
    source = replace(source, video=video)
    finish = Finish(height, width, options.strength, options.compare, label=restorer.name)
    out_height, out_width = finish.output_size
    settings = plan = None
    if kind == "images":
        _refuse_encoding(options, "PNG images")
    else:
        if target == "-":
            _refuse_encoding(options, "y4m, which is not compressed")
            settings = y4m_settings(source, out_width, out_height, options.pix_fmt)
        else:
            encode = EncodeOptions(
                options.codec,
                options.crf,
                options.preset,
                options.pix_fmt,
                options.lossless,
                options.container,
            )
            settings = resolve_encoding(source, encode, target, out_width, out_height)
            plan = plan_mux(source, settings, trimmed=options.trimmed)
            if options.preview is not None:
                # The pieces lie apart: sound and subtitles would not fit them.
                kept = tuple(stream for stream in plan.streams if stream.action == "upscale")
                plan = replace(plan, streams=kept, warnings=("The preview has no sound and no subtitles.",))
    held = encoder_bytes(
        settings.encoder if settings and target != "-" else None,
        encoded_depth(settings),
        out_height * out_width,
    )
    work = plan_work(options, restorer, video.height, video.width, encoder_bytes=held)
    return Prepared(
        source=source,
        output=target,
        kind=kind,
        options=options,
        film=open_film(source, options),
        restorer=restorer,
        finish=finish,
        settings=settings,
        mux_plan=plan,
        window=work.window,
        tile=work.tile,
        segment_frames=options.segment_frames or segment_length(*finish.output_size),
        work=work,
        brought=brought,
    )


def upscale(
    input_path: Path | str,
    output: Path | str,
    options: UpscaleOptions | None = None,
    *,
    restorer: Restorer | None = None,
    on_event: OnEvent = ignore_event,
    stop: threading.Event | None = None,
) -> Report:
    """Upscale ``input_path`` into ``output`` and return the report; see :func:`rvrt_cli.api.upscale_video`."""
    prepared = prepare(input_path, output, options or UpscaleOptions(), restorer)
    try:
        return run_prepared(prepared, on_event, stop or threading.Event())
    finally:
        prepared.restorer.close()


def run_prepared(prepared: Prepared, on_event: OnEvent, stop: threading.Event) -> Report:
    """The run itself."""
    for warning in prepared.warnings:
        on_event(Notice(warning, "warning"))
    began = time.perf_counter()
    if prepared.kind == "stream":
        assert prepared.settings is not None
        on_event(_started(prepared, 0))
        sink = StreamSink(sys.stdout.buffer, prepared.settings)
        result = run_pipeline(_pipeline_settings(prepared), sink, on_event, stop)
        return _report(
            prepared,
            result,
            began,
            frames=result.frames,
            resumed=0,
            shots=result.shots,
            corrupt=result.corrupt,
        )
    if prepared.settings is not None and prepared.mux_plan is not None:
        rehearse(prepared.source, prepared.settings, prepared.mux_plan)
    with Journal(
        prepared.work_folder,
        _identity(prepared),
        _resolved(prepared),
        resume=prepared.options.resume and prepared.source.kind != "y4m",
    ) as journal:
        try:
            report = _run_journaled(prepared, journal, on_event, stop, began)
        except BaseException:
            if not journal.segments or prepared.source.kind == "y4m":
                # Nothing is worth keeping, or nothing can be continued: leave no trace.
                journal.remove()
            raise
        if not prepared.options.keep_work:
            journal.remove()
        return report


def _run_journaled(
    prepared: Prepared, journal: Journal, on_event: OnEvent, stop: threading.Event, began: float
) -> Report:
    if journal.started_anew:
        on_event(
            Notice(
                journal.started_anew[0].upper()
                + journal.started_anew[1:]
                + ("." if journal.segments else "; starting anew."),
                "warning",
            )
        )
    # "auto" was settled by the run that began; the machine's state may have changed since, the result must not.
    prepared = replace(
        prepared,
        window=journal.resolved["window"],
        tile=TilePlan(journal.resolved["tile_px"], journal.resolved["tile_overlap_px"]),
    )
    resumed = journal.segments[-1].stop if journal.segments else 0
    on_event(_started(prepared, resumed))
    if resumed:
        on_event(Notice(f"Continuing an earlier run after frame {resumed}."))
    sink: VideoSink | ImageSink
    if prepared.kind == "video":
        assert prepared.settings is not None
        sink = VideoSink(journal, prepared.settings)
    else:
        sink = ImageSink(
            journal,
            Path(prepared.output),
            prepared.source.video,
            image_bit_depth(prepared.source, prepared.options.pix_fmt),
        )
    try:
        result = run_pipeline(_pipeline_settings(prepared, journal), sink, on_event, stop)
    except (InterruptedRun, KeyboardInterrupt) as error:
        done = journal.segments[-1].stop if journal.segments else 0
        if prepared.source.kind == "y4m":
            raise InterruptedRun(
                "Interrupted; frames from standard input cannot be read again, so nothing is kept."
            ) from error
        raise InterruptedRun(
            f"Interrupted; {done} frames are finished and kept in {journal.folder}. Run the same command again to continue."
        ) from error
    on_event(
        Finishing(
            "joining the segments and copying the other streams"
            if prepared.kind == "video"
            else "putting the images into place"
        )
    )
    if isinstance(sink, VideoSink):
        assert prepared.settings is not None
        assert prepared.mux_plan is not None
        remove_leftovers(Path(prepared.output))  # of runs that were killed here; the journal is locked
        mux(
            prepared.source,
            sink.segment_paths(),
            Path(prepared.output),
            prepared.settings,
            prepared.mux_plan,
            trimmed=prepared.options.trimmed,
            stop=stop,
        )
        size = Path(prepared.output).stat().st_size
    else:
        size = sink.publish(journal.segments[-1].stop)
    return _report(
        prepared,
        result,
        began,
        frames=journal.segments[-1].stop,
        resumed=resumed,
        shots=sum(segment.shots for segment in journal.segments),
        corrupt=sum(segment.corrupt for segment in journal.segments),
        size=size,
        verified=True,
    )


def output_kind(output: Path | str, source: Source) -> OutputKind:
    """Whether ``output`` means a video file, an image sequence or a stream.

    A folder, or a name without suffix, is an image sequence when the input is one.
    """
    if str(output) == "-":
        return "stream"
    path = Path(output)
    if "%" in path.name or path.suffix.lower() == ".png":
        return "images"
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise OutputError(f"images are written as PNG; name the output {path.with_suffix('.png')}.")
    if source.kind == "images" and (path.is_dir() or not path.suffix):
        return "images"
    if path.is_dir() or not path.suffix:
        raise OutputError(
            f"{path} has no suffix that names a format; use for example {path / 'out.mp4'} or {path / '%05d.png'}."
        )
    return "video"


def check_target(output: Path, source: Source, kind: OutputKind, *, overwrite: bool) -> None:
    """Raise :class:`OutputError` where the output exists, is the input, or its folder is missing or read-only."""
    folder = output.parent
    if kind == "images" and "%" in output.name:
        folder = output.parent.parent
    if not folder.is_dir():
        raise OutputError(f"the folder {folder} does not exist; create it first.")
    if not os.access(folder, os.W_OK):
        raise OutputError(
            f"the folder {folder} cannot be written; choose another place or fix its permissions."
        )
    if source.kind != "y4m" and output.exists() and output.resolve() == source.path.resolve():
        raise OutputError("the output is the input; choose another name.")
    if overwrite:
        return
    if kind == "video" and output.exists():
        raise OutputError(f"{output} exists; choose another name or add --overwrite.")
    if kind == "images":
        images = output.parent if "%" in output.name else output
        if images.is_file() or (images.is_dir() and any(path.suffix == ".png" for path in images.iterdir())):
            raise OutputError(f"{images} already holds images; choose another name or add --overwrite.")


def wanted_size(
    options: UpscaleOptions, video: VideoStream, model_scale: int, *, even: bool
) -> tuple[int, int]:
    """(height, width) of the result before rotation; ``--height`` and ``--width`` mean the picture as it is shown."""
    to_height, to_width = options.height, options.width
    if video.rotation % 180:
        to_height, to_width = to_width, to_height
    return output_size(
        video.height,
        video.width,
        model_scale,
        scale=options.scale,
        to_height=to_height,
        to_width=to_width,
        even=even,
    )


def _refuse_encoding(options: UpscaleOptions, what: str) -> None:
    """Raise :class:`UsageError` for options that mean nothing where no encoder runs."""
    for name, value in (
        ("--codec", options.codec),
        ("--crf", options.crf),
        ("--preset", options.preset),
        ("--container", options.container),
    ):
        if value is not None:
            raise UsageError(f"{name} has no meaning for {what}; leave it out.")


def encoded_depth(settings: EncodeSettings | None) -> int:
    """Bits per sample of what is encoded."""
    layout = planar_format(settings.pix_fmt) if settings else None
    return layout.bit_depth if layout else 8


def segment_length(height: int, width: int) -> int:
    """Frames per segment for an output of this size: the same amount of work, within bounds."""
    return max(MIN_SEGMENT_FRAMES, min(MAX_SEGMENT_FRAMES, SEGMENT_PIXELS // (height * width)))


def load_chain(
    options: UpscaleOptions, *, device: str | None = None, precision: str | None = None
) -> Restorer:
    """Load what the options name: denoise, then deblur, then super-resolution (left out for scale 1)."""

    def load(model: str, weights: Path | None) -> Restorer:
        return load_restorer(
            model,
            weights,
            device=device or options.device,
            backend=options.backend,
            precision=precision or options.precision,
            threads=options.threads,
        )

    parts: list[Restorer] = []
    if options.denoise is not None:
        parts.append(DenoisingRestorer(load("denoise", None), options.denoise))
    if options.deblur:
        parts.append(load("deblur", None))
    if options.scale != 1:
        parts.append(load(options.model, options.weights))
    return parts[0] if len(parts) == 1 else ChainRestorer(parts)


def _rungs(prepared: Prepared) -> Sequence[Callable[[], Restorer]]:
    """The restorer in use, then what to try when memory runs out with the smallest tile and window.

    A restorer that the caller brought has no further rungs: ``options`` do not say which model it holds.
    """
    options, engine = prepared.options, prepared.restorer.engine.lower()
    rungs: list[Callable[[], Restorer]] = [lambda: prepared.restorer]
    on_cpu = "cpu" in engine
    if prepared.brought or on_cpu:
        return rungs
    if options.precision == "auto" and "mixed" not in engine:
        rungs.append(lambda: load_chain(options, precision="mixed"))
    if options.device == "auto":
        rungs.append(lambda: load_chain(options, device="cpu", precision="fp32"))
    return rungs


def _pipeline_settings(prepared: Prepared, journal: Journal | None = None) -> PipelineSettings:
    last = journal.segments[-1] if journal and journal.segments else None
    return PipelineSettings(
        decode=prepared.film.decode,
        rungs=_rungs(prepared),
        finish=prepared.finish,
        window=prepared.window,
        overlap=prepared.options.overlap,
        tile=prepared.tile,
        segment_frames=prepared.segment_frames,
        frames_total=prepared.film.frames_total,
        start_frame=last.stop if last else 0,
        first_segment=last.index + 1 if last else 0,
        restart=last.restart if last else None,
        detect_shots=prepared.options.shots,
        overlapped=prepared.work.overlapped,
        shot_detector=prepared.film.detector,
    )


def _identity(prepared: Prepared) -> dict[str, Any]:
    source = prepared.source
    if source.kind == "images":
        content: dict[str, Any] = {"images": [[path.name, identify_file(path)] for path in source.images]}
    elif source.kind == "y4m":
        content = {}
    else:
        content = identify_file(source.path)
    return {
        "version": __version__,
        "input": content,
        "options": prepared.options.identity(),
        "model": prepared.restorer.fingerprint,
        "encoder": prepared.settings.fingerprint if prepared.settings else "png",
        "segment_frames": prepared.segment_frames,
    }


def _resolved(prepared: Prepared) -> dict[str, Any]:
    return {
        "window": prepared.window,
        "tile_px": prepared.tile.tile_px,
        "tile_overlap_px": prepared.tile.overlap_px,
    }


def _rate(text: str | None) -> Any:
    from fractions import Fraction

    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise UsageError(f"--fps must be a positive number such as 24, 29.97 or 30000/1001; got {text!r}.")
    return rate


def _started(prepared: Prepared, done: int) -> Started:
    height, width = prepared.finish.output_size
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
        window=prepared.window,
        overlap=prepared.options.overlap,
        tiles=str(prepared.tile),
        segment_frames=prepared.segment_frames,
    )


def _report(
    prepared: Prepared,
    result: PipelineResult,
    began: float,
    *,
    frames: int,
    resumed: int,
    shots: int,
    corrupt: int,
    size: int | None = None,
    verified: bool = False,
) -> Report:
    elapsed = time.perf_counter() - began
    height, width = prepared.finish.output_size
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
        window=result.window,
        overlap=prepared.options.overlap,
        tiles=str(result.tile),
        elapsed_s=elapsed,
        fps=(frames - resumed) / elapsed if elapsed > 0 else 0.0,
        stages=result.times.shares(result.elapsed_s),
        model_busy=result.model_busy,
        peak_rss_mib=peak_rss_mib(),
        output_bytes=size,
        verified=verified,
        notes=prepared.film.notes(),
    )
