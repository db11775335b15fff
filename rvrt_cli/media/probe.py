"""Find out what an input is, in bounded time, before anything is promised about it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from rvrt_cli.media.source import Source


def probe(path: Path | str, *, video_stream: int | None = None, fps: Fraction | None = None) -> Source:
    """Probe a video file, an image sequence (folder or ``%05d`` pattern) or y4m on standard input (``"-"``).

    video_stream: index of the stream to upscale; the default is the one ffmpeg would pick.
    fps: frame rate of an image sequence (default 24); ignored for the others.
    Errors: :class:`InputError` with one sentence for everything that cannot be upscaled.
    """
    raise NotImplementedError
