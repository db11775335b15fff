"""The ffmpeg command that assembles the final file: which streams, in which order, with which tags."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from rvrt_cli.media.clock import ARBITRARY_START
from rvrt_cli.media.containers import METADATA_KEYS, MUXERS, QUICKTIME_KEY
from rvrt_cli.media.covers import attach_arguments
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.encoder_options import mastering_display_text
from rvrt_cli.media.ffmpeg import ffmpeg_executable
from rvrt_cli.media.languages import written_language
from rvrt_cli.media.mux_clock import FilmEnd, duration_filter, movie_timescale, track_timescale
from rvrt_cli.media.mux_plan import MuxPlan, StreamPlan, codec_arguments
from rvrt_cli.media.segment import SegmentFooter
from rvrt_cli.media.side_streams import copy_side_streams, hides_sound
from rvrt_cli.media.source import Source, Stream
from rvrt_cli.media.subtitles import write_text

# Written by a muxer about the old stream; wrong for the new one.
STALE_TAGS = (
    "BPS", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "DURATION", "ENCODER", "ENCODER_OPTIONS", "_STATISTICS_TAGS",
    "_STATISTICS_WRITING_APP", "_STATISTICS_WRITING_DATE_UTC", "encoder", "alpha_mode",
)  # fmt: skip
PACKETS_REHEARSED = 4
SOUND_REHEARSED_S = 0.5
# What an MP4 says about its own layout; ffmpeg hands it on as if it were about the film.
BRANDS = ("major_brand", "minor_version", "compatible_brands")


def assembling_command(
    source: Source,
    output: Path,
    settings: EncodeSettings,
    plan: MuxPlan,
    feed_format: str,
    footers: Sequence[SegmentFooter],
    shift: int,
    trimmed: bool,
    folder: Path,
    dry_run: bool,
    brief: bool,
) -> list[str]:
    """The command that reads the feed from standard input, everything else from the source, and writes ``output``.

    shift: ticks added to the source's times. folder: for what must be copied aside first. dry_run: only the first packets
    of the other streams are written, but of all that are anywhere in the film; brief: not even these are waited for.
    """
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
    cut_before = from_source and trimmed and not begins_with_the_sound(source, footers[0], settings)
    if from_source:
        start_s = float(footers[0].first_pts * time_base) if cut_before else None
        ends = footers[-1].last_pts + footers[-1].last_duration
        end_s = float(ends * time_base) if trimmed or brief else None
        moved_s = float(shift * time_base)
        timing = ["-itsoffset", f"{moved_s:.6f}"] if shift else []
        if start_s is not None:
            # The exact seek would cut converted sound at this time of the *shifted* clock (atrim below).
            timing += ["-seek_timestamp", "1", "-noaccurate_seek", "-ss", f"{start_s:.6f}"]
        command += [*timing, "-protocol_whitelist", "file", "-i", f"file:{source.path}"]
        inputs = 2
        aside = _streams_to_copy_first(source, in_order, plan.container, trimmed)
        if aside:
            taken_from |= {index: f"2:{number}" for number, index in enumerate(aside)}
            command += [*timing, "-i", f"file:{copy_side_streams(source, aside, folder, start_s, end_s)}"]
            inputs += 1
        for index, path in _converted_text(
            source, in_order, plan.container, folder, moved_s, footers, settings, trimmed
        ).items():
            taken_from[index] = f"{inputs}:0"
            command += ["-f", "srt", "-i", f"file:{path}"]
            inputs += 1
    for p in in_order:
        command += ["-map", "0:v:0" if p.action == "upscale" else taken_from[p.index]]
    by_index = {s.index: s for s in source.streams}
    for position, p in enumerate(in_order):
        command += codec_arguments(p, position, plan.container)
        if p.action == "upscale":
            command += [
                f"-bsf:{position}",
                duration_filter(settings, FilmEnd.of(settings, footers, shift), feed_format),
            ]
            command += _aspect_arguments(settings, position, feed_format)
        if not from_source:
            continue
        stream = by_index[p.index]
        if cut_before and p.action == "copy":
            # Seeking lands before the range; packets copied from there would start before zero, and Matroska would
            # move everything later to make up for it.
            command += [f"-copypriorss:{position}", "0"]
        if p.action == "convert" and p.kind == "audio" and (cut_before or dry_run):
            command += [f"-filter:{position}", _sound_range(cut_before, dry_run, stream, shift * time_base)]
        if dry_run and p.action == "copy":
            command += [f"-bsf:{position}", f"noise=drop=gte(n\\,{PACKETS_REHEARSED})"]
        command += [f"-map_metadata:s:{position}", f"1:s:{p.index}"]
        command += [f"-disposition:{position}", "+".join(sorted(stream.disposition)) or "0"]
        command += _track_tags(stream, plan.container, position)
        if p.action == "upscale":
            command += _video_tags(settings, stream, position)
            command += [f"-metadata:s:{position}", f"timecode={plan.timecode}"]
        elif p.action == "convert":
            command += [argument for tag in STALE_TAGS for argument in (f"-metadata:s:{position}", f"{tag}=")]
    if not from_source:
        command += _video_tags(settings, None, 0)
    covers = [by_index[p.index] for p in plan.kept if p.action == "attach"]
    for number, stream in enumerate(covers):
        command += attach_arguments(source, stream, number, len(in_order), folder)
    if from_source:
        command += [
            "-map_metadata",
            "1",
            "-map_chapters",
            "1" if plan.chapters else "-1",
            "-metadata",
            "timecode=",
        ]
        if source.format.startswith("mov"):
            command += [argument for key in BRANDS for argument in ("-metadata", f"{key}=")]
        if plan.quicktime_keys:
            command += ["-movflags", "use_metadata_tags", *_quicktime_names(source)]
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
    if from_source and (trimmed or brief):
        end = footers[-1].last_pts + footers[-1].last_duration + shift
        command += ["-t", f"{float(end * time_base):.6f}"]
    if plan.container in ("mp4", "mov"):
        command += [
            "-video_track_timescale",
            str(track_timescale(time_base)),
            "-movie_timescale",
            str(movie_timescale(source, settings)),
        ]
    return [*command, "-f", MUXERS[plan.container], f"file:{output}"]


def _converted_text(
    source: Source,
    in_order: Sequence[StreamPlan],
    container: str,
    folder: Path,
    moved_s: float,
    footers: Sequence[SegmentFooter],
    settings: EncodeSettings,
    trimmed: bool,
) -> dict[int, Path]:
    """Files with the text of the subtitles that are converted, on the clock of the final file."""
    streams = [p.index for p in in_order if p.kind == "subtitle" and p.action == "convert"]
    if not streams or source.clock_jumps:  # the formats whose clock jumps hold no text
        return {}
    begin, end = footers[0].first_pts, footers[-1].last_pts + footers[-1].last_duration
    return write_text(
        source.path,
        streams,
        folder,
        before_zero_s=max(-source.start_s, 0.0),
        moved_s=moved_s,
        span_s=(float(begin * settings.time_base), float(end * settings.time_base)) if trimmed else None,
        one_at_a_time=container in ("mp4", "mov"),
    )


def _track_tags(stream: Stream, container: str, position: int) -> list[str]:
    """Language and name of a track, where the container calls them something else than the source does."""
    tag = f"-metadata:s:{position}"
    tags = []
    language = written_language(stream.language, container)
    if language != dict(stream.metadata).get("language"):
        tags += [tag, f"language={language or ''}"]
    if stream.title is not None and "title" not in dict(stream.metadata):
        tags += [tag, f"title={stream.title}"]
        tags += [part for key, _ in stream.metadata if key.lower() == "name" for part in (tag, f"{key}=")]
    return tags


def _quicktime_names(source: Source) -> list[str]:
    """The common facts also by QuickTime's names: its list of keys replaces MP4's own, which players look into for them."""
    known = dict(source.metadata)
    missing = [key for key in sorted(METADATA_KEYS["mov"] & known.keys()) if QUICKTIME_KEY + key not in known]
    return [
        part
        for key in missing
        if key not in ("creation_time", "location", "date")
        for part in ("-metadata", f"{QUICKTIME_KEY}{key}={known[key]}")
    ]


def _sound_range(cut_before: bool, dry_run: bool, stream: Stream, moved_s: Fraction) -> str:
    """A filter that leaves out what is before zero, and in a dry run nearly all."""
    until = float(max((stream.start_s or 0.0) + moved_s, 0)) + SOUND_REHEARSED_S
    return ":".join(
        ["atrim=start=0" if cut_before else "atrim=start=-1000", *([f"end={until:.3f}"] if dry_run else [])]
    )


def begins_with_the_sound(source: Source, first: SegmentFooter, settings: EncodeSettings) -> bool:
    """Whether a run begins where the film does, so that only packets for the sound decoder's warming up lie before it.

    They must stay: containers say how much of what a decoder gives is to be skipped, whether they are there or not. Nor may
    ffmpeg seek, which passes them by in Matroska.
    """
    first_s = float(first.first_pts * settings.time_base)
    film_s = source.start_s if source.format in ARBITRARY_START else max(source.start_s, 0.0)
    return first_s <= film_s + float(settings.time_base) / 2 and not hides_sound(source)


def _streams_to_copy_first(
    source: Source, plans: Sequence[StreamPlan], container: str, trimmed: bool
) -> list[int]:
    """Indices of the streams that must be copied into a file of their own first, because ffmpeg would misplace them."""
    others = [p for p in plans if p.action != "upscale"]
    if source.clock_jumps:
        return [p.index for p in others]
    sound = [p.index for p in others if p.kind == "audio"]
    return sound if sound and trimmed and container in ("mkv", "webm") and hides_sound(source) else []


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


def _hdr_arguments(settings: EncodeSettings) -> list[str]:
    hdr = settings.hdr
    if hdr is None:
        return []
    arguments = []
    text = mastering_display_text(hdr, scaled=True)
    if text:
        arguments += ["-mastering_display:v:0", text]
    if hdr.max_cll is not None:
        arguments += ["-content_light:v:0", f"{hdr.max_cll},{hdr.max_fall or 0}"]
    return arguments
