"""What takes over when memory runs out: smaller tiles, then shorter windows, then another precision or device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.memory import smaller_steps


class OomFallback:
    """The level in use and its restorer. ``loaders``: of the restorers, the first until memory runs out with it.

    ``planned``: the level of a new run, with whose window and tiles each further restorer begins.
    """

    def __init__(
        self,
        loaders: Sequence[Callable[[], Restorer]],
        planned: Level,
    ) -> None:
        self._loaders = loaders
        self._planned = planned
        self._first_open = 0
        self.level = planned
        self.restorer = loaders[planned.restorer]()

    def take(self, level: Level) -> None:
        """Go on with ``level``, which an earlier run had come to; with the planned one where its restorer may not be used any more."""
        if level.restorer >= len(self._loaders):
            level = self._planned
        if level.restorer < self._first_open:
            return  # memory ran out with that one since, and it is closed
        if level.restorer != self.level.restorer:
            self.close()
            self.restorer = self._loaders[level.restorer]()
        self.level = level

    def close(self) -> None:
        """Close the restorer in use, unless it is the first one, which belongs to whoever began the run."""
        if self.level.restorer:
            self.restorer.close()

    def step_down(self, height: int, width: int) -> bool:
        """Take the next level for pictures of (height, width) LQ pixels; False when there is none."""
        level = self.level
        smaller = next(smaller_steps(level, height, width), None)
        if smaller is not None:
            self.level = smaller
        elif level.restorer + 1 < len(self._loaders):
            self.restorer.close()
            self.level = replace(self._planned, restorer=level.restorer + 1)
            self._first_open = level.restorer + 1
            self.restorer = self._loaders[self.level.restorer]()
        else:
            return False
        return True
