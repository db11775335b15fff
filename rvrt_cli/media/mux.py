"""Assemble the final file: upscaled video segments plus everything else of the source, by stream copy.

The segments' packets are rewrapped on the fly and piped into the ffmpeg binary as its first input; the source is its
second. Both keep their own timestamps (``-copyts``), so sound and picture stay as far apart as they were.
"""

from __future__ import annotations

import math
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

import av
import numpy as np

from rvrt_cli.atomic import atomic_path
from rvrt_cli.errors import InterruptedRun, OutputError, RvrtError
from rvrt_cli.media.aside import hides_sound, set_aside
from rvrt_cli.media.clock import ARBITRARY_START
from rvrt_cli.media.containers import MUXERS
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.encoder_options import mastering_display_text
from rvrt_cli.media.ffmpeg import OWN_GROUP, explain_ffmpeg_failure, ffmpeg_executable, run_ffmpeg
from rvrt_cli.media.guard import LIBRARY_ERRORS
from rvrt_cli.media.probe import codec_name, open_container
from rvrt_cli.media.segment import DecodeOrder, SegmentFooter, frame_step, read_footer, read_packets
from rvrt_cli.media.source import Source, Stream

TEXT_SUBTITLES = frozenset(
    {"subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text", "microdvd", "sami", "realtext", "subviewer", "subviewer1",
     "mpl2", "stl", "jacosub", "pjs", "vplayer"}
)  # fmt: skip
# The text codec of each container, and the sound codec used when the source's does not fit.
TEXT_CODEC = {"mp4": "mov_text", "mov": "mov_text", "mkv": "subrip", "webm": "webvtt"}
SOUND_CODEC = {
    "mp4": ("aac", "256k"),
    "mov": ("aac", "256k"),
    "mkv": ("flac", ""),
    "webm": ("libopus", "192k"),
}
# Written by a muxer about the old stream; wrong for the new one.
STALE_TAGS = (
    "BPS", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "DURATION", "ENCODER", "ENCODER_OPTIONS", "_STATISTICS_TAGS",
    "_STATISTICS_WRITING_APP", "_STATISTICS_WRITING_DATE_UTC", "encoder", "alpha_mode",
)  # fmt: skip
MP4_KEYS = frozenset(
    {"title", "artist", "album_artist", "album", "comment", "date", "year", "genre", "composer", "copyright", "description",
     "encoder", "creation_time", "track", "disc", "show", "episode_id", "network", "lyrics", "synopsis", "grouping", "language",
     "performer", "author", "keywords", "location", "major_brand", "minor_version", "compatible_brands", "media_type",
     "hd_video", "gapless_playback", "encoding_tool", "season_number", "episode_sort", "compilation", "rating", "timecode",
     "handler_name", "vendor_id", "duration", "alpha_mode", "bps", "number_of_frames", "number_of_bytes"}
)  # fmt: skip
STOP_CHECKED_S = 0.2
LARGEST_TIMESCALE = 10_000_000
# QuickTime knows languages by their bibliographic codes (ISO 639-2/B).
BIBLIOGRAPHIC = {
    "sqi": "alb", "hye": "arm", "eus": "baq", "mya": "bur", "zho": "chi", "ces": "cze", "nld": "dut", "fra": "fre", "kat": "geo",
    "deu": "ger", "ell": "gre", "isl": "ice", "mkd": "mac", "mri": "mao", "msa": "may", "fas": "per", "ron": "rum", "slk": "slo",
    "bod": "tib", "cym": "wel",
}  # fmt: skip


@dataclass(frozen=True)
class StreamPlan:
    """What happens to one stream of the source.

    action: "upscale", "copy", "convert", "attach" (cover art for Matroska) or "drop"; codec: the target's.
    reason: why it is converted or dropped.
    """

    index: int
    kind: str
    action: str
    codec: str
    reason: str = ""


@dataclass(frozen=True)
class MuxPlan:
    """The final file's streams in order. warnings: sentences naming what is converted or lost; show them before the run."""

    container: str
    streams: tuple[StreamPlan, ...]
    warnings: tuple[str, ...]

    @property
    def kept(self) -> tuple[StreamPlan, ...]:
        """Streams that are in the output, in its order."""
        return tuple(s for s in self.streams if s.action != "drop")


