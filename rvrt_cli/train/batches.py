"""Batches of training clips, made in worker processes and the same whatever their number.

The clip at place ``index`` of the whole batch of step ``step`` is drawn from a generator seeded with
``(seed, step, index)``: it depends neither on workers nor on the number of devices, and a resumed run needs no
position in the data but its step. Rank r of w devices makes the r-th of w equal shares.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli.data.clips import ArrayCache, Clip, ClipSource, MixedSource, augment_clip
from rvrt_cli.data.degrade import make_degradation
from rvrt_cli.data.pool import children_with_threads, end_with_parent
from rvrt_cli.data.recognise import KINDS, open_clip_source
from rvrt_cli.errors import InputError, RvrtError, UsageError
from rvrt_cli.system.hardware import available_cores
from rvrt_cli.train.recipe import Recipe, Stage
from rvrt_cli.train.stopping import STOP_SIGNALS, signals_held

_BATCHES_AHEAD = 3
"""That each worker keeps ready."""
_MOST_WORKERS = 8


@dataclass(frozen=True)
class SourceSpec:
    """A folder of training data: its kind as in :func:`open_clip_source` and how often it is drawn."""

    path: str
    weight: float = 1.0
    kind: str = "auto"

    def __str__(self) -> str:
        kind = "" if self.kind == "auto" else f"{self.kind}="
        return f"{kind}{self.path} (weight {self.weight:g})"


def parse_source(text: str) -> SourceSpec:
    """Read ``[KIND=]DIR[:WEIGHT]``.

    Errors: :class:`UsageError` for a weight that is not positive.
    """
    path, weight = split_weight(text, "--data")
    kind, equals, rest = path.partition("=")
    if equals and kind in KINDS and not Path(path).exists():
        return SourceSpec(rest, weight, kind)
    return SourceSpec(path, weight)


def split_weight(text: str, option: str) -> tuple[str, float]:
    """Cut ``NAME:WEIGHT`` at its last colon; 1 where there is no number after it, or a file of the whole name.

    Errors: :class:`UsageError` naming the ``option`` for a weight that is not positive.
    """
    head, colon, tail = text.rpartition(":")
    if not colon or not head or Path(text).exists():
        return text, 1.0
    try:
        weight = float(tail)
    except ValueError:
        return text, 1.0
    if not 0 < weight < float("inf"):
        raise UsageError(f"{option} {text!r}: the weight after the colon must be above 0.")
    return head, weight


def open_sources(specs: tuple[SourceSpec, ...], cache_mib: int = 1024) -> ClipSource:
    """Open all folders as one source, in whose copies (one a worker) decoded pictures take ``cache_mib`` at most.

    Errors: :class:`InputError` for a folder that is missing or holds nothing to train on.
    """
    cache = ArrayCache(cache_mib << 20)
    parts = [(open_clip_source(Path(spec.path), spec.kind, cache=cache), spec.weight) for spec in specs]
    return parts[0][0] if len(parts) == 1 else MixedSource(parts)


def default_workers(devices: int) -> int:
    """Data processes per device: the cores that the devices' own processes leave, between 1 and 8."""
    return max(1, min(_MOST_WORKERS, available_cores() // devices - 1))


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
        pairs = [self._degraded(stage, clip.frames, rng) for clip, rng in self._clips(stage, step)]
        return Batch(step, np.stack([lq for lq, _ in pairs]), np.stack([gt for _, gt in pairs]))

    def origins(self, step: int) -> list[str]:
        """The files from which the clips of a step are cut; decodes them again."""
        return [clip.origin for clip, _ in self._clips(self.recipe.stage_at(step), step)]

    def _clips(self, stage: Stage, step: int) -> Iterator[tuple[Clip, np.random.Generator]]:
        share = stage.batch // self.world
        for index in range(self.rank * share, (self.rank + 1) * share):
            rng = np.random.default_rng((self.recipe.seed, step, index))
            yield self.source.sample(rng, stage.frames, stage.patch_gt_px), rng

    def _degraded(
        self, stage: Stage, gt: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(LQ, GT), augmented and mirrored in time as the recipe says."""
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
        self.maker = maker
        self._start, self._stop = start, stop
        self._workers: list[tuple[Any, Connection]] = []
        try:
            self._start_workers(workers)
        except BaseException:
            self.close()
            raise

    def _start_workers(self, workers: int) -> None:
        # A fork after a framework has started its threads may hang.
        context = multiprocessing.get_context("spawn")
        if workers and os.name != "nt":
            from multiprocessing import resource_tracker

            # Started with the first process otherwise, when it lets the signals through that are held back below.
            resource_tracker.ensure_running()
        for worker in range(workers):
            receiver, sender = context.Pipe(duplex=False)
            steps = range(self._start + worker, self._stop, workers)
            process = context.Process(target=_work, args=(self.maker, steps, sender), daemon=True)
            with children_with_threads(1), signals_held():
                process.start()
            self._workers.append((process, receiver))
            # Held by the worker alone, the pipe ends with it, even in the middle of a message.
            sender.close()

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self._start, self._stop):
            began = time.monotonic()
            batch = self._receive(step) if self._workers else self.maker(step)
            self.waited_s += time.monotonic() - began
            yield batch

    def _receive(self, step: int) -> Batch:
        process, receiver = self._workers[(step - self._start) % len(self._workers)]
        wait([receiver, process.sentinel])
        try:
            if not receiver.poll():
                raise EOFError
            result = receiver.recv()
        except (EOFError, OSError):
            process.join()
            raise InputError(
                f"A data worker died (exit code {process.exitcode}) before step {step + 1}; "
                "it may have run out of memory: give fewer --workers, or 0 to see the error."
            ) from None
        if isinstance(result, Batch):
            return result
        raise result

    def close(self) -> None:
        """Stop the workers."""
        for process, _ in self._workers:
            process.kill()  # they ignore gentler signals
        for process, receiver in self._workers:
            process.join()
            receiver.close()
        self._workers = []

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _work(maker: BatchMaker, steps: range, connection: Connection) -> None:
    """Body of a worker process: make batches and hand them over; an error is handed over too and ends the worker."""
    import cv2

    cv2.setNumThreads(1)
    for (
        number
    ) in STOP_SIGNALS:  # a group of processes is signalled as a whole; the main one decides when workers end
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    ready: queue.Queue[Batch | Exception | None] = queue.Queue(_BATCHES_AHEAD)
    sender = threading.Thread(target=_send, args=(ready, connection), daemon=True)
    sender.start()
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
        ready.put(batch)
        if isinstance(batch, Exception):
            break
    ready.put(None)
    sender.join()


def _send(ready: queue.Queue[Batch | Exception | None], connection: Connection) -> None:
    """Hand over what is ready, until None; a message waits in the pipe until the training process reads it."""
    with contextlib.suppress(OSError):  # the training process has gone, and this one goes with it
        while (item := ready.get()) is not None:
            connection.send(item)
