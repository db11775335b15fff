"""Cut a shot into windows: runs of frames given to the model in one call.

Consecutive windows share ``overlap`` frames. In the shared run each window drops the quarter nearest to its own edge
(where it lacks neighbours) and the middle half is cross-faded, so no frame shows where a window ends. A window never
crosses a cut. All starts have the parity of the shot's start, because RVRT updates frames in clips of two and another
pairing gives slightly other pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from rvrt_cli.errors import UsageError
from rvrt_cli.imaging.fixed_point import add_weighted, to_float

CLIP = 2

T = TypeVar("T")


@dataclass(frozen=True)
class Window:
    """Frames ``start`` to ``stop`` (exclusive) of a film, given to the model in one call.

    ``origin``: where planning stood when the window was made; planning again from there makes the same window.
    ``lead_in`` / ``lead_out``: frame boundary shared with the window before / after; None at a shot's edge.
    ``fade_in`` / ``fade_out``: half the length of the cross-fade around that boundary.
    """

    start: int
    stop: int
    origin: int
    shot_start: int
    size: int
    lead_in: int | None = None
    fade_in: int = 0
    lead_out: int | None = None
    fade_out: int = 0

    @property
    def first(self) -> int:
        """First frame with weight."""
        return self.start if self.lead_in is None else self.lead_in - self.fade_in

    @property
    def last(self) -> int:
        """One past the last frame with weight."""
        return self.stop if self.lead_out is None else self.lead_out + self.fade_out

    @property
    def final(self) -> int:
        """One past the last frame that no later window changes."""
        return self.stop if self.lead_out is None else self.lead_out - self.fade_out

    def weight(self, frame: int) -> float:
        """Weight of this window's picture of ``frame``; over all windows of a film they sum to one."""
        if not self.first <= frame < self.last:
            return 0.0
        weight = 1.0
        if self.lead_in is not None and frame < self.lead_in + self.fade_in:
            weight = (frame - self.first + 0.5) / (2 * self.fade_in)
        if self.lead_out is not None and frame >= self.lead_out - self.fade_out:
            weight = 1.0 - (frame - self.final + 0.5) / (2 * self.fade_out)
        return weight


def check_window(size: int, overlap: int) -> None:
    """Raise :class:`UsageError` unless the window and its overlap are possible."""
    if size < CLIP or size % CLIP:
        raise UsageError(
            f"--window must be an even number of at least {CLIP}, because RVRT updates frames in pairs; got {size}."
        )
    if overlap < 0 or overlap % CLIP or overlap > size // 2:
        raise UsageError(f"--overlap must be even and at most half of --window ({size}); got {overlap}.")


def plan_next(
    origin: int, shot_start: int, size: int, overlap: int, known: int, shot_end: int | None
) -> Window | None:
    """The window that follows from ``origin``, or None while too few frames are known.

    ``known``: one past the last frame known to be in the shot. ``shot_end``: end of the shot once it is known.
    """
    context = overlap // 2
    fade = context // 2
    lead_in = None if origin == shot_start else origin + context
    stop = origin + size
    if shot_end is None or shot_end > stop:
        if known <= stop and shot_end is None:
            return None
        return Window(origin, stop, origin, shot_start, size, lead_in, fade, stop - context, fade)
    # The last window of the shot reaches back to keep its length, on the shot's parity.
    start = max(shot_start, shot_end - size)
    start += (start - shot_start) % CLIP
    return Window(start, shot_end, origin, shot_start, size, lead_in, fade)


class Windower(Generic[T]):
    """Turns a stream of (frame, starts a shot) into windows with their frames, holding no more frames than needed.

    ``first_index``: index of the first frame in the stream. ``shot_start`` and ``origin`` say where planning stands;
    after an interruption they come from the journal.
    """

    def __init__(
        self,
        frames: Iterator[tuple[T, bool]],
        size: int,
        overlap: int,
        *,
        first_index: int = 0,
        shot_start: int = 0,
        origin: int = 0,
    ) -> None:
        check_window(size, overlap)
        self.size = size
        self.overlap = overlap
        self._frames = frames
        self._held: deque[T] = deque()
        self._held_start = first_index
        self._shot_start = shot_start
        self._shot_end: int | None = None
        self._origin = origin
        self._current: Window | None = None

    def next(self) -> tuple[Window, list[T]] | None:
        """The next window and its frames, or None at the end of the film."""
        if self._current is not None:
            self._advance(self._current)
        while True:
            known = self._held_start + len(self._held)
            window = plan_next(self._origin, self._shot_start, self.size, self.overlap, known, self._shot_end)
            if window is not None:
                self._current = window
                return window, [
                    self._held[index - self._held_start] for index in range(window.start, window.stop)
                ]
            item = next(self._frames, None)
            if item is None:
                if known <= self._origin:
                    return None
                self._shot_end = known
                continue
            frame, starts_shot = item
            self._held.append(frame)
            if starts_shot and known > self._shot_start:
                self._shot_end = known

    def shrink(self, size: int) -> tuple[Window, list[T]] | None:
        """Plan the window returned last again, and all later ones, with ``size`` frames."""
        check_window(size, self.overlap)
        self.size = size
        self._current = None
        return self.next()

    def _advance(self, window: Window) -> None:
        if window.lead_out is None:
            self._shot_start = self._origin = window.stop
            self._shot_end = None
        else:
            self._origin = window.stop - self.overlap
        oldest_needed = max(self._shot_start, self._origin + self.overlap - self.size)
        while self._held and self._held_start < oldest_needed:
            self._held.popleft()
            self._held_start += 1
        self._current = None


class WindowBlender:
    """Cross-fades the pictures of consecutive windows and yields each frame once, in order, as soon as it is final."""

    def __init__(self, next_frame: int = 0) -> None:
        self._next = next_frame
        self._pending: dict[int, list[tuple[float, np.ndarray]]] = {}

    def add(self, window: Window, pictures: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Take the ``(stop - start, h, w, 3)`` pictures of ``window``, float32 or codes; yield (index, float32 picture) of final frames."""
        for index in range(max(window.first, self._next), window.last):
            weight = window.weight(index)
            picture = pictures[index - window.start]
            if index >= window.final:
                # A copy, so that the few waiting frames do not keep the whole window's pictures in memory.
                self._pending.setdefault(index, []).append((weight, picture.copy()))
                continue
            waiting = self._pending.pop(index, [])
            total = weight + sum(share for share, _ in waiting)
            if abs(total - 1.0) > 1e-6:
                raise AssertionError(f"the windows' weights of frame {index} sum to {total}, not to 1")
            final = _weighted_sum(picture, weight, waiting)
            waiting.clear()
            yield index, final
            del final  # an array of its own where pictures are codes: the next one needs the memory
            self._next = index + 1


def _weighted_sum(picture: np.ndarray, weight: float, others: list[tuple[float, np.ndarray]]) -> np.ndarray:
    """``weight`` times ``picture`` and the same of ``others``, float32; a float picture that is alone is itself."""
    total = to_float(picture)
    if weight < 1.0:
        total = np.multiply(total, np.float32(weight), out=None if total is picture else total)
    for share, other in others:
        add_weighted(total, other, share)
    return total
