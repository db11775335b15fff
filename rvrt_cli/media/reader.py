"""Decode a source into RGB frames with exact timestamps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rvrt_cli.media.frame import Frame
from rvrt_cli.media.source import Source

Deinterlace = Literal["auto", "on", "off"]


class FrameReader:
    """Iterator of :class:`Frame` and context manager; made by :func:`read_frames`.

    frame_count: frames passed so far, skipped ones included. corrupt_frames: frames with concealed damage plus packets
    that gave no frame. resized_frames: frames scaled to the first frame's size after a change of resolution.
    repaired_timestamps: frames whose timestamp was missing or not increasing. notes: sentences for the final report.
    """

    frame_count: int
    corrupt_frames: int
    resized_frames: int
    repaired_timestamps: int

    @property
    def notes(self) -> tuple[str, ...]:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        raise NotImplementedError

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


def read_frames(
    source: Source,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    max_frames: int | None = None,
    skip_frames: int = 0,
    deinterlace: Deinterlace = "auto",
    threads: int = 0,
) -> FrameReader:
    """Read the frames with ``start_s <= time < end_s`` (seconds after ``source.start_s``), at most ``max_frames`` of them.

    skip_frames: of those, decode the first N without delivering them (to continue a run); the remaining frames have the
    same index, timestamps and pixels as in a run without skipping.
    deinterlace: "auto" runs FFmpeg's bwdif on frames flagged interlaced, one frame out per frame in.
    threads: decoder threads, 0 for the decoder's choice.
    Errors: :class:`InputError` when nothing can be decoded or the range holds no frame.
    """
    raise NotImplementedError
