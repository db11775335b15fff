"""What the chosen kind of output cannot hold, said before the run: pictures and raw streams carry neither sound nor time."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from rvrt_cli.media import Source
from rvrt_cli.media.av_errors import LIBRARY_ERRORS
from rvrt_cli.media.open_file import open_container
from rvrt_cli.upscale.output_path import OutputKind

PACKETS_LOOKED_AT = 600
"""Enough to see a variable frame rate, few enough for a film on a slow disk."""


def dropped_features(source: Source, kind: OutputKind) -> list[str]:
    """Sentences for what PNG images or y4m leave behind; nothing for a video, whose container is asked by ``plan_mux``."""
    if kind == "video" or source.kind != "video":
        return []
    what = "PNG images" if kind == "images" else "y4m"
    counts: Counter[str] = Counter(
        stream.kind
        for stream in source.streams
        if stream.index != source.video.index and "attached_pic" not in stream.disposition
    )
    words = {"audio": "sound", "subtitle": "subtitles", "attachment": "attachments", "video": "other films"}
    left = [word for name, word in words.items() if counts[name]]
    left += ["chapters"] if source.chapters else []
    they = "it is" if left == ["sound"] else "they are"
    found = [f"{what} cannot hold the {_listed(left)} of the source; {they} left out."] if left else []
    if kind == "images":
        found.append(
            "PNG images carry no time: the frames' timestamps are lost"
            + (", and they are not evenly spaced." if varies(source) else ".")
        )
        if source.video.sar != 1:
            found.append(f"PNG images get square pixels; the source's have the aspect {source.video.sar}.")
    if source.video.effective_color.is_hdr:
        found.append(
            f"{what} cannot say that this is HDR: the values stay as they are, players show them flat."
        )
    return found


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def varies(source: Source) -> bool:
    """Whether the first frames are unevenly spaced, by more than the rounding of the container's clock."""
    times: list[int] = []
    try:
        with open_container(source.path) as container:
            for packet in container.demux(container.streams[source.video.index]):
                if packet.pts is not None:
                    times.append(packet.pts)
                if len(times) >= PACKETS_LOOKED_AT:
                    break
    except LIBRARY_ERRORS:
        return False  # decoding will say what is wrong
    # Packets come in decode order; the last ones may lack neighbours that are shown before them.
    times = sorted(times)[:-8] if len(times) >= PACKETS_LOOKED_AT else sorted(times)
    steps = [b - a for a, b in pairwise(times)]
    if len(steps) < 2:
        return False
    usual = sorted(steps)[len(steps) // 2]
    return any(abs(step - usual) > max(1, usual / 4) for step in steps)
