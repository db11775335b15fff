"""Decide what happens to every stream of the source in the final file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rvrt_cli.errors import RvrtError
from rvrt_cli.media.av_errors import LIBRARY_ERRORS
from rvrt_cli.media.containers import (
    CHAPTER_TAGS,
    COVER_CODECS,
    DATA_NAMES,
    DATA_TAGS,
    LAYOUT_KEYS,
    LOSSLESS_SOUND,
    METADATA_KEYS,
    MUXERS,
    PCM_CODEC,
    QUICKTIME_KEY,
    SOUND_CODEC,
    TEXT_CODEC,
    TEXT_SUBTITLES,
    TIMECODE_TAG,
    TRACK_KEYS,
    read_back_name,
)
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.ffmpeg import run_ffmpeg
from rvrt_cli.media.languages import same_language, written_language
from rvrt_cli.media.open_file import open_container
from rvrt_cli.media.probe import codec_name
from rvrt_cli.media.scratch import scratch_folder
from rvrt_cli.media.source import Source, Stream
from rvrt_cli.media.stream_packets import streams_with_packets
from rvrt_cli.media.timecode import later_timecode

# ffmpeg looks for the first packet of subtitles in the whole file.
TRIAL_TIMEOUT_S = 120.0
SLOWEST_BYTES_PER_S = 4e6


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
    """The final file's streams in order. warnings: sentences naming what is converted or lost; show them before the run.

    chapters: whether the source's are written. timecode: of the film's first frame, "" for none. quicktime_keys: whether
    MP4 or MOV gets QuickTime's list of metadata keys, which takes any key. differences: clauses about names, languages and the
    like that came out otherwise in a dry_run, and may in the end.
    """

    container: str
    streams: tuple[StreamPlan, ...]
    warnings: tuple[str, ...]
    chapters: bool = True
    timecode: str = ""
    quicktime_keys: bool = False
    differences: frozenset[str] = frozenset()

    @property
    def kept(self) -> tuple[StreamPlan, ...]:
        """Streams that are in the output, in its order."""
        return tuple(s for s in self.streams if s.action != "drop")

    def film_only(self, *warnings: str) -> MuxPlan:
        """This plan for pictures picked here and there, which nothing else of the source fits in time."""
        kept = tuple(stream for stream in self.streams if stream.action == "upscale")
        return replace(self, streams=kept, warnings=warnings, chapters=False, timecode="")


def plan_mux(
    source: Source,
    settings: EncodeSettings,
    *,
    trimmed: bool = False,
    start_s: float | None = None,
    end_s: float | None = None,
) -> MuxPlan:
    """Decide for every stream whether the container can hold it; asks ffmpeg to write each header once.

    start_s, end_s: of the range that is taken, in seconds after ``source.start_s``.
    Errors: :class:`InputError`, :class:`OutputError` when ffmpeg cannot read the source at all.
    """
    container = settings.container
    if source.kind != "video":
        return MuxPlan(container, (StreamPlan(0, "video", "upscale", settings.codec),), ())
    wishes = [_wish(stream, source, settings) for stream in source.streams]
    wishes = _without_empty(wishes, source, container, start_s, end_s)
    doubtful = [w for w in wishes if w.action in ("copy", "convert")]
    if doubtful and not _accepted(source, container, doubtful):
        wishes = [_settle(w, source, container) if w in doubtful else w for w in wishes]
    by_index = {s.index: s for s in source.streams}
    warnings = [_sentence(w, by_index[w.index], container) for w in wishes if w.reason]
    warnings += _language_warnings(wishes, by_index, container)
    warnings += _tag_warnings(wishes, by_index, container)
    timecode = _timecode(source, settings, start_s, warnings)
    quicktime_keys = container in METADATA_KEYS and any(
        key.startswith(QUICKTIME_KEY) for key, _ in source.metadata
    )
    if container in METADATA_KEYS and not quicktime_keys:
        lost = sorted(
            key for key, _ in source.metadata if key.lower() not in METADATA_KEYS[container] | LAYOUT_KEYS
        )
        if lost:
            warnings.append(
                f".{container} has no place for the metadata {', '.join(lost)}; it is left out (.mkv keeps it)."
            )
    if container == "webm" and source.chapters and any(c.title is None for c in source.chapters):
        warnings.append("Chapters without a title stay without one.")
    if trimmed and any(w.kind == "subtitle" and w.action == "copy" for w in wishes):
        warnings.append("Subtitles that are already shown when the chosen range begins are left out.")
    return MuxPlan(
        container, tuple(wishes), tuple(warnings), timecode=timecode, quicktime_keys=quicktime_keys
    )


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
        if container == "mp4" and stream.codec in COVER_CODECS:
            return plan("copy")
        return plan(
            "drop", reason=f"there is no place for {'such a cover' if container == 'mp4' else 'covers'}"
        )
    if stream.kind == "audio" and stream.codec.startswith("pcm_") and container in PCM_CODEC:
        codec = PCM_CODEC[container]
        exact = (
            ""
            if "32" in stream.codec or "64" in stream.codec or "f" in stream.codec[4:5]
            else ", without loss"
        )
        return plan(
            "convert", codec,
            f"is converted from {stream.codec} to {codec} of up to 24 bits{exact}, because many programs play PCM in .{container} "
            "as noise (.mov and .mkv keep it)",
        )  # fmt: skip
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
        return _wish_for_data(stream, source, container)
    return plan("copy")


def _wish_for_data(stream: Stream, source: Source, container: str) -> StreamPlan:
    """Timecodes and chapter titles are written anew; of the rest ffmpeg writes what MP4 describes by a known tag."""

    def plan(action: str, reason: str = "") -> StreamPlan:
        return StreamPlan(stream.index, "data", action, stream.codec, reason)

    quicktime, quicktime_out = source.format.startswith("mov"), container in ("mp4", "mov")
    if stream.codec == TIMECODE_TAG and dict(stream.metadata).get("timecode"):
        return plan("drop", "" if quicktime_out else "its timecode becomes a tag of the picture")
    if quicktime and source.chapters and stream.codec in CHAPTER_TAGS:
        return plan("drop")
    if not quicktime_out:
        return plan("drop", "data streams cannot be carried into this container")
    if quicktime and stream.codec in DATA_TAGS:
        return plan("copy")
    return plan("drop", "ffmpeg cannot write it so that it can be read again")


def _without_empty(
    wishes: list[StreamPlan], source: Source, container: str, start_s: float | None, end_s: float | None
) -> list[StreamPlan]:
    """``wishes`` less the tracks that have nothing to say, which MP4 cannot hold."""
    covers = {s.index for s in source.streams if "attached_pic" in s.disposition}
    doubtful = [
        w.index for w in wishes
        if container in ("mp4", "mov") and w.action in ("copy", "convert") and w.index not in covers
    ]  # fmt: skip
    if not doubtful:
        return wishes
    span = [None if t is None else t + source.start_s for t in (start_s, end_s)]
    filled = streams_with_packets(source, doubtful, *span)
    where = "" if span == [None, None] else " in the chosen range"
    return [
        replace(w, action="drop", reason=f"it is empty{where}")
        if w.index in doubtful and w.index not in filled
        else w
        for w in wishes
    ]


def _timecode(source: Source, settings: EncodeSettings, start_s: float | None, warnings: list[str]) -> str:
    """The timecode of the output's first frame: the film's own, or that of the first timecode track."""
    tags = [*source.video.metadata]
    tags += [tag for s in source.streams if s.codec == TIMECODE_TAG for tag in s.metadata]
    tags += source.metadata
    found = [value for key, value in tags if key.lower() == "timecode" and value]
    if not found:
        return ""
    rate = source.video.average_rate or settings.rate
    later = later_timecode(found[0], rate, round((start_s or 0.0) * rate))
    if later is None:
        warnings.append(
            f"The timecode {found[0]} does not fit {float(rate):.3f} frames a second; it is left out."
        )
        return ""
    others = sorted(set(found) - {found[0]})
    if others:
        warnings.append(f"The file has several timecodes; {found[0]} is kept, not {', '.join(others)}.")
    return later


def _language_warnings(
    wishes: Sequence[StreamPlan], by_index: dict[int, Stream], container: str
) -> list[str]:
    """Sentences for languages that the container cannot state as the source does."""
    found = []
    for wish in wishes:
        stream = by_index[wish.index]
        # Covers and attachments have none in MP4 and are not asked for in Matroska.
        if wish.action not in ("upscale", "copy", "convert") or same_language(stream.language) == "und":
            continue
        written = written_language(stream.language, container)
        if written is None:
            found.append(
                f"The {wish.kind} stream {wish.index} loses its language, {stream.language!r}, for which .{container} has no code."
            )
        elif len(stream.language or "") > len(written):
            found.append(
                f"The language of the {wish.kind} stream {wish.index}, {stream.language!r}, becomes {written!r} in .{container}."
            )
    return found


def _tag_warnings(wishes: Sequence[StreamPlan], by_index: dict[int, Stream], container: str) -> list[str]:
    """A sentence for the tags of single streams that MP4 and MOV have no place for."""
    if container not in METADATA_KEYS:
        return []
    lost = [
        f"{key} of the {wish.kind} stream {wish.index}"
        for wish in wishes
        if wish.action != "drop"
        for key, value in by_index[wish.index].metadata
        # mkvmerge writes some tags once more with a language, such as BPS-eng.
        if value and key.lower().partition("-")[0] not in TRACK_KEYS
    ]
    return [f".{container} has no place for {', '.join(lost)}; left out (.mkv keeps tags)."] if lost else []


def _settle(wish: StreamPlan, source: Source, container: str) -> StreamPlan:
    """Try a stream alone; where it does not fit, convert sound, and drop what cannot be converted."""
    if _accepted(source, container, [wish]):
        return wish
    if wish.kind == "audio":
        codec, _ = SOUND_CODEC[container]
        name = codec.removeprefix("lib")
        converted = replace(
            wish, action="convert", codec=name, reason=f"is converted from {_was(wish, source)} to {name}"
        )
        if _accepted(source, container, [converted]):
            return converted
    return replace(
        wish, action="drop", codec=_was(wish, source), reason="does not fit into this container or is damaged"
    )


def _was(wish: StreamPlan, source: Source) -> str:
    return next(s.codec for s in source.streams if s.index == wish.index)


def _sentence(plan: StreamPlan, stream: Stream, container: str) -> str:
    codec = DATA_NAMES.get(stream.codec, stream.codec)
    name = f"{stream.kind} stream {stream.index} ({codec}{', ' + stream.language if stream.language else ''})"
    if plan.action == "convert":
        why = "" if "because" in plan.reason else f", because .{container} cannot hold it as it is"
        return f"The {name} {plan.reason}{why}."
    return f"The {name} is left out of the .{container}: {plan.reason}."


def _accepted(source: Source, container: str, plans: Sequence[StreamPlan]) -> bool:
    """True when ffmpeg can start a file of ``container`` with these streams of the source."""
    timeout_s = TRIAL_TIMEOUT_S + source.size_bytes / SLOWEST_BYTES_PER_S
    with scratch_folder() as folder:
        arguments = ["-v", "error", "-protocol_whitelist", "file", "-i", f"file:{source.path}"]
        for plan in plans:
            arguments += ["-map", f"0:{plan.index}"]
        for position, plan in enumerate(plans):
            arguments += codec_arguments(plan, position, container)
        arguments += ["-t", "0.5", "-strict", "-2", "-f", MUXERS[container], f"file:{folder / 'trial'}"]
        try:
            run_ffmpeg(arguments, doing="trying which streams the container can hold", timeout_s=timeout_s)
        except RvrtError:
            return False
        return _reads_back(folder / "trial", container, plans)


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


def codec_arguments(plan: StreamPlan, position: int, container: str) -> list[str]:
    """ffmpeg's options that copy a stream, or convert it, as the output's stream ``position``."""
    if plan.action != "convert":
        return [f"-c:{position}", "copy"]
    if plan.kind == "audio":
        codec, rate = SOUND_CODEC[container]
        if plan.codec == PCM_CODEC.get(container):
            codec, rate = plan.codec, ""
        # Programs of some years ago play lossless sound of 24 bits a sample, not of 32.
        bits = ["-bits_per_raw_sample:" + str(position), "24"] if codec in LOSSLESS_SOUND else []
        return [f"-c:{position}", codec, *([f"-b:{position}", rate] if rate else bits)]
    return [f"-c:{position}", plan.codec]
