"""Everything that is settled before the first frame: the input probed, the output checked, the work planned; nothing is written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rvrt_cli.errors import UsageError
from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.media import (
    EncodeOptions,
    EncodeSettings,
    MuxPlan,
    Source,
    VideoStream,
    plan_mux,
    resolve_encoding,
    with_shape_kept,
)
from rvrt_cli.media.aspects import in_one_shape, shape_notes
from rvrt_cli.media.color import planar_format
from rvrt_cli.media.images import is_pattern
from rvrt_cli.media.y4m import y4m_settings
from rvrt_cli.system.files import fitting_name, translate_write_errors
from rvrt_cli.upscale.checks import check_kind, open_source
from rvrt_cli.upscale.dropped_features import dropped_features
from rvrt_cli.upscale.finish import Finish, output_size
from rvrt_cli.upscale.frame_source import FrameSource, open_frame_source
from rvrt_cli.upscale.journal import WORK_SUFFIX, ended_at_the_output
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.memory import encoder_bytes
from rvrt_cli.upscale.oom_fallback import OomFallback
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.output_path import (
    OutputKind,
    PictureNames,
    check_output_path,
    gap_warnings,
    output_kind,
    picture_names,
    stay_warnings,
)
from rvrt_cli.upscale.plan import WorkPlan, plan_work
from rvrt_cli.upscale.planner import PlanSettings
from rvrt_cli.upscale.sequential import load_sequence, restorer_loaders

SEGMENT_PIXELS = 120 * 1920 * 1080
"""Pixels in a segment: 120 frames of full HD. A killed run loses at most one segment; each begins with a key frame."""
MIN_SEGMENT_FRAMES = 120
"""Up to 14 frames more are computed for a segment inside a shot, as context at its edges: an eighth at most."""
MAX_SEGMENT_FRAMES = 240


@dataclass(frozen=True)
class Prepared:
    """Everything that is settled before the first frame.

    ``source``: as the output shows it, which is upright for a comparison. ``settings`` and ``mux_plan`` are None for
    images, ``names`` for everything else. ``external``: the restorer is the caller's, not the options'. ``dropped``: what
    this kind of output cannot hold or show as it is, in sentences.
    """

    source: Source
    output: Path | Literal["-"]
    kind: OutputKind
    options: UpscaleOptions
    film: FrameSource
    restorer: Restorer
    finish: Finish
    settings: EncodeSettings | None
    mux_plan: MuxPlan | None
    names: PictureNames | None
    level: Level
    segment_frames: int
    work: WorkPlan
    encoder_bytes: int = 0
    external: bool = False
    dropped: tuple[str, ...] = ()

    @property
    def work_folder(self) -> Path:
        """The work directory of this run."""
        return work_folder(Path(self.output), self.options, self.names)

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
    def can_continue(self) -> bool:
        """Whether a later run can go on after this one's finished segments: neither input nor output is a pipe."""
        return self.kind != "stream" and self.film.pipe is None

    @property
    def encoder_fingerprint(self) -> str:
        """Changes whenever the encoder could make other bytes of the same pictures."""
        return self.settings.fingerprint if self.settings else "png"

    @property
    def plan_settings(self) -> PlanSettings:
        """What is the same in all segments of the film."""
        return PlanSettings(
            self.segment_frames,
            self.level,
            self.options.context_frames,
            model=self.restorer.fingerprint,
            encoder=self.encoder_fingerprint,
            detect_shots=self.options.shots,
        )

    def fallback(self) -> OomFallback:
        """What is tried when memory runs out."""
        loaders = restorer_loaders(self.options, self.restorer, external=self.external)
        return OomFallback(loaders, self.level)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences to show before the run: guesses about the input, fallbacks, streams the container cannot hold."""
        settings = self.settings.notes if self.settings else ()
        plan = self.mux_plan.warnings if self.mux_plan else ()
        memory = (self.work.warning,) if self.work.warning else ()
        return (*self.source.notes, *settings, *plan, *self.dropped, *memory)


def work_folder(output: Path, options: UpscaleOptions, names: PictureNames | None) -> Path:
    """The work directory: beside the output, or in ``--work-dir`` under a name that no other output has there."""
    base = names.folder if names is not None and is_pattern(output) else output
    if base.name in ("", ".."):  # "%05d.png" and "../%05d.png" are in folders that are not named
        base = base.resolve()
    if options.work_dir is None:
        return base.parent / fitting_name(base.parent, base.name, WORK_SUFFIX)
    place = hashlib.sha256(str(base.resolve()).encode()).hexdigest()[:8]
    return options.work_dir / fitting_name(options.work_dir, base.name, f".{place}{WORK_SUFFIX}")


def prepare(
    input_path: Path | str,
    output: Path | str,
    options: UpscaleOptions,
    restorer: Restorer | None = None,
    *,
    check_place: bool = True,
    one_picture: bool = False,
) -> Prepared:
    """Probe, check and plan; writes nothing.

    ``restorer`` replaces the one that ``options`` name (tests, in-memory use). ``check_place`` False: nothing is going to
    be written, so it does not matter what is there. ``one_picture``: ``output`` is a PNG file for one picture of the film, whatever
    its name. Errors: those of :mod:`rvrt_cli.errors`.
    """
    options.check()
    source = open_source(input_path, options)
    chosen = (options.start_s, range_end_s(source, options))
    source = in_one_shape(source, *chosen)
    target: Path | Literal["-"] = "-" if str(output) == "-" else Path(output)
    names = None
    with translate_write_errors(Path(output)):
        kind: OutputKind = "images"
        if not one_picture:
            kind = output_kind(output, source, one_frame=options.frames == 1 or len(source.images) == 1)
        check_kind(source, kind, options)
        if target != "-":
            if kind == "images":
                names = picture_names(target, source, preview=options.preview is not None)
                if one_picture:
                    names = PictureNames(target.parent, target.name)
            elif options.work_dir is not None and options.work_dir.resolve() == target.resolve():
                raise UsageError("--work-dir is OUT itself; name another folder, or leave it out.")
            if check_place:
                # The file of a run that was killed between placing it and removing its work: the run says what it is.
                own = kind == "video" and ended_at_the_output(work_folder(target, options, names))
                check_output_path(target, source, kind, names, overwrite=options.overwrite or own)
        dropped = [*gap_warnings(source), *stay_warnings(names)]
    dropped += [*dropped_features(source, kind), *shape_notes(source, *chosen)]
    external = restorer is not None
    restorer = restorer or load_sequence(options)
    video = source.video
    even = kind != "images"
    height, width = wanted_size(options, video, restorer.scale, even=even)
    film = open_frame_source(source, options)
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
    segment_frames = options.segment_frames or segment_length(*finish.output_size)
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
        level=work.level,
        segment_frames=segment_frames,
        work=work,
        encoder_bytes=held,
        external=external,
        dropped=tuple(dropped),
    )


def _plan_file(
    source: Source, options: UpscaleOptions, target: Path, width: int, height: int
) -> tuple[EncodeSettings, MuxPlan]:
    """How a video file of ``width`` x ``height`` is encoded and what else goes into it."""
    encode = EncodeOptions(
        options.codec, options.crf, options.preset, options.pix_fmt, options.lossless, options.container
    )
    settings = resolve_encoding(source, encode, target, width, height)
    end_s = range_end_s(source, options)
    plan = plan_mux(source, settings, trimmed=options.trimmed, start_s=options.start_s, end_s=end_s)
    if options.preview is not None:
        # The pieces lie apart: sound, subtitles and chapters would not fit them.
        lost = source.chapters or any(stream.kind in ("audio", "subtitle") for stream in plan.streams)
        plan = plan.film_only(*(("The preview has no sound, no subtitles and no chapters.",) if lost else ()))
    return settings, plan


def range_end_s(source: Source, options: UpscaleOptions) -> float | None:
    """Where the chosen range ends, in seconds after ``source.start_s``; None where the film does."""
    if options.frames is None or not source.video.average_rate:
        return options.end_s
    last_s = (options.start_s or 0.0) + float(options.frames / source.video.average_rate)
    return last_s if options.end_s is None else min(options.end_s, last_s)


def upright_stream(video: VideoStream) -> VideoStream:
    """The stream as it is shown: not turned, its pixel aspect that of the turned picture."""
    return replace(video, rotation=0, flipped=False, sar=1 / video.sar if video.rotation % 180 else video.sar)


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


def encoded_depth(settings: EncodeSettings | None) -> int:
    """Bits per sample of what is encoded."""
    layout = planar_format(settings.pix_fmt) if settings else None
    return layout.bit_depth if layout else 8


def segment_length(height: int, width: int) -> int:
    """Frames per segment for an output of this size: the same amount of work, within bounds."""
    return max(MIN_SEGMENT_FRAMES, min(MAX_SEGMENT_FRAMES, SEGMENT_PIXELS // (height * width)))
