"""Decide what happens to every stream of the source in the final file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rvrt_cli.errors import RvrtError
from rvrt_cli.media.containers import (
    MP4_KEYS,
    MUXERS,
    SOUND_CODEC,
    TEXT_CODEC,
    TEXT_SUBTITLES,
    read_back_name,
)
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.ffmpeg import run_ffmpeg
from rvrt_cli.media.guard import LIBRARY_ERRORS
from rvrt_cli.media.probe import codec_name, open_container
from rvrt_cli.media.scratch import scratch_folder
from rvrt_cli.media.source import Source, Stream


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
    with scratch_folder() as folder:
        arguments = ["-v", "error", "-protocol_whitelist", "file", "-i", f"file:{source.path}"]
        for plan in plans:
            arguments += ["-map", f"0:{plan.index}"]
        for position, plan in enumerate(plans):
            arguments += codec_arguments(plan, position, container)
        arguments += ["-t", "0.5", "-strict", "-2", "-f", MUXERS[container], f"file:{folder / 'trial'}"]
        try:
            run_ffmpeg(arguments, doing="trying which streams the container can hold", timeout_s=120)
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
        return [f"-c:{position}", codec, *([f"-b:{position}", rate] if rate else [])]
    return [f"-c:{position}", plan.codec]
