"""Which models an evaluation compares, and how they restore a clip."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rvrt_cli.errors import NonFiniteError, OutOfMemoryError_, UsageError
from rvrt_cli.imaging.resize import imresize
from rvrt_cli.inference.open_stream import open_stream
from rvrt_cli.inference.restorer import Restorer, load_restorer
from rvrt_cli.inference.stream import PictureStream
from rvrt_cli.inference.tiles import WHOLE, TilePlan, restore_tiled

_REPEATS = 6
"""Copies of a frame that stand in for its neighbours."""


@dataclass(frozen=True)
class ModelSpec:
    """What :func:`rvrt_cli.inference.restorer.load_restorer` needs; can be sent to another process."""

    label: str
    model: str
    weights: Path | None = None
    device: str = "auto"
    backend: str = "auto"
    precision: str = "auto"
    threads: int = 0

    def load(self) -> Restorer:
        """Load the model."""
        return load_restorer(
            self.model,
            self.weights,
            device=self.device,
            backend=self.backend,
            precision=self.precision,
            threads=self.threads,
        )

    @property
    def published_name(self) -> str:
        """The name under which papers report these weights; a name of our own where there is none."""
        if self.weights is None and self.model == "bicubic":
            return "bicubic"
        from rvrt_cli.errors import WeightsError
        from rvrt_cli.weights.find import shipped
        from rvrt_cli.weights.registry import published

        name = self.weights.name if self.weights else self.model
        if name in shipped():
            return name
        try:
            return published(Path(name).name).name
        except WeightsError:
            return self.label


def spread_devices(specs: tuple[ModelSpec, ...], devices: int, cores: int) -> list[tuple[ModelSpec, ...]]:
    """The models for each of ``devices`` worker processes.

    ``gpu`` becomes ``gpu:0``, ``gpu:1``, … (``ascend`` alike, and ``auto`` where it means one of them); on the CPU the
    cores are shared out. A comma-separated list such as ``gpu:1,gpu:3`` is used as it is.
    Errors: :class:`UsageError` for a list of another length, :class:`DeviceError` for a device that is absent.
    """
    from rvrt_cli.inference.device import choose

    shares = []
    for index in range(devices):
        share = []
        for spec in specs:
            if spec.model == "bicubic" and spec.device == "auto":
                share.append(spec)  # it runs on the CPU, whatever the networks beside it run on
                continue
            names = spec.device.split(",")
            threads = spec.threads
            if len(names) > 1:
                if len(names) != devices:
                    raise UsageError(f"--device names {len(names)} devices, but --devices is {devices}.")
                name = names[index]
            elif devices == 1 or ":" in spec.device:
                name = spec.device
            else:
                kind = choose(spec.device, spec.backend, spec.precision).device.partition(":")[0]
                name = kind if kind == "cpu" else f"{kind}:{index}"
            if name == "cpu" and devices > 1:
                threads = spec.threads or max(1, cores // devices)
            share.append(replace(spec, device=name, threads=threads))
        shares.append(tuple(share))
    return shares


@dataclass(frozen=True)
class WindowConfig:
    """How a clip is given to a model: in one call, or in windows and tiles where memory is short."""

    window: int | None = None
    overlap: int = 2
    tile: TilePlan = WHOLE
    repeat: bool = False
    """Each frame alone, repeated in place of its neighbours: shows what they are worth."""

    @property
    def statement(self) -> str:
        """In words, for the report."""
        parts = [f"windows of {self.window} frames, {self.overlap} shared" if self.window else "whole clips"]
        if self.tile.tile_px:
            parts.append(str(self.tile))
        if self.repeat:
            parts = [f"every frame alone, repeated {_REPEATS} times (no neighbours)"]
        return "; ".join(parts)


@dataclass(frozen=True)
class Restored:
    """``frames``: (t, h, w, 3) uint8. ``seconds`` and ``calls`` of the model alone; ``computed``: frames it was given."""

    frames: np.ndarray
    seconds: float
    calls: int
    computed: int


class _Timed:
    """Counts a restorer's calls and seconds, and refuses results that are not numbers."""

    def __init__(self, restorer: Restorer, label: str) -> None:
        self._restorer = restorer
        self._label = label
        self.seconds = 0.0
        self.calls = 0
        self.computed = 0

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        sr = self._restorer(lq)
        self.seconds += time.perf_counter() - start
        self.calls += 1
        self.computed += len(lq)
        self._check(sr)
        return sr

    def pictures(self, stream: PictureStream, lq: np.ndarray) -> Iterator[np.ndarray]:
        """The pictures of ``lq`` (t, h, w, c), one by one."""
        self.calls += 1
        self.computed += len(lq)
        parts = itertools.chain((stream.push(frame) for frame in lq), (stream.finish() for _ in range(1)))
        made = itertools.chain.from_iterable(parts)
        while True:
            start = time.perf_counter()
            picture = next(made, None)
            self.seconds += time.perf_counter() - start
            if picture is None:
                return
            self._check(picture)
            yield picture

    def _check(self, sr: np.ndarray) -> None:
        if not np.isfinite(sr).all():
            raise NonFiniteError(f"{self._label} gave values that are not numbers; try --precision fp32.")


def restore_clip(
    restorer: Restorer,
    label: str,
    lq: np.ndarray,
    windows: WindowConfig,
    *,
    mirror: bool,
    scale: int | None = None,
) -> Restored:
    """Restore (t, h, w, 3) uint8 frames and round the result to uint8, as the field does before comparing.

    ``mirror``: feed t…1 after 1…t and keep the first t results. ``scale``: pictures of a larger scale are reduced to this
    one by Matlab's bicubic.
    Errors: :class:`OutOfMemoryError_` with the option that helps; :class:`NonFiniteError`.
    """

    timed = _Timed(restorer, label)
    plan = windows.tile
    values = lq.astype(np.float32) / np.float32(255.0)
    count = len(values)
    size = tuple(side * (scale or restorer.scale) for side in lq.shape[1:3])

    def run(part: np.ndarray) -> np.ndarray:
        return restore_tiled(timed, part, restorer.scale, plan)

    try:
        if windows.repeat:
            frames = [
                to_uint8(run(np.repeat(frame[None], _REPEATS, axis=0))[_REPEATS // 2], size)
                for frame in values
            ]
        else:
            if mirror:
                values = np.concatenate([values, values[::-1]])
            if windows.window is None or windows.window >= len(values):
                frames = [to_uint8(frame, size) for frame in run(values)[:count]]
            else:
                height, width = values.shape[1:3]
                stream = open_stream(
                    restorer, height, width, window=windows.window, lookahead=windows.overlap, tile=plan
                )
                frames = [to_uint8(picture, size) for picture in timed.pictures(stream, values)]
                frames = frames[:count]
    except OutOfMemoryError_ as error:
        h, w = lq.shape[1:3]
        raise OutOfMemoryError_(
            f"Memory ran out with {count} frames of {w}×{h} pixels ({windows.statement}); "
            "run the same command with a smaller --window (for example 6) or --tile (for example 128)."
        ) from error
    return Restored(np.stack(frames), timed.seconds, timed.calls, timed.computed)


def to_uint8(frame: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """[0, 1] float of any height and width to ``size``, then to uint8, rounded."""
    if frame.shape[:2] != size:
        frame = imresize(np.clip(frame, 0.0, 1.0), size=(size[0], size[1]))
    return np.rint(np.clip(frame, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8)
