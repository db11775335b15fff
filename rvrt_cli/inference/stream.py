"""Pictures of one run of frames, as soon as they are final: what upscaling asks of any restorer, whole or in tiles."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from rvrt_cli.errors import NonFiniteError
from rvrt_cli.imaging.fixed_point import to_float
from rvrt_cli.inference.tiles import TilePlan, blend_tile, spans_of


class PictureStream(Protocol):
    """Pictures of one run of frames of one shot. Push frames in order; get finished pictures in order, as soon as they are final.

    What comes out is a function of what was pushed since the stream was opened or last finished, and of nothing else.
    """

    def push(self, lq: np.ndarray, wanted: bool = True) -> Iterator[np.ndarray]:
        """Take a frame ``(h, w, c)`` float32 in [0, 1]; give finished pictures ``(s·h, s·w, 3)`` float32, not clipped.

        ``wanted`` False: a context frame (before or after what is wanted), no picture is made of it. The caller exhausts
        the iterator before it pushes the next frame; a picture is the caller's until the next one is asked for.
        Errors: :class:`OutOfMemoryError_` and :class:`NonFiniteError`, after which the stream is closed.
        """
        ...

    def finish(self) -> Iterator[np.ndarray]:
        """No more frames of this run: the remaining pictures; afterwards the stream is as new."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class PerFrameStream:
    """Of a restorer that looks at one frame at a time."""

    def __init__(self, restore: Callable[[np.ndarray], np.ndarray]) -> None:
        self._restore = restore

    def push(self, lq: np.ndarray, wanted: bool = True) -> Iterator[np.ndarray]:
        if wanted:
            yield self._restore(lq[None])[0]

    def finish(self) -> Iterator[np.ndarray]:
        return iter(())

    def close(self) -> None:
        """Nothing to free."""


class WindowStream:
    """Of a caller's own restorer that knows whole sequences only: it is given each window with its look-ahead."""

    def __init__(self, restore: Callable[[np.ndarray], np.ndarray], window: int, lookahead: int) -> None:
        self._restore, self._window, self._lookahead = restore, window, lookahead
        self._frames: list[tuple[np.ndarray, bool]] = []

    def push(self, lq: np.ndarray, wanted: bool = True) -> Iterator[np.ndarray]:
        self._frames.append((lq, wanted))
        if len(self._frames) == self._window + self._lookahead:
            yield from self._pictures(self._window)

    def finish(self) -> Iterator[np.ndarray]:
        if self._frames:
            yield from self._pictures(len(self._frames))

    def close(self) -> None:
        self._frames = []

    def _pictures(self, count: int) -> Iterator[np.ndarray]:
        frames, self._frames = self._frames, self._frames[count:]
        if any(wanted for _, wanted in frames[:count]):
            sr = self._restore(np.stack([lq for lq, _ in frames]))
            yield from (sr[i] for i in range(count) if frames[i][1])


class NoisyStream:
    """Another stream, of frames with a noise level as their fourth channel. ``level``: sigma / 255."""

    def __init__(self, inner: PictureStream, level: float) -> None:
        self._inner, self._level = inner, level

    def push(self, lq: np.ndarray, wanted: bool = True) -> Iterator[np.ndarray]:
        level = np.full((*lq.shape[:2], 1), self._level, np.float32)
        return self._inner.push(np.concatenate([lq, level], axis=-1), wanted)

    def finish(self) -> Iterator[np.ndarray]:
        return self._inner.finish()

    def close(self) -> None:
        self._inner.close()


