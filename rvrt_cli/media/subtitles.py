"""Text subtitles that the output's container holds in another form only.

ffmpeg writes the whole track as SubRip text, on the source's clock. Here it is cut to the range, put onto the output's clock
and, for MP4, which shows one text at a time, lines shown at the same time are joined into one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from rvrt_cli.media.ffmpeg import run_ffmpeg

_TIME = r"(\d+):(\d\d):(\d\d)[,.](\d{3})"
_HEADER = re.compile(rf"^\d+\n{_TIME} --> {_TIME}[^\n]*\n", re.MULTILINE)


@dataclass(frozen=True)
class Cue:
    """A text and when it is shown, in ms."""

    begin: int
    end: int
    text: str


def write_text(
    film: Path,
    streams: Sequence[int],
    folder: Path,
    *,
    before_zero_s: float,
    moved_s: float,
    span_s: tuple[float, float] | None,
    one_at_a_time: bool,
) -> dict[int, Path]:
    """A SubRip file in ``folder`` for each of the streams of ``film``, by index.

    before_zero_s: how far the film's clock goes below zero, which SubRip has no times for. moved_s: added to all times.
    span_s: begin and end of the range on the film's clock; lines are cut to it. Errors: :class:`OutputError`.
    """
    raw = {index: folder / f"text{index}.raw.srt" for index in streams}
    arguments = ["-v", "error", "-copyts", "-itsoffset", f"{before_zero_s:.3f}", "-protocol_whitelist", "file", "-i", f"file:{film}"]  # fmt: skip
    for index, path in raw.items():
        arguments += ["-map", f"0:{index}", "-c", "subrip", "-f", "srt", f"file:{path}"]
    run_ffmpeg(["-y", *arguments], doing="converting the subtitles")
    written = {}
    for index, path in raw.items():
        cues = [_moved(cue, -before_zero_s) for cue in read_cues(path.read_text("utf-8", "replace"))]
        if span_s is not None:
            cues = cut(cues, round(span_s[0] * 1000), round(span_s[1] * 1000))
        cues = [_moved(cue, moved_s) for cue in cues]
        if one_at_a_time:
            cues = joined(cues)
        written[index] = folder / f"text{index}.srt"
        written[index].write_text(as_text(cues), "utf-8")
    return written


def read_cues(text: str) -> list[Cue]:
    """The lines of a SubRip file, in its order."""
    text = text.replace("\r\n", "\n")
    headers = list(_HEADER.finditer(text))
    cues = []
    for number, header in enumerate(headers, 1):
        end = headers[number].start() if number < len(headers) else len(text)
        hours, minutes, seconds, ms, *last = (int(group) for group in header.groups())
        begins = ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms
        stops = ((last[0] * 60 + last[1]) * 60 + last[2]) * 1000 + last[3]
        cues.append(Cue(begins, stops, text[header.end() : end].strip("\n")))
    return cues


def as_text(cues: Sequence[Cue]) -> str:
    """``cues`` as a SubRip file; times below zero are zero."""
    blocks = [
        f"{number}\n{_clock(cue.begin)} --> {_clock(cue.end)}\n{cue.text}\n"
        for number, cue in enumerate(cues, 1)
    ]
    return "\n".join(blocks)


def _clock(ms: int) -> str:
    ms = max(ms, 0)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"


def _moved(cue: Cue, by_s: float) -> Cue:
    by = round(by_s * 1000)
    return replace(cue, begin=cue.begin + by, end=cue.end + by)


def cut(cues: Sequence[Cue], begin: int, end: int) -> list[Cue]:
    """What is shown between ``begin`` and ``end`` (ms), and only then."""
    clipped = (replace(cue, begin=max(cue.begin, begin), end=min(cue.end, end)) for cue in cues)
    return [cue for cue in clipped if cue.begin < cue.end]


def joined(cues: Sequence[Cue]) -> list[Cue]:
    """``cues`` without any two at the same time: where some overlap, one text shows all of theirs, the earliest first."""
    shown = sorted((cue for cue in cues if cue.begin < cue.end), key=lambda cue: cue.begin)
    edges = sorted({time for cue in shown for time in (cue.begin, cue.end)})
    found: list[Cue] = []
    active: list[Cue] = []
    waiting = iter(shown)
    following = next(waiting, None)
    for begin, end in pairwise(edges):
        active = [cue for cue in active if cue.end > begin]
        while following is not None and following.begin <= begin:
            active.append(following)
            following = next(waiting, None)
        if not active:
            continue
        text = "\n".join(dict.fromkeys(cue.text for cue in active))
        if found and found[-1].text == text and found[-1].end == begin and len(active) > 1:
            found[-1] = replace(found[-1], end=end)
        else:
            found.append(Cue(begin, end, text))
    return found