def plan_mux(source: Source, settings: EncodeSettings, *, trimmed: bool = False) -> MuxPlan:
    """Decide for every stream whether the container can hold it; asks ffmpeg to write each header once.

    Errors: :class:`InputError`, :class:`OutputError` when ffmpeg cannot read the source at all.
    """
    container = settings.container
    if source.kind != "video":
        return MuxPlan(container, (StreamPlan(0, "video", "upscale", settings.codec),), ())
    wishes = [_wish(stream, source, settings) for stream in source.streams]
    doubtful = [w for w in wishes if w.action in ("copy", "convert")]
    if doubtful and not _accepted(source, container, doubtful):
        wishes = [_settle(w, source, container) if w in doubtful else w for w in wishes]
    by_index = {s.index: s for s in source.streams}
    warnings = [_sentence(w, by_index[w.index], container) for w in wishes if w.reason]
    if container in ("mp4", "mov"):
        lost = sorted({key for key, _ in source.metadata if key.lower() not in MP4_KEYS})
        if lost:
            warnings.append(
                f".{container} has no place for the metadata {', '.join(lost)}; it is left out (.mkv keeps it)."
            )
    if container == "webm" and source.chapters and any(c.title is None for c in source.chapters):
        warnings.append("Chapters without a title stay without one.")
    if trimmed and any(w.kind == "subtitle" and w.action != "drop" for w in wishes):
        warnings.append("Subtitles that are already shown when the chosen range begins are left out.")
    return MuxPlan(container, tuple(wishes), tuple(warnings))


def _wish(stream: Stream, source: Source, settings: EncodeSettings) -> StreamPlan:
    """The plan for a stream, before ffmpeg was asked."""
    container = settings.container

    def plan(action: str, codec: str = stream.codec, reason: str = "") -> StreamPlan:
        return StreamPlan(stream.index, stream.kind, action, codec, reason)

    if stream.index == source.video.index:
        return plan("upscale", settings.codec)
    if stream.kind == "video" and "attached_pic" in stream.disposition:
        if container == "mkv":
            return plan("attach")
        return plan("copy") if container in ("mp4", "mov") else plan("drop", reason="WebM holds no cover art")
    if stream.kind == "subtitle":
        target = TEXT_CODEC[container]
        fits = stream.codec == target or (
            container == "mkv" and stream.codec not in ("mov_text", "eia_608", "text")
        )
        if fits:
            return plan("copy")
        if stream.codec in TEXT_SUBTITLES:
            styles = " and loses its styles" if stream.codec in ("ass", "ssa") else ""
            return plan("convert", target, f"is converted from {stream.codec} to {target}{styles}")
        return plan("copy")
    if stream.kind == "attachment":
        return plan("copy") if container == "mkv" else plan("drop", reason="only Matroska holds attachments")
    if stream.kind == "data":
        if source.chapters and source.format.startswith("mov") and _is_chapter_track(stream):
            return plan("drop")  # the muxer writes its own from the chapters
        if container in ("mp4", "mov") and source.format.startswith("mov"):
            return plan("copy")
        return plan("drop", reason="data streams cannot be carried into this container")
    return plan("copy")


def _is_chapter_track(stream: Stream) -> bool:
    """QuickTime's text track of chapter titles, which FFmpeg lists beside the chapters it read from it."""
    return stream.codec in ("unknown", "bin_data") and "timecode" not in dict(stream.metadata)


def _settle(wish: StreamPlan, source: Source, container: str) -> StreamPlan:
    """Try a stream alone; where it does not fit, convert sound, and drop what cannot be converted."""
    if _accepted(source, container, [wish]):
        return wish
    if wish.kind == "audio":
        codec, _ = SOUND_CODEC[container]
        converted = StreamPlan(
            wish.index,
            wish.kind,
            "convert",
            codec.removeprefix("lib"),
            f"is converted from {wish.codec} to {codec.removeprefix('lib')}",
        )
        if _accepted(source, container, [converted]):
            return converted
    return StreamPlan(
        wish.index, wish.kind, "drop", wish.codec, "does not fit into this container or is damaged"
    )