class SequentialStream:
    """Streams one after the other: pictures of each, cut to [0, 1], are the frames of the next.

    Context frames are context of the last one, so the others make pictures of them too.
    """

    def __init__(self, parts: Sequence[PictureStream]) -> None:
        self._parts = list(parts)
        self._wanted: deque[bool] = deque()

    def push(self, lq: np.ndarray, wanted: bool = True) -> Iterator[np.ndarray]:
        self._wanted.append(wanted)
        return self._into(0, lq)

    def finish(self) -> Iterator[np.ndarray]:
        for index, part in enumerate(self._parts):
            for picture in part.finish():
                yield from self._onward(index, picture)

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def _into(self, index: int, lq: np.ndarray) -> Iterator[np.ndarray]:
        last = index == len(self._parts) - 1
        for picture in self._parts[index].push(lq, self._wanted.popleft() if last else True):
            yield from self._onward(index, picture)

    def _onward(self, index: int, picture: np.ndarray) -> Iterator[np.ndarray]:
        if index == len(self._parts) - 1:
            yield picture
        else:
            yield from self._into(index + 1, np.clip(picture, 0, 1))


class CheckedStream:
    """Another stream, whose pictures are finite."""

    def __init__(self, inner: PictureStream) -> None:
        self._inner = inner

    def push(self, lq: np.ndarray, wanted: bool = True) -> Iterator[np.ndarray]:
        return map(check_finite, self._inner.push(lq, wanted))

    def finish(self) -> Iterator[np.ndarray]:
        return map(check_finite, self._inner.finish())

    def close(self) -> None:
        self._inner.close()


class TiledStream:
    """Pictures put together from a stream for each tile, with equal programs for all of them.

    The tiles work one after the other, a window at a time, so that only one of them holds features; its pictures wait as
    codes (:mod:`~rvrt_cli.imaging.fixed_point`) until all tiles have added theirs.
    """

    def __init__(
        self,
        opened: Callable[[int, int], PictureStream],
        height: int,
        width: int,
        scale: int,
        plan: TilePlan,
    ) -> None:
        self._rows, self._columns = spans_of(height, width, scale, plan)
        self._scale, self._shape = scale, (scale * height, scale * width, 3)
        self._height = max(bottom - top for top, bottom in self._rows)
        self._width = max(right - left for left, right in self._columns)
        self._tiles = [
            (row, column, opened(self._height, self._width))
            for row in range(len(self._rows))
            for column in range(len(self._columns))
        ]

    def push(self, lq: np.ndarray, wanted: bool = True) -> Iterator[np.ndarray]:
        def pushed(row: int, column: int, stream: PictureStream) -> Iterator[np.ndarray]:
            (top, bottom), (left, right) = self._rows[row], self._columns[column]
            extra = ((0, self._height - bottom + top), (0, self._width - right + left), (0, 0))
            # All tiles have one size, so one set of programs serves them: short ones are mirrored at their ends.
            return stream.push(np.pad(lq[top:bottom, left:right], extra, "reflect"), wanted)

        return self._blended(pushed)

    def finish(self) -> Iterator[np.ndarray]:
        return self._blended(lambda row, column, stream: stream.finish())

    def close(self) -> None:
        for _, _, stream in self._tiles:
            stream.close()

    def _blended(
        self, pictures: Callable[[int, int, PictureStream], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        codes: list[np.ndarray] = []
        for row, column, stream in self._tiles:
            for i, picture in enumerate(pictures(row, column, stream)):
                if i == len(codes):
                    codes.append(np.zeros(self._shape, np.uint16))
                blend_tile(
                    codes[i],
                    check_finite(picture),
                    self._rows,
                    self._columns,
                    self._scale,
                    row,
                    column,
                )
        for i in range(len(codes)):
            picture, codes[i] = to_float(codes[i]), codes[0][:0]
            yield picture


def check_finite(picture: np.ndarray) -> np.ndarray:
    """The picture. Errors: :class:`NonFiniteError` where the model made NaN or infinite values."""
    # One sum finds NaN and infinity without a second array of this size; in float32 it takes a third of the time.
    if not math.isfinite(float(picture.sum())):
        raise NonFiniteError(
            "the model made NaN or infinite pixels; try --precision fp32 or another --backend, and report it."
        )
    return picture
