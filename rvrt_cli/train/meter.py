"""Measures a run: means over the steps since the last row of the log, and the time that is left."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from rvrt_cli.train.batches import Batch, BatchStream
from rvrt_cli.train.engine import Engine, RankInfo, StepResult, gather
from rvrt_cli.train.logs import StepRow
from rvrt_cli.train.recipe import Recipe, Stage
from rvrt_cli.train.settings import RunSettings

_LATEST = 20
"""Steps whose median time counts for the estimate; those that compile are among the first."""


class Meter:
    """Counts steps; every rank has one and calls it alike, because rows hold what all ranks measured."""

    def __init__(
        self,
        settings: RunSettings,
        recipe: Recipe,
        rank_info: RankInfo,
        engine: Engine,
        stream: BatchStream,
        first: int,
    ) -> None:
        self._settings, self._recipe, self._place = settings, recipe, rank_info
        self._engine, self._stream = engine, stream
        self._first = self._step = first
        self._start = self._last = time.monotonic()
        self._left_out_s = 0.0
        self._left = TimeLeft(settings, recipe)
        self._reset()

    def _reset(self) -> None:
        self._row_start, self._row_waited_s = time.monotonic(), self._stream.waited_s
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._steps = self._samples = 0

    def leave_out(self, seconds: float, validated: bool) -> None:
        """Do not count time spent on validation and saving."""
        self._row_start += seconds
        self._last += seconds
        self._left_out_s += seconds
        if validated:
            self._left.validated(seconds)

    def add(self, step: int, batch: Batch, result: StepResult) -> tuple[float, float]:
        """Count a step (from 1); → its seconds and the estimated seconds to the end."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self._step = step
        self._steps += 1
        self._samples += len(batch.gt) * self._place.world
        if result.finite:  # a skipped step has no loss and no gradient to speak of
            self._losses.append(result.loss)
            self._norms.append(result.grad_norm)
        return seconds, self._left.after(step, seconds)

    def row(self, lr: float, skipped: int) -> StepRow | None:
        """The means at every ``log_interval``-th step and the last; times, wait and memory are those of the worst rank."""
        if self._step % self._settings.log_interval and self._step != self._recipe.steps:
            return None
        elapsed = max(time.monotonic() - self._row_start, 1e-9)
        wait = (self._stream.waited_s - self._row_waited_s) / elapsed
        elapsed, wait, memory = self._worst(elapsed, wait)
        row = StepRow(
            self._step, _mean(self._losses), lr, _mean(self._norms), elapsed / self._steps, self._samples / elapsed,
            wait, memory, skipped,
        )  # fmt: skip
        self._reset()
        return row

    def totals(self) -> tuple[float, float, float]:
        """(seconds per step, share of the time spent waiting for data, peak memory in MiB) of this part of the run."""
        elapsed = max(time.monotonic() - self._start - self._left_out_s, 1e-9)
        elapsed, wait, memory = self._worst(elapsed, self._stream.waited_s / elapsed)
        return elapsed / max(1, self._step - self._first), wait, memory

    def _worst(self, elapsed: float, wait: float) -> tuple[float, float, float]:
        values = [elapsed, wait, self._engine.peak_memory_mib()]
        if self._place.world > 1:
            values = gather(self._engine, self._place, values).max(0).tolist()
        return values[0], values[1], values[2]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


class TimeLeft:
    """Estimates the rest of a run from its latest steps: a step costs in proportion to its pixels."""

    def __init__(self, settings: RunSettings, recipe: Recipe) -> None:
        self._settings, self._recipe = settings, recipe
        self._s_per_px: deque[float] = deque(maxlen=_LATEST)
        self._validation_s = 0.0

    def validated(self, seconds: float) -> None:
        """A validation took so long."""
        self._validation_s = seconds

    def after(self, step: int, seconds: float) -> float:
        """Seconds to the end after a step (from 1) that took ``seconds``."""
        self._s_per_px.append(seconds / _pixels(self._recipe, self._recipe.stage_at(step - 1)))
        pixels, first = 0.0, 0
        for stage in self._recipe.stages:
            pixels += max(0, first + stage.steps - max(step, first)) * _pixels(self._recipe, stage)
            first += stage.steps
        interval, steps = self._settings.val_interval, self._recipe.steps
        validations = -(-steps // interval) - step // interval if self._settings.validation else 0
        return float(np.median(self._s_per_px)) * pixels + validations * self._validation_s


def _pixels(recipe: Recipe, stage: Stage) -> float:
    return float(stage.batch * recipe.frames_of(stage) * stage.patch_gt_px**2)
