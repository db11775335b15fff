"""One run: an input, an output, options → a finished and verified file and a report."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rvrt_cli import __version__
from rvrt_cli.atomic import explained_writing, remove_leftovers
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
from rvrt_cli.media.images import is_pattern
from rvrt_cli.media.y4m import y4m_settings
from rvrt_cli.restorer import ChainRestorer, DenoisingRestorer, Restorer, load_restorer
from rvrt_cli.upscale.events import Finishing, Notice, OnEvent, Report, Started, counted, ignore_event
from rvrt_cli.upscale.film import Film, open_film
from rvrt_cli.upscale.finish import Finish, output_size
from rvrt_cli.upscale.journal import WORK_SUFFIX, Journal, Restart, find_work
from rvrt_cli.upscale.losses import losses, varies
from rvrt_cli.upscale.memory import encoder_bytes, peak_rss_mib
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.pipeline import PipelineResult, PipelineSettings, run_pipeline
from rvrt_cli.upscale.plan import WorkPlan, plan_work
from rvrt_cli.upscale.sinks import ImageSink, StreamSink, VideoSink, image_bit_depth
from rvrt_cli.upscale.target import (
    OutputKind,
    PictureNames,
    check_target,
    gap_warnings,
    output_kind,
    picture_names,
    stay_warnings,
)
from rvrt_cli.upscale.tiles import TilePlan
from rvrt_cli.upscale.unchanged import InputWatch

SEGMENT_PIXELS = 96 * 1920 * 1080
"""Pixels in a segment: 96 frames of full HD. A killed run loses at most one segment; each begins with a key frame."""
MIN_SEGMENT_FRAMES = 24
MAX_SEGMENT_FRAMES = 240


@dataclass(frozen=True)
class Prepared:
    """Everything that is settled before the first frame.

    ``source``: as the output shows it, which is upright for a comparison. ``settings`` and ``mux_plan`` are None for
    images, ``names`` for everything else. ``brought``: the restorer is the caller's, not the options'. ``losses``: what
    this kind of output cannot hold, in sentences.
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
    names: PictureNames | None
    window: int
    tile: TilePlan
    segment_frames: int
    work: WorkPlan
    encoder_bytes: int = 0
    brought: bool = False
    losses: tuple[str, ...] = ()

    @property
    def work_folder(self) -> Path:
        """The work directory: beside the output, or in ``--work-dir`` under a name that no other output has there."""
        base = Path(self.output)
        if self.names is not None and is_pattern(base):
            base = self.names.folder
        if self.options.work_dir is None:
            return base.parent / f"{base.name}{WORK_SUFFIX}"
        place = hashlib.sha256(str(base.resolve()).encode()).hexdigest()[:8]
        return self.options.work_dir / f"{base.name}.{place}{WORK_SUFFIX}"

    @property
    def moved_work_folder(self) -> Path:
        """Where the work lies after a person moved it from beside the output into ``--work-dir``."""
        folder = self.work_folder
        return folder.with_name(f"{folder.name.removesuffix(WORK_SUFFIX)[:-9]}{WORK_SUFFIX}")

    @property
    def picture_size(self) -> tuple[int, int]:
        """(height, width) of the pictures in the output, turned upright where the container cannot say how to turn them."""
        height, width = self.finish.output_size
        if self.settings is not None:
            width, height = self.settings.coded_size
        elif self.source.video.rotation % 180:
            height, width = width, height
        return height, width

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences to show before the run: guesses about the input, fallbacks, streams the container cannot hold."""
        settings = self.settings.notes if self.settings else ()
        plan = self.mux_plan.warnings if self.mux_plan else ()
        memory = (self.work.warning,) if self.work.warning else ()
        return (*self.source.notes, *settings, *plan, *self.losses, *memory)


def prepare(
    input_path: Path | str,
    output: Path | str,
    options: UpscaleOptions,
    restorer: Restorer | None = None,
    *,
    check_place: bool = True,
) -> Prepared:
    """Probe, check and plan; writes nothing.

    ``restorer`` replaces the one that ``options`` name (tests, in-memory use). ``check_place`` False: nothing is going to
    be written, so it does not matter what is there. Errors: those of :mod:`rvrt_cli.errors`.
    """
    options.check()
    source = open_source(input_path, options)
    target: Path | Literal["-"] = "-" if str(output) == "-" else Path(output)
    names = None
    with explained_writing(Path(output)):
        kind = output_kind(output, source, one_frame=options.frames == 1 or len(source.images) == 1)
        _check_kind(source, kind, options)
        if target != "-":
            if kind == "images":
                names = picture_names(target, source, preview=options.preview is not None)
            elif options.work_dir is not None and options.work_dir.resolve() == target.resolve():
                raise UsageError("--work-dir is OUT itself; name another folder, or leave it out.")
            if check_place:
                check_target(target, source, kind, names, overwrite=options.overwrite)
        lost = [*gap_warnings(source), *stay_warnings(names)]
    lost += losses(source, kind)
    brought = restorer is not None
    restorer = restorer or load_chain(options)
    video = source.video
    even = kind != "images"
    height, width = wanted_size(options, video, restorer.scale, even=even)
    film = open_film(source, options)
    video = with_shape_kept(video, height, width)
    source = replace(source, video=video)
    finish = Finish(height, width, options.strength, options.compare, label=restorer.name)
    if options.compare is not None and (video.rotation or video.flipped):
        # The halves of a comparison lie side by side as a person sees them, so its pictures are made upright.
        finish = replace(finish, rotation=video.rotation, flipped=video.flipped)
        source = replace(source, video=upright_stream(source.video))
    out_height, out_width = finish.output_size
    settings = plan = None
    if target == "-":
        settings = y4m_settings(source, out_width, out_height, options.pix_fmt)
    elif kind == "video":
        settings, plan = _plan_file(source, options, target, out_width, out_height)
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
        film=film,
        restorer=restorer,
        finish=finish,
        settings=settings,
        mux_plan=plan,
        names=names,
        window=work.window,
        tile=work.tile,
        segment_frames=options.segment_frames or segment_length(*finish.output_size),
        work=work,
        encoder_bytes=held,
        brought=brought,
        losses=tuple(lost),
    )


def _check_kind(source: Source, kind: OutputKind, options: UpscaleOptions) -> None:
    """Refuse what this kind of output cannot hold or has no use for. Errors: :class:`UsageError`, :class:`OutputError`."""
    if kind == "images":
        refuse_encoding(options, "PNG images, which are always lossless")
        image_bit_depth(source, options.pix_fmt)
    elif kind == "stream":
        refuse_encoding(options, "y4m, which is not compressed")
        refuse_work(options, "a stream")
        if source.kind == "video" and not options.trimmed and varies(source):
            raise OutputError(
                "the film has a variable frame rate, which y4m cannot hold; write a video file instead."
            )


def _plan_file(
    source: Source, options: UpscaleOptions, target: Path, width: int, height: int
) -> tuple[EncodeSettings, MuxPlan]:
    """How a video file of ``width`` x ``height`` is encoded and what else goes into it."""
    encode = EncodeOptions(
        options.codec, options.crf, options.preset, options.pix_fmt, options.lossless, options.container
    )
    settings = resolve_encoding(source, encode, target, width, height)
    plan = plan_mux(source, settings, trimmed=options.trimmed)
    if options.preview is not None:
        # The pieces lie apart: sound and subtitles would not fit them.
        kept = tuple(stream for stream in plan.streams if stream.action == "upscale")
        plan = replace(plan, streams=kept, warnings=("The preview has no sound and no subtitles.",))
    return settings, plan


def open_source(input_path: Path | str, options: UpscaleOptions) -> Source:
    """Probe the input. Errors: :class:`UsageError` for options that this kind of input has no use for."""
    source = probe(str(input_path) if str(input_path) == "-" else Path(input_path), fps=_rate(options.fps))
    if options.fps is not None and source.kind != "images":
        raise UsageError(
            "--fps is the rate of an image sequence, and the input has a rate of its own; leave it out."
        )
    if options.preview is not None and source.kind == "y4m":
        raise UsageError("--preview picks places in a film; it cannot seek in standard input.")
    return source


def upright_stream(video: VideoStream) -> VideoStream:
    """The stream as it is shown: not turned, its pixel aspect that of the turned picture."""
    return replace(video, rotation=0, flipped=False, sar=1 / video.sar if video.rotation % 180 else video.sar)


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
            corrupt=max(result.corrupt, prepared.film.corrupt_frames()),
        )
    if prepared.settings is not None and prepared.mux_plan is not None:
        rehearse(prepared.source, prepared.settings, prepared.mux_plan)
    watch = InputWatch.begin(prepared.source)
    identity, folder = _identity(prepared, watch.identity), prepared.work_folder
    if prepared.options.work_dir is not None:
        folder = find_work(folder, prepared.moved_work_folder, identity)
    with Journal(
        folder,
        identity,
        _resolved(prepared),
        resume=prepared.options.resume and prepared.source.kind != "y4m",
    ) as journal:
        try:
            report = _run_journaled(prepared, journal, watch, on_event, stop, began)
        except BaseException as error:
            if not journal.segments or prepared.source.kind == "y4m":
                # Nothing is worth keeping, or nothing can be continued: leave no trace.
                journal.remove()
            elif isinstance(error, Exception) and not isinstance(error, InterruptedRun):
                on_event(
                    Notice(
                        f"{_frames(journal.segments[-1].stop)} finished and kept in {journal.folder}: the same command with the same "
                        "input continues after them; delete that folder if it is not wanted.",
                        "warning",
                    )
                )
            raise
        if not prepared.options.keep_work:
            journal.remove()
        return report


def _run_journaled(
    prepared: Prepared,
    journal: Journal,
    watch: InputWatch,
    on_event: OnEvent,
    stop: threading.Event,
    began: float,
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
    _amend(prepared, journal)
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
        assert prepared.names is not None
        sink = ImageSink(
            journal,
            prepared.names,
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
        if not done:
            raise InterruptedRun(
                "Interrupted before the first segment was finished; nothing is kept."
            ) from error
        raise InterruptedRun(
            f"Interrupted; {_frames(done)} finished and kept in {journal.folder}. Run the same command again to continue."
        ) from error
    watch.check()
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
        if Path(prepared.output).exists() and not prepared.options.overwrite:
            raise OutputError(
                f"{prepared.output} appeared while the film was made and is not replaced; move it away or add --overwrite, and "
                "run the same command again."
            )
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
        corrupt=max(sum(segment.corrupt for segment in journal.segments), prepared.film.corrupt_frames()),
        size=size,
        verified=True,
    )


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


def refuse_encoding(options: UpscaleOptions, what: str) -> None:
    """Raise :class:`UsageError` for options that mean nothing where no encoder runs."""
    for name, value in (
        ("--codec", options.codec),
        ("--crf", options.crf),
        ("--preset", options.preset),
        ("--container", options.container),
        ("--lossless", options.lossless or None),
    ):
        if value is not None:
            raise UsageError(f"{name} has no meaning for {what}; leave it out.")


def refuse_work(options: UpscaleOptions, what: str) -> None:
    """Raise :class:`UsageError` for options about segments where there are none."""
    for name, value in (
        ("--work-dir", options.work_dir),
        ("--keep-work", options.keep_work or None),
        ("--segment-frames", options.segment_frames),
    ):
        if value is not None:
            raise UsageError(f"{name} has no meaning for {what}, which has no segments; leave it out.")


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
    if options.scale != 1 and options.model == "bicubic" and parts:
        parts.append(
            load_restorer("bicubic", options.weights)
        )  # --device and --backend are for the networks before it
    elif options.scale != 1:
        parts.append(load(options.model, options.weights))
    return parts[0] if len(parts) == 1 else ChainRestorer(parts)


def make_rungs(
    options: UpscaleOptions, restorer: Restorer, *, brought: bool
) -> Sequence[Callable[[], Restorer]]:
    """The restorer in use, then what to try when memory runs out with the smallest tile and window.

    A restorer that the caller ``brought`` has no further rungs: ``options`` do not say which model it holds.
    """
    engine = restorer.engine.lower()
    rungs: list[Callable[[], Restorer]] = [lambda: restorer]
    on_cpu = "cpu" in engine
    if brought or on_cpu:
        return rungs
    if options.precision == "auto" and "mixed" not in engine:
        rungs.append(lambda: load_chain(options, precision="mixed"))
    if options.device == "auto":
        rungs.append(lambda: load_chain(options, device="cpu", precision="fp32"))
    return rungs


def _amend(prepared: Prepared, journal: Journal) -> None:
    """Plan the rest of an earlier run anew where ``--memory-limit`` is another one now, and record that."""
    limit = prepared.options.memory_limit
    if limit is None or limit == journal.resolved.get("memory_limit"):
        return
    video = prepared.source.video
    longest = journal.segments[-1].restart.window if journal.segments else None
    work = plan_work(
        prepared.options,
        prepared.restorer,
        video.height,
        video.width,
        encoder_bytes=prepared.encoder_bytes,
        longest_window=longest,
    )
    journal.amend(_resolved(replace(prepared, window=work.window, tile=work.tile)))


def _restart(journal: Journal) -> Restart:
    """From where planning continues: with what made the last frame, or with the plan that was made since."""
    restart = journal.segments[-1].restart
    if not journal.amended:
        return restart
    resolved = journal.resolved
    return replace(
        restart,
        window=resolved["window"],
        tile_px=resolved["tile_px"],
        tile_overlap_px=resolved["tile_overlap_px"],
    )


def _pipeline_settings(prepared: Prepared, journal: Journal | None = None) -> PipelineSettings:
    last = journal.segments[-1] if journal and journal.segments else None
    return PipelineSettings(
        decode=prepared.film.decode,
        rungs=make_rungs(prepared.options, prepared.restorer, brought=prepared.brought),
        finish=prepared.finish,
        window=prepared.window,
        overlap=prepared.options.shared_frames,
        tile=prepared.tile,
        segment_frames=prepared.segment_frames,
        frames_total=prepared.film.frames_total,
        start_frame=last.stop if last else 0,
        first_segment=last.index + 1 if last else 0,
        restart=_restart(journal) if journal and last else None,
        detect_shots=prepared.options.shots,
        overlapped=prepared.work.overlapped,
        shot_detector=prepared.film.detector,
    )


def _identity(prepared: Prepared, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": __version__,
        "input": content,
        "options": prepared.options.identity(),
        "model": prepared.restorer.fingerprint,
        "encoder": prepared.settings.fingerprint if prepared.settings else "png",
        "segment_frames": prepared.segment_frames,
        # A video's name is no part of its bytes; the pictures' names are what a segment holds.
        "names": prepared.names.pattern if prepared.names else None,
    }


def _resolved(prepared: Prepared) -> dict[str, Any]:
    return {
        "window": prepared.window,
        "tile_px": prepared.tile.tile_px,
        "tile_overlap_px": prepared.tile.overlap_px,
        "memory_limit": prepared.options.memory_limit,
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
        window=prepared.window,
        overlap=prepared.options.shared_frames,
        tiles=str(prepared.tile),
        segment_frames=prepared.segment_frames,
        reason=engine_reason(prepared.restorer),
    )


def engine_reason(restorer: Restorer) -> str:
    """Why this engine was chosen, in words; empty where there was no choice."""
    return str(getattr(restorer, "reason", ""))


def _frames(count: int) -> str:
    return f"{counted(count, 'frame')} {'is' if count == 1 else 'are'}"


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
        window=result.window,
        overlap=prepared.options.shared_frames,
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
