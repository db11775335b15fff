"""Render a segment: frames → model → finished pictures → a closed file. The same segment gives the same bytes anywhere.

The parts are generators, so that a local run can work on them in threads of their own (:mod:`.executors.local`), and
:func:`render` runs them one behind the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rvrt_cli.inference.stream import PictureStream
from rvrt_cli.media.frame import Frame
from rvrt_cli.upscale.finish import Finish
from rvrt_cli.upscale.planner import EndRun, Feed, steps_of
from rvrt_cli.upscale.segments import Segment


@dataclass(frozen=True)
class FinishedFile:
    """A segment's file (or folder of pictures) in the work folder. ``corrupt``: how many of its frames were damaged."""

    name: str
    sha256: str
    corrupt: int = 0


class SegmentFile(Protocol):
    """Takes the pictures of one segment, in order. Used by one thread."""

    def write(self, frame: Frame, picture: np.ndarray, alpha: np.ndarray | None) -> None:
        """``picture`` (H, W, 3) float32; ``frame`` carries index and timestamps."""
        ...

    def close(self) -> tuple[str, str]:
        """Finish the file durably; (name, SHA-256)."""
        ...

    def abort(self) -> None:
        """Remove what was written."""
        ...


class PictureMaker:
    """Gives frames to a stream and pairs the pictures that come out with their frames. Errors of its methods: the stream's."""

    def __init__(self, stream: PictureStream) -> None:
        self._stream = stream
        self._waiting: deque[Frame] = deque()

    def take(self, step: Feed | EndRun) -> Iterator[tuple[Frame, np.ndarray]]:
        """The frames whose pictures are final now, with them. A picture is valid until the next one is asked for."""
        if isinstance(step, Feed):
            if step.wanted:
                self._waiting.append(step.frame)
            pictures = self._stream.push(np.clip(step.frame.rgb, 0, 1), step.wanted)
        else:
            pictures = self._stream.finish()
        for picture in pictures:
            frame = self._waiting.popleft()
            yield frame, picture
        if isinstance(step, EndRun) and self._waiting:
            raise AssertionError(f"the model made no picture of frame {self._waiting[0].index}")

    def close(self) -> None:
        """Free what the stream holds."""
        self._stream.close()


def write_picture(finish: Finish, frame: Frame, picture: np.ndarray, file: SegmentFile) -> None:
    """Finish a picture of the model (strength, size, comparison, alpha) and append it to ``file``."""
    alpha = finish.alpha(frame.alpha) if frame.alpha is not None else None
    file.write(frame, finish.picture(frame.rgb, picture), alpha)


def render(
    segment: Segment, frames: Iterable[Frame], stream: PictureStream, finish: Finish, file: SegmentFile
) -> FinishedFile:
    """Render ``segment`` into ``file``. ``frames``: from its first one of context on; ``stream``: as new, of its model and tiles."""
    maker, corrupt = PictureMaker(stream), 0
    for step in steps_of(segment, frames):
        for frame, picture in maker.take(step):
            write_picture(finish, frame, picture, file)
            corrupt += frame.corrupt
    return FinishedFile(*file.close(), corrupt)