def _sentence(plan: StreamPlan, stream: Stream, container: str) -> str:
    name = f"{stream.kind} stream {stream.index} ({stream.codec}{', ' + stream.language if stream.language else ''})"
    if plan.action == "convert":
        return f"The {name} {plan.reason}, because .{container} cannot hold it as it is."
    return f"The {name} is left out of the .{container}: {plan.reason}."


def _accepted(source: Source, container: str, plans: Sequence[StreamPlan]) -> bool:
    """True when ffmpeg can start a file of ``container`` with these streams of the source."""
    with tempfile.TemporaryDirectory(prefix="rvrt-") as folder:
        arguments = ["-v", "error", "-protocol_whitelist", "file", "-i", f"file:{source.path}"]
        for plan in plans:
            arguments += ["-map", f"0:{plan.index}"]
        for position, plan in enumerate(plans):
            arguments += _codec_arguments(plan, position, container)
        arguments += ["-t", "0.5", "-strict", "-2", "-f", MUXERS[container], f"file:{Path(folder) / 'trial'}"]
        try:
            run_ffmpeg(arguments, doing="trying which streams the container can hold", timeout_s=120)
        except RvrtError:
            return False
        return _reads_back(Path(folder) / "trial", container, plans)


def _reads_back(trial: Path, container: str, plans: Sequence[StreamPlan]) -> bool:
    """Whether the trial's sound and text are what was put in: some muxers write tags that no demuxer knows.

    Tracks that have no packet in the trial may be missing from it.
    """
    try:
        with open_container(trial) as file:
            found = [codec_name(s) for s in file.streams if s.type in ("audio", "subtitle")]
    except (RvrtError, OSError, *LIBRARY_ERRORS):
        return True  # nothing at all lies in the trial's time
    wanted = iter(read_back_name(p.codec, container) for p in plans if p.kind in ("audio", "subtitle"))
    return all(name in wanted for name in found)  # in order: "in" consumes


def read_back_name(codec: str, container: str) -> str:
    """What a codec is called when it is read from ``container``: MP4 has one name for the three layers of MPEG audio."""
    return "mp3" if codec in ("mp1", "mp2") and container == "mp4" else codec


def _codec_arguments(plan: StreamPlan, position: int, container: str) -> list[str]:
    if plan.action != "convert":
        return [f"-c:{position}", "copy"]
    if plan.kind == "audio":
        codec, rate = SOUND_CODEC[container]
        return [f"-c:{position}", codec, *([f"-b:{position}", rate] if rate else [])]
    return [f"-c:{position}", plan.codec]


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
    from rvrt_cli.media.verify import Expected, verify_output

    if not segments:
        raise OutputError(f"{output} cannot be written: there are no finished segments.")
    footers = [read_footer(path) for path in segments]
    for before, after in pairwise(footers):
        if after.first_pts <= before.last_pts:
            raise OutputError(
                "The segments overlap in time; delete the work directory and run the same command again."
            )
    shift = _shift(source, settings.time_base, footers[0].first_pts, trimmed)
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


def _shift(source: Source, time_base: Fraction, first_pts: int, trimmed: bool) -> int:
    """Ticks added to every timestamp: to start at zero where the source's start means nothing, to avoid negative ones."""
    if trimmed:
        return -first_pts
    shift = -round(source.start_s / time_base) if source.format in ARBITRARY_START else 0
    return shift if first_pts + shift >= 0 else -first_pts


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
    feed_format = _feed_format(settings)
    with tempfile.TemporaryDirectory(prefix="rvrt-") as folder, tempfile.TemporaryFile() as stderr:
        command = _command(source, output, settings, plan, feed_format, footers, shift, trimmed, Path(folder))
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=stderr, stdout=subprocess.DEVNULL, **OWN_GROUP
        )
        assert process.stdin is not None
        broken: Exception | None = None
        pts: list[int] = []
        try:
            try:
                pts = _feed(process.stdin, segments, footers, settings, feed_format, shift, stop)
            except (BrokenPipeError, av.error.BrokenPipeError) as error:
                broken = error
            with suppress(OSError):
                process.stdin.close()
            while process.poll() is None:
                _check(stop)
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


