"""Batches of training clips, made in worker processes and the same whatever their number.

The clip at place ``index`` of the whole batch of step ``step`` is drawn from a generator seeded with
``(seed, step, index)``: it depends neither on workers nor on the number of devices, and a resumed run needs no
position in the data but its step. Rank r of w devices makes the r-th of w equal shares.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli.data.clips import ClipSource, MixedSource, augment_clip, open_clip_source
from rvrt_cli.data.degrade import make_degradation
from rvrt_cli.errors import InputError, RvrtError, UsageError
from rvrt_cli.train.recipe import Recipe, Stage

_QUEUE_STEPS = 3
"""Batches that each worker keeps ready."""
_POLL_S = 1.0


@dataclass(frozen=True)
class SourceSpec:
    """A folder of training data: its kind as in :func:`open_clip_source` and how often it is drawn."""

    path: str
    weight: float = 1.0
    kind: str = "auto"


def parse_source(text: str) -> SourceSpec:
    """Read ``DIR`` or ``DIR:weight``.

    Errors: :class:`UsageError` for a weight that is not positive.
    """
    head, colon, tail = text.rpartition(":")
    if not colon or not head or Path(text).exists():
        return SourceSpec(text)
    try:
        weight = float(tail)
    except ValueError:
        return SourceSpec(text)
    if not 0 < weight < float("inf"):
        raise UsageError(f"--data {text!r}: the weight after the colon must be above 0.")
    return SourceSpec(head, weight)


def open_sources(specs: tuple[SourceSpec, ...]) -> ClipSource:
    """Open all folders as one source.

    Errors: :class:`InputError` for a folder that is missing or holds nothing to train on.
    """
    parts = [(open_clip_source(Path(spec.path), spec.kind), spec.weight) for spec in specs]
    return parts[0][0] if len(parts) == 1 else MixedSource(parts)


@dataclass(frozen=True)
class Batch:
    """The share of one device: ``lq (b, t, h, w, 3)`` and ``gt (b, t, s·h, s·w, 3)``, uint8."""

    step: int
    lq: np.ndarray
    gt: np.ndarray


@dataclass(frozen=True)
class BatchMaker:
    """Makes the batch of any step; can be pickled."""

    source: ClipSource
    recipe: Recipe
    upscale: int = 4
    rank: int = 0
    world: int = 1

    def __call__(self, step: int) -> Batch:
        """The batch of a step (0-based)."""
        stage = self.recipe.stage_at(step)
        share = stage.batch // self.world
        clips = [
            self._clip(stage, step, index) for index in range(self.rank * share, (self.rank + 1) * share)
        ]
        return Batch(step, np.stack([lq for lq, _ in clips]), np.stack([gt for _, gt in clips]))

    def _clip(self, stage: Stage, step: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.recipe.seed, step, index))
        gt = self.source.sample(rng, stage.frames, stage.patch_gt_px)
        if self.recipe.augment:
            gt = augment_clip(gt, rng)
        lq = make_degradation(self.recipe.degradation, self.upscale)(gt, rng) if self.upscale > 1 else gt
        if self.recipe.is_mirrored(stage):
            gt, lq = np.concatenate([gt, gt[::-1]]), np.concatenate([lq, lq[::-1]])
        return lq, gt


class BatchStream:
    """The batches of steps ``start`` … ``stop - 1`` in order; ``workers`` processes make them ahead of time.

    Use as a context manager. ``waited_s`` is the time spent waiting for data so far.
    """

    def __init__(self, maker: BatchMaker, start: int, stop: int, workers: int) -> None:
        self.waited_s = 0.0
        self._maker, self._start, self._stop = maker, start, stop
        self._processes: list[Any] = []
        self._queues: list[Any] = []
        if workers == 0:
            return
        context = multiprocessing.get_context(
            "spawn"
        )  # a fork after a framework started its threads may hang
        with _single_threaded_children():
            for worker in range(workers):
                ready = context.Queue(_QUEUE_STEPS)
                steps = range(start + worker, stop, workers)
                process = context.Process(target=_work, args=(maker, steps, ready), daemon=True)
                process.start()
                self._queues.append(ready)
                self._processes.append(process)

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self._start, self._stop):
            began = time.monotonic()
            if not self._processes:
                batch = self._maker(step)
            else:
                batch = self._receive((step - self._start) % len(self._processes), step)
            self.waited_s += time.monotonic() - began
            yield batch

    def _receive(self, worker: int, step: int) -> Batch:
        while True:
            try:
                result = self._queues[worker].get(timeout=_POLL_S)
            except queue.Empty:
                process = self._processes[worker]
                if process.is_alive():
                    continue
                try:  # its last words may have arrived since
                    result = self._queues[worker].get(timeout=_POLL_S)
                except queue.Empty:
                    raise InputError(
                        f"A data worker died (exit code {process.exitcode}) before step {step + 1}; "
                        "it may have run out of memory: give fewer --workers, or 0 to see the error."
                    ) from None
            if isinstance(result, Batch):
                return result
            raise result

    def close(self) -> None:
        """Stop the workers."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        for ready in self._queues:
            ready.cancel_join_thread()
            ready.close()
        self._processes, self._queues = [], []

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Processes started inside use one thread each in NumPy's and OpenCV's libraries."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _work(maker: BatchMaker, steps: range, ready: Any) -> None:
    """Body of a worker process: make batches and hand them over; an error is handed over too and ends the worker."""
    import cv2

    cv2.setNumThreads(1)
    # Ctrl+C reaches the whole process group; the main process decides when workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    try:
        for step in steps:
            batch: Batch | Exception
            try:
                batch = maker(step)
            except RvrtError as error:
                batch = type(error)(f"{error} (step {step + 1})")
            except Exception as error:
                batch = InputError(
                    f"The training data of step {step + 1} could not be made: {type(error).__name__}: {error}"
                )
            while True:
                try:
                    ready.put(batch, timeout=_POLL_S)
                    break
                except queue.Full:
                    if parent is None or not parent.is_alive():
                        return
            if isinstance(batch, Exception):
                return
    finally:
        if parent is None or not parent.is_alive():
            ready.cancel_join_thread()
