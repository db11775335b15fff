"""The restorer in use and the out-of-memory ladder: smaller tiles, then shorter windows, then another precision or device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.inference.tiles import TilePlan, restore_packed
from rvrt_cli.upscale.events import MemoryReduced, OnEvent
from rvrt_cli.upscale.memory import smaller_steps


class Ladder:
    """Runs windows with what worked so far. ``rungs``: makers of the restorers, the first until memory runs out with it.

    ``window`` in frames and ``tile``: the plan to begin with on each rung; ``overlap``: of windows, which bounds how
    short they may become.
    """

    def __init__(
        self,
        rungs: Sequence[Callable[[], Restorer]],
        window: int,
        overlap: int,
        tile: TilePlan,
        emit: OnEvent,
        rung: int = 0,
    ) -> None:
        self._rungs = rungs
        self._planned = (window, tile)
        self._overlap = overlap
        self._emit = emit
        self.window, self.tile = window, tile
        self.rung = rung
        self.restorer = rungs[rung]()

    def run(self, lq: np.ndarray, check: Callable[[np.ndarray], None] = lambda _: None) -> np.ndarray:
        """One attempt at a window; (t, h, w, 3) float32 [0, 1] → (t, s*h, s*w, 3) float32, or codes where there are tiles.

        ``check`` sees what the model makes, all of it or each tile, as float32: codes (:mod:`.fixed_point`) would hide NaN.
        """

        def restore(part: np.ndarray) -> np.ndarray:
            made = self.restorer(part)
            check(made)
            return made

        return restore_packed(restore, lq, self.restorer.scale, self.tile)

    def step_down(self, height: int, width: int) -> bool:
        """Take the next step for pictures of (height, width) LQ pixels; False when there is none."""
        step = next(smaller_steps(self.window, self.tile, self._overlap, height, width), None)
        if step is not None:
            self.window, self.tile = step
        elif self.rung + 1 < len(self._rungs):
            self.restorer.close()
            self.rung += 1
            self.restorer = self._rungs[self.rung]()
            self.window, self.tile = self._planned
        else:
            return False
        self._emit(MemoryReduced(self.window, str(self.tile), self.restorer.engine))
        return True
