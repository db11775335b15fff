"""Probe a finished file independently of how it was made and compare it with what was promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from rvrt_cli.errors import InputError, RvrtError, VerifyError
from rvrt_cli.media.av_errors import LIBRARY_ERRORS
from rvrt_cli.media.containers import CHAPTER_TAGS, TIMECODE_TAG, read_back_name
from rvrt_cli.media.languages import same_language, written_language
from rvrt_cli.media.mux_plan import MuxPlan, StreamPlan
from rvrt_cli.media.open_file import open_container
from rvrt_cli.media.probe import probe
from rvrt_cli.media.source import ColorTags, Source, Stream
from rvrt_cli.media.stream_packets import streams_with_packets

# Sound is copied packet by packet; its first packets may be dropped by a muxer, damaged ones by the demuxer.
SOUND_START_TOLERANCE_S = 0.06
SOUND_LOSS_TOLERANCE = 0.02
PCM_PACKET_BYTES = 1 << 14
# Containers count the last packet of each track in their own clock; cut sound ends on a packet.
DURATION_TOLERANCE_S = 0.5
# Parts of a film shorter than this may fall between two packets of its sound.
EMPTY_SOUND_S = 0.25


@dataclass(frozen=True, eq=False)
class Expected:
    """What the output must be. pts: int64 (frames,) in time_base units, increasing, as they stand in the output.

    shift_s: what was added to the source's clock. rotation, flipped: of the display matrix the output carries.
    dry_run: the film is a few frames of it, and the other streams may last as long as they like; brief: they are cut to
    its length, too.
    """

    pts: np.ndarray
    time_base: Fraction
    width: int
    height: int
    color: ColorTags = field(default_factory=ColorTags)
    sar: Fraction = Fraction(1)
    shift_s: float = 0.0
    trimmed: bool = False
    last_duration: int = 0
    rotation: int = 0
    flipped: bool = False
    dry_run: bool = False
    brief: bool = False


class SideStreamsError(VerifyError):
    """The film is as promised, something beside it is not. ``problems``: what, as clauses.

    only_labels: all streams are there, and differ in names, languages, the number of covers or chapters, or the timecode.
    """

    def __init__(self, problems: list[str], *, only_labels: bool) -> None:
        super().__init__(f"The output is not what was promised: {'; '.join(problems)}.")
        self.problems = problems
        self.only_labels = only_labels


@dataclass
class _Track:
    """What a pass over the packets found. size_bytes: of their content. first_s: None where no packet has a time.

    longest_s: duration of the longest packet.
    """

    packets: int = 0
    size_bytes: int = 0
    first_s: float | None = None
    longest_s: float = 0.0


def verify_output(source: Source, output: Path, expected: Expected, plan: MuxPlan) -> None:
    """Raise :class:`VerifyError` when frame count, timestamps, duration, size or tags differ from what was promised.

    Errors: :class:`SideStreamsError` where only the other streams, languages, names or chapters do.
    """
    try:
        result = probe(output, video_stream=_film_index(output, plan))
        pts, time_base, tracks = _scan(output, result.video.index)
    except InputError as error:
        raise VerifyError(f"The output cannot be read back: {error}") from error
    except (OSError, *LIBRARY_ERRORS) as error:
        raise VerifyError(f"The output cannot be read back ({error}).") from error
    problems = [
        *_compare_video(result, expected, plan),
        *_compare_times(pts, time_base, expected),
        *_compare_duration(source, result, expected, tracks),
    ]
    if problems:
        raise VerifyError(
            f"The output is not what was promised: {'; '.join(problems)}. It was not put in place; please report this."
        )
    if source.kind != "video":
        return
    pairs, streams = _compare_streams(source, result, plan, expected)
    streams += _compare_sound(source, tracks, expected, pairs)
    labels = _compare_labels(source, result, plan, expected, pairs) if pairs else []
    labels = [label for label in labels if label not in plan.differences]
    if streams or labels:
        raise SideStreamsError([*streams, *labels], only_labels=not streams)


def _film_index(output: Path, plan: MuxPlan) -> int | None:
    """Index of the film in the output: its streams stand in the plan's order, but muxers leave out empty ones."""
    kept = [p for p in _in_order(plan) if p.kind == "video"]
    number = next(i for i, p in enumerate(kept) if p.action == "upscale")
    with open_container(output) as container:
        films = [stream.index for stream in container.streams.video]
    return films[number] if number < len(films) else None


def _in_order(plan: MuxPlan) -> list[StreamPlan]:
    return [p for p in plan.kept if p.action != "attach"]