def _check(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise InterruptedRun(
            "Interrupted while the file was being assembled; all frames are finished and kept. "
            "Run the same command again to continue."
        )


def _feed_format(settings: EncodeSettings) -> str:
    """How packets travel to ffmpeg: fragmented MP4/MOV keeps exact times; Matroska keeps VP9's alpha and odd codecs."""
    if settings.codec in ("h264", "hevc", "av1", "vp9") and not settings.has_alpha:
        return "mp4"
    return "matroska" if settings.container in ("mkv", "webm") else "mov"


def _feed(
    pipe: IO[bytes],
    segments: Sequence[Path],
    footers: Sequence[SegmentFooter],
    settings: EncodeSettings,
    feed_format: str,
    shift: int,
    stop: threading.Event | None,
) -> list[int]:
    """Write all packets of the segments to ``pipe``; returns their timestamps in decode order."""
    options = {}
    if feed_format != "matroska":
        scale = str(_timescale(settings.time_base))
        options = {
            "movflags": "frag_every_frame+delay_moov+default_base_moof",
            "movie_timescale": scale,
            "video_track_timescale": scale,
        }
    with ExitStack() as stack:
        # PyAV looks for a seek method; a pipe has one that fails.
        out = stack.enter_context(av.open(_WriteOnly(pipe), "w", format=feed_format, options=options))
        stream: Any = None
        step = frame_step(settings)
        order = DecodeOrder(settings.codec, footers[0].first_pts + shift, step)
        written: list[int] = []
        for path, footer in zip(segments, footers, strict=True):
            count = 0
            with av.open(str(path)) as container:
                if stream is None:
                    stream = out.add_stream_from_template(container.streams.video[0], opaque=True)
                    stream.time_base = settings.time_base
                    # Most codecs' segments carry none; a Matroska feed does not take it (see _aspect_arguments).
                    stream.codec_context.sample_aspect_ratio = settings.sar
                for packet in read_packets(container, footer):
                    pts = cast(int, packet.pts) + shift
                    dts = order.decode_time(pts)
                    if dts > pts:
                        raise OutputError(
                            f"{path}: packets are out of order by more than {order.delay} frames; choose another --codec."
                        )
                    packet.stream, packet.time_base = stream, settings.time_base
                    packet.pts, packet.dts, packet.duration = pts, dts, footers[-1].last_duration
                    _check(stop)
                    written.append(pts)
                    count += 1
                    out.mux(packet)
            if count != footer.frames:
                raise OutputError(
                    f"The segment {path} holds {count} of {footer.frames} frames; delete it and run the same command again."
                )
    return written


class _WriteOnly:
    """A file object without seek, so that PyAV writes a stream."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def write(self, data: bytes) -> int:
        return self._pipe.write(data)


def _timescale(time_base: Fraction) -> int:
    """Ticks per second of an MP4 track that holds every multiple of ``time_base``."""
    scale = time_base.denominator
    while scale < 10_000:  # ffmpeg's own rule: coarse clocks make players stutter
        scale *= 2
    return scale


def _movie_timescale(source: Source, settings: EncodeSettings) -> int:
    """Edit lists are written in this unit; a common multiple keeps the offset of sound and picture exact."""
    scale = _timescale(settings.time_base)
    for stream in source.streams:
        if stream.kind == "audio":
            common = math.lcm(scale, stream.time_base.denominator)
            if common <= LARGEST_TIMESCALE:
                scale = common
    return scale


def _command(
    source: Source,
    output: Path,
    settings: EncodeSettings,
    plan: MuxPlan,
    feed_format: str,
    footers: Sequence[SegmentFooter],
    shift: int,
    trimmed: bool,
    folder: Path,
) -> list[str]:
    video = source.video
    command = [ffmpeg_executable(), "-hide_banner", "-nostdin", "-v", "warning", "-y", "-copyts"]
    if (video.rotation or video.flipped) and not (settings.bake_rotation or settings.bake_flip):
        command += ["-display_rotation:v:0", str(video.rotation)]
        if video.flipped:
            command += ["-display_hflip:v:0"]
    command += _hdr_arguments(settings)
    command += ["-f", feed_format, "-i", "pipe:0"]
    from_source = source.kind == "video"
    time_base = settings.time_base
    in_order = [p for p in plan.kept if p.action != "attach"]
    taken_from = {p.index: f"1:{p.index}" for p in in_order}
    if from_source:
        start_s = float(footers[0].first_pts * time_base) if trimmed else None
        end_s = float((footers[-1].last_pts + footers[-1].last_duration) * time_base) if trimmed else None
        timing = ["-itsoffset", f"{float(shift * time_base):.6f}"] if shift else []
        timing += ["-seek_timestamp", "1", "-ss", f"{start_s:.6f}"] if trimmed else []
        command += [*timing, "-protocol_whitelist", "file", "-i", f"file:{source.path}"]
        aside = _streams_set_aside(source, in_order, plan.container, trimmed)
        if aside:
            taken_from |= {index: f"2:{number}" for number, index in enumerate(aside)}
            command += [*timing, "-i", f"file:{set_aside(source, aside, folder, start_s, end_s)}"]
    for p in in_order:
        command += ["-map", "0:v:0" if p.action == "upscale" else taken_from[p.index]]
    by_index = {s.index: s for s in source.streams}
    for position, p in enumerate(in_order):
        command += _codec_arguments(p, position, plan.container)
        if p.action == "upscale":
            command += [f"-bsf:{position}", _last_duration_filter(settings, footers, feed_format, shift)]
            command += _aspect_arguments(settings, position, feed_format)
        if not from_source:
            continue
        stream = by_index[p.index]
        if trimmed and p.action == "copy":
            # Seeking lands before the range; packets copied from there would start before zero, and Matroska would
            # move everything later to make up for it.
            command += [f"-copypriorss:{position}", "0"]
        command += [f"-map_metadata:s:{position}", f"1:s:{p.index}"]
        command += [f"-disposition:{position}", "+".join(sorted(stream.disposition)) or "0"]
        if plan.container == "mov" and stream.language in BIBLIOGRAPHIC:
            command += [f"-metadata:s:{position}", f"language={BIBLIOGRAPHIC[stream.language]}"]
        if p.action == "upscale":
            command += _video_tags(settings, stream, position)
        elif p.action == "convert":
            command += [argument for tag in STALE_TAGS for argument in (f"-metadata:s:{position}", f"{tag}=")]
    if not from_source:
        command += _video_tags(settings, None, 0)
    covers = [by_index[p.index] for p in plan.kept if p.action == "attach"]
    for number, stream in enumerate(covers):
        command += _attach_arguments(source, stream, number, len(in_order), folder)
    if from_source:
        command += ["-map_metadata", "1", "-map_chapters", "1"]
    command += [
        "-fflags",
        "+bitexact",
        "-flags",
        "+bitexact",
        "-strict",
        "-2",
        "-max_muxing_queue_size",
        "100000",
    ]
    if trimmed and from_source:
        end = footers[-1].last_pts + footers[-1].last_duration
        command += ["-t", f"{float((end - footers[0].first_pts) * time_base):.6f}"]
    if plan.container in ("mp4", "mov"):
        command += [
            "-video_track_timescale",
            str(_timescale(time_base)),
            "-movie_timescale",
            str(_movie_timescale(source, settings)),
        ]
    return [*command, "-f", MUXERS[plan.container], f"file:{output}"]


def _streams_set_aside(
    source: Source, plans: Sequence[StreamPlan], container: str, trimmed: bool
) -> list[int]:
    """Indices of the streams that must be copied into a file of their own first, because ffmpeg would misplace them."""
    others = [p for p in plans if p.action != "upscale"]
    if source.clock_jumps:
        return [p.index for p in others]
    sound = [p.index for p in others if p.kind == "audio"]
    return sound if sound and trimmed and container in ("mkv", "webm") and hides_sound(source) else []


def _last_duration_filter(
    settings: EncodeSettings, footers: Sequence[SegmentFooter], feed_format: str, shift: int
) -> str:
    """A bitstream filter that makes the frame shown last keep its duration, which ends the film.

    Fragments hold the time to the next *decoded* packet instead; with a variable rate that is another number, and the
    file would end too early or too late.
    """
    clock = Fraction(1, 1000) if feed_format == "matroska" else Fraction(1, _timescale(settings.time_base))
    last, duration, step = (
        round(ticks * settings.time_base / clock)
        for ticks in (footers[-1].last_pts + shift, footers[-1].last_duration, frame_step(settings))
    )
    return f"setts=pts=PTS:dts=DTS:duration=if(lt(abs(PTS-({last}))\\,0.6)\\,{max(duration, 1)}\\,min(DURATION\\,{max(step, 1)}))"


def _aspect_arguments(settings: EncodeSettings, position: int, feed_format: str) -> list[str]:
    """The shape of the picture, for a feed that cannot carry it; ffmpeg rounds the ratio to terms of at most 255."""
    if feed_format != "matroska" or settings.sar == 1:
        return []
    width, height = settings.coded_size
    shape = Fraction(width, height) * settings.sar
    return [f"-aspect:{position}", f"{shape.numerator}:{shape.denominator}"]


def _video_tags(settings: EncodeSettings, stream: Stream | None, position: int) -> list[str]:
    """Colour and codec tags of the upscaled stream, which not every bitstream can hold."""
    color = settings.color
    tags = [
        f"-color_primaries:{position}", str(color.primaries), f"-color_trc:{position}", str(color.transfer),
        f"-colorspace:{position}", str(color.matrix), f"-color_range:{position}", str(color.range),
    ]  # fmt: skip
    if color.chroma_location != "unspecified":
        tags += [f"-chroma_sample_location:{position}", color.chroma_location]
    if settings.codec == "hevc" and settings.container in ("mp4", "mov"):
        tags += [f"-tag:{position}", "hvc1"]  # Apple's players ignore hev1
    known = {key for key, _ in stream.metadata} if stream else set()
    for tag in STALE_TAGS:
        if tag in known and not (tag == "alpha_mode" and settings.has_alpha):
            tags += [f"-metadata:s:{position}", f"{tag}="]
    if settings.has_alpha and settings.codec in ("vp8", "vp9"):
        tags += [f"-metadata:s:{position}", "alpha_mode=1"]
    return tags


@lru_cache(maxsize=1)
def _ffmpeg_writes_hdr() -> bool:
    """Whether this ffmpeg can put HDR10 metadata on a copied stream (8.1 and later); it is in the bitstream in any case."""
    done = subprocess.run(
        [ffmpeg_executable(), "-hide_banner", "-h", "long"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return b"-mastering_display" in done.stdout and b"-content_light" in done.stdout


def _hdr_arguments(settings: EncodeSettings) -> list[str]:
    hdr = settings.hdr
    if hdr is None or not _ffmpeg_writes_hdr():
        return []
    arguments = []
    text = mastering_display_text(hdr, scaled=True)
    if text:
        arguments += ["-mastering_display:v:0", text]
    if hdr.max_cll is not None:
        arguments += ["-content_light:v:0", f"{hdr.max_cll},{hdr.max_fall or 0}"]
    return arguments


def _attach_arguments(source: Source, stream: Stream, number: int, before: int, folder: Path) -> list[str]:
    """Write a cover picture out and attach it; ffmpeg would otherwise store it as a film of one frame."""
    kind = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png")}.get(
        stream.codec, (stream.codec, f"image/{stream.codec}")
    )
    metadata = {key.lower(): value for key, value in stream.metadata}
    name = metadata.get("filename") or f"cover{number or ''}.{kind[0]}"
    path = folder / f"cover{number}.{kind[0]}"
    path.write_bytes(_cover_bytes(source, stream.index))
    tag = f"-metadata:s:{before + number}"
    arguments = [
        "-attach",
        str(path),
        tag,
        f"mimetype={metadata.get('mimetype', kind[1])}",
        tag,
        f"filename={name}",
    ]
    if "title" in metadata:
        arguments += [tag, f"title={metadata['title']}"]
    return arguments


def _cover_bytes(source: Source, index: int) -> bytes:
    try:
        with open_container(source.path) as container:
            for packet in container.demux(container.streams[index]):
                if packet.size:
                    return bytes(packet)
    except LIBRARY_ERRORS as error:
        raise OutputError(f"The cover picture of {source.path} cannot be read ({error}).") from error
    raise OutputError(f"The cover picture of {source.path} is empty.")
