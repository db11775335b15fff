"""Pictures of a run of frames, one by one: push frames in order, get pictures as soon as they are final."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from rvrt_cli.errors import NonFiniteError
from rvrt_cli.imaging.fixed_point import to_float
from rvrt_cli.inference.restorer import BicubicRestorer, IdentityRestorer, Restorer
from rvrt_cli.upscale.tiles import TilePlan, restore_packed


class PictureStream(Protocol):
    """Pictures of one run of frames of one shot. Push frames in order; get finished pictures in order, as soon as they are final."""

    def push(self, lq: np.ndarray, wanted: bool = True) -> Iterator[np.ndarray]:
        """``lq`` (h, w, c) float32 [0, 1]. ``wanted`` False: a context frame (lead or look-ahead), no picture is made of it.

        Yields (s*h, s*w, 3) float32, not clipped, of the wanted frames, in order. The caller exhausts the iterator. The
        array is the caller's until the next one is asked for.
        """
        ...

    def finish(self) -> Iterator[np.ndarray]:
        """No more frames of this run: the remaining pictures; afterwards the stream is as new."""
        ...

    def close(self) -> None:
        """Free what it holds; the restorer stays open."""
        ...


def open_stream(
    restorer: Restorer, height: int, width: int, *, window: int, lookahead: int, tile: TilePlan
) -> PictureStream:
    """A stream of pictures of (height, width) LQ pixels. Errors while pushing: those of the restorer."""
    if isinstance(restorer, BicubicRestorer | IdentityRestorer):
        window, lookahead = 1, 0  # a picture depends on its frame alone
    return _WindowStream(restorer, window, lookahead, tile)


class _WindowStream:
    """Calls the restorer on windows with ``lookahead`` frames of context on both sides."""

    def __init__(self, restorer: Restorer, window: int, lookahead: int, tile: TilePlan) -> None:
        self._restorer = restorer
        self._window, self._lookahead, self._tile = window, lookahead, tile
        self._clear()

    def _clear(self) -> None:
        self._frames: list[np.ndarray] = []
        self._wanted: list[bool] = []
        self._done = 0  # of the frames held: how many have their pictures, or are context

    def push(self, lq: np.ndarray, wanted: bool = True) -> Iterator[np.ndarray]:
        self._frames.append(lq)
        self._wanted.append(wanted)
        if len(self._frames) - self._done >= self._window + self._lookahead:
            yield from self._make(self._done + self._window)

    def finish(self) -> Iterator[np.ndarray]:
        if self._done < len(self._frames):
            yield from self._make(len(self._frames))
        self._clear()

    def close(self) -> None:
        self._clear()

    def _make(self, stop: int) -> Iterator[np.ndarray]:
        if any(self._wanted[self._done : stop]):
            pictures = restore_packed(self._restore, np.stack(self._frames), self._restorer.scale, self._tile)
            for index in range(self._done, stop):
                if self._wanted[index]:
                    picture = pictures[index]
                    yield to_float(picture)
        drop = max(0, stop - self._lookahead)
        drop -= drop % 2 if self._window > 1 else 0  # frames are paired
        del self._frames[:drop], self._wanted[:drop]
        self._done = stop - drop

    def _restore(self, lq: np.ndarray) -> np.ndarray:
        made = self._restorer(lq)
        # One sum finds NaN and infinity without a second array; codes of tiles have no place for them.
        if not math.isfinite(float(made.sum())):
            raise NonFiniteError(
                "the model made NaN or infinite pixels; try --precision fp32 or another --backend, and report it."
            )
        return made