def _scan(path: Path, video_index: int) -> tuple[np.ndarray, Fraction, dict[int, _Track]]:
    """Timestamps of the video's packets (sorted) and a summary of every other stream, from one pass over the file."""
    pts: list[int] = []
    tracks: dict[int, _Track] = {}
    with open_container(path) as container:
        time_base = Fraction(container.streams[video_index].time_base or 1)
        for packet in container.demux():
            if not packet.size or packet.stream.type == "attachment":
                continue
            if packet.stream_index == video_index:
                if packet.pts is not None and not packet.is_discard:
                    pts.append(packet.pts)
                continue
            track = tracks.setdefault(packet.stream_index, _Track())
            track.packets += 1
            track.size_bytes += packet.size
            if packet.pts is not None and packet.time_base is not None:
                start = float(packet.pts * packet.time_base)
                track.first_s = start if track.first_s is None else min(track.first_s, start)
                track.longest_s = max(track.longest_s, float((packet.duration or 0) * packet.time_base))
    return np.sort(np.array(pts, np.int64)), time_base, tracks


def _compare_streams(
    source: Source, result: Source, plan: MuxPlan, expected: Expected
) -> tuple[list[tuple[Stream, StreamPlan]], list[str]]:
    """(streams of the output with what was planned for them, problems); no pairs where the lists do not fit together."""
    by_index = {s.index: s for s in source.streams}
    # MP4's chapters and timecodes are tracks, which the muxer makes of the film's tags.
    own = (TIMECODE_TAG, *CHAPTER_TAGS) if result.format.startswith("mov") else ()
    found = [
        s for s in result.streams
        if s.kind != "attachment" and "attached_pic" not in s.disposition and not (s.kind == "data" and s.codec in own)
    ]  # fmt: skip
    wanted = [
        p for p in _in_order(plan)
        if p.kind != "attachment" and "attached_pic" not in _disposition(by_index, p.index)
    ]  # fmt: skip
    names = [(s.kind, s.codec) for s in found]
    if names != _names(wanted, plan):
        wanted = _without_empty(source, wanted, names, expected, plan)
    if names != _names(wanted, plan):
        return [], [
            f"its streams are {[' '.join(name) for name in names]}, not {[' '.join(name) for name in _names(wanted, plan)]}"
        ]
    return list(zip(found, wanted, strict=True)), []


def _compare_labels(
    source: Source, result: Source, plan: MuxPlan, expected: Expected, pairs: list[tuple[Stream, StreamPlan]]
) -> list[str]:
    """What streams are called, and what hangs on the whole: covers, attachments, timecode, chapters."""
    by_index = {s.index: s for s in source.streams}
    problems = []
    for stream, p in pairs:
        origin = by_index[p.index]
        language, name = written_language(origin.language, plan.container), origin.title
        if same_language(stream.language) != same_language(language):
            problems.append(
                f"stream {stream.index} has the language {stream.language or 'und'}, not {language or 'und'}"
            )
        if name and stream.title != name and p.kind != "data":
            problems.append(f"stream {stream.index} has the name {stream.title!r}, not {name!r}")
    # Matroska makes covers of the kinds of pictures it knows, files of the others.
    promised = len([
        p for p in plan.kept
        if p.kind == "attachment" or "attached_pic" in _disposition(by_index, p.index)
    ])  # fmt: skip
    extra = len([s for s in result.streams if s.kind == "attachment" or "attached_pic" in s.disposition])
    if extra != promised:
        problems.append(f"it holds {extra} attachments and covers, not {promised}")
    if (
        plan.timecode
        and result.format.startswith("mov")
        and not any(s.codec == TIMECODE_TAG for s in result.streams)
    ):
        problems.append(f"it has no timecode, not {plan.timecode}")
    chapters = len(source.chapters) if plan.chapters else 0
    if not expected.trimmed and not expected.brief and len(result.chapters) < chapters:
        problems.append(f"it holds {len(result.chapters)} chapters, not {chapters}")
    return problems


def _names(plans: list[StreamPlan], plan: MuxPlan) -> list[tuple[str, str]]:
    return [(p.kind, read_back_name(p.codec, plan.container)) for p in plans]


def _without_empty(
    source: Source,
    wanted: list[StreamPlan],
    found: Sequence[tuple[str, str]],
    expected: Expected,
    plan: MuxPlan,
) -> list[StreamPlan]:
    """``wanted`` less the tracks that have nothing to say in this part of the film, where containers leave them out."""
    seconds = float(
        (int(expected.pts[-1]) + expected.last_duration - int(expected.pts[0])) * expected.time_base
    )
    begin_s = float(int(expected.pts[0]) * expected.time_base) - expected.shift_s
    others = {p.index for p in wanted if p.action != "upscale"}
    part = expected.trimmed or expected.brief
    if not part:
        empty = others - streams_with_packets(source, others)
    elif seconds < EMPTY_SOUND_S:
        empty = others
    else:
        empty = others - streams_with_packets(source, others, begin_s, begin_s + seconds)
    kept, left = [], list(found)
    for track, name in zip(wanted, _names(wanted, plan), strict=True):
        if left and left[0] == name:
            left.pop(0)
            kept.append(track)
        elif track.index not in empty:
            kept.append(track)
    return kept


def _disposition(by_index: dict[int, Stream], index: int) -> frozenset[str]:
    return by_index[index].disposition if index in by_index else frozenset()


def _compare_video(result: Source, expected: Expected, plan: MuxPlan) -> list[str]:
    video, problems = result.video, []
    codec = next(p.codec for p in plan.kept if p.action == "upscale")
    if video.codec != codec:
        problems.append(f"its film is {video.codec}, not {codec}")
    if (video.width, video.height) != (expected.width, expected.height):
        problems.append(f"its size is {video.width}x{video.height}, not {expected.width}x{expected.height}")
    if (video.rotation, video.flipped) != (expected.rotation, expected.flipped):
        problems.append(f"its rotation is {video.rotation}, not {expected.rotation}")
    # WebM states the width of the picture as shown, in whole pixels.
    rounding = Fraction(1, 2) / (expected.width * expected.sar)
    if abs(video.sar / expected.sar - 1) > Fraction(1, 100) + rounding:
        problems.append(f"its pixel aspect is {video.sar}, not {expected.sar}")
    color, wanted = video.color, expected.color
    for name in ("matrix", "primaries", "transfer"):
        is_, ought = getattr(color, name), getattr(wanted, name)
        if ought != 2 and is_ != ought and not (name == "matrix" and {is_, ought} == {5, 6}):
            problems.append(f"its colour {name} is {is_}, not {ought}")
    if wanted.range and color.range and color.range != wanted.range:
        problems.append(f"its colour range is {color.range}, not {wanted.range}")
    return problems


def _compare_times(pts: np.ndarray, time_base: Fraction, expected: Expected) -> list[str]:
    if len(pts) != len(expected.pts):
        return [f"it has {len(pts)} frames, not {len(expected.pts)}"]
    # A container's clock may be coarser than the source's (Matroska: 1 ms); then the nearest tick is right.
    exact = (expected.time_base / time_base).denominator == 1
    tolerance = 0.0 if exact else 0.5001 * float(time_base)
    wanted = expected.pts.astype(np.float64) * float(expected.time_base)
    if exact:
        difference = np.abs(pts - expected.pts * int(expected.time_base / time_base)) * float(time_base)
    else:
        difference = np.abs(pts * float(time_base) - wanted)
    worst = int(np.argmax(difference))
    if difference[worst] > tolerance:
        return [
            f"frame {worst} is shown at {float(pts[worst] * time_base):.6f} s, not at {wanted[worst]:.6f} s"
        ]
    return []


def _compare_duration(
    source: Source, result: Source, expected: Expected, tracks: dict[int, _Track]
) -> list[str]:
    """The file lasts at least as long as the film, and no longer than film and source (its sound may be the longer one)."""
    if result.duration_s is None or len(expected.pts) == 0 or expected.dry_run:
        return []
    film_s = float((int(expected.pts[-1] - expected.pts[0]) + expected.last_duration) * expected.time_base)
    end_s = float((int(expected.pts[-1]) + expected.last_duration) * expected.time_base)
    longest_s = max(
        end_s,
        film_s
        if expected.trimmed
        else (source.duration_s or 0.0) + max(source.start_s, 0.0) + abs(expected.shift_s),
    )
    # Matroska also counts what is skipped before zero, where an edit list or a decoder's warming up hides it, and a
    # range ends with whole packets.
    hidden_s = -min(
        (t.first_s for t in tracks.values() if t.first_s is not None and t.first_s < 0), default=0.0
    )
    packet_s = max((t.longest_s for t in tracks.values()), default=0.0) if expected.trimmed else 0.0
    longest_s += hidden_s + packet_s
    if not film_s - DURATION_TOLERANCE_S <= result.duration_s <= longest_s + DURATION_TOLERANCE_S:
        return [f"it lasts {result.duration_s:.3f} s, not {film_s:.3f} s"]
    return []


def _compare_sound(
    source: Source, tracks: dict[int, _Track], expected: Expected, pairs: list[tuple[Stream, StreamPlan]]
) -> list[str]:
    """Number, start and end of the packets of copied sound against the source's own."""
    copied = [(stream.index, p) for stream, p in pairs if p.action == "copy" and p.kind == "audio"]
    if not copied or expected.trimmed or expected.dry_run:
        return []
    try:
        _, _, origin = _scan(source.path, source.video.index)
    except (RvrtError, OSError, *LIBRARY_ERRORS):
        return []  # the source is damaged somewhere; what could be read of it was copied
    problems = []
    for position, p in copied:
        before, after = origin.get(p.index, _Track()), tracks.get(position, _Track())
        # Muxers regroup PCM; its packets mean nothing.
        unit, floor = ("size_bytes", 2 * PCM_PACKET_BYTES) if p.codec.startswith("pcm") else ("packets", 2)
        was, is_ = getattr(before, unit), getattr(after, unit)
        if abs(was - is_) > floor + SOUND_LOSS_TOLERANCE * was:
            problems.append(f"sound stream {p.index} has {is_} {unit.removeprefix('size_')}, not {was}")
        elif before.first_s is not None and after.first_s is not None:
            moved = after.first_s - before.first_s - expected.shift_s
            if abs(moved) > SOUND_START_TOLERANCE_S:
                problems.append(f"sound stream {p.index} moved by {moved:.3f} s against the picture")
    return problems
