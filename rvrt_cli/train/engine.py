"""What the loop asks of a framework."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rvrt_cli.errors import DeviceError, WeightsError
from rvrt_cli.inference.memory import memory_ran_out
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.train.checkpoint import EngineState, Tensors

CLIP_EPSILON = 1e-6
"""Keeps the clipping factor finite for a zero gradient."""


@dataclass(frozen=True)
class RankInfo:
    """Where this process stands among those that train together."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0


@dataclass(frozen=True)
class StepResult:
    """What a step did; the same on every device."""

    loss: float
    """Mean over the whole batch."""
    grad_norm: float
    """Of the whole gradient, before clipping."""
    finite: bool
    """Whether loss and gradient were finite; where not, no weight was changed."""
    stop: bool
    """Whether some device was asked to stop."""
    scale: float = 1.0
    """By which the loss was multiplied (fp16)."""
    own_loss: float = 0.0
    """Mean over this device's share of the batch."""


class Engine(Protocol):
    """A network with its optimizer in one framework, on one device of ``rank_info.world``."""

    name: str
    """Framework, version and device in words."""

    def step(self, lq: np.ndarray, gt: np.ndarray, lr: float, flow_lr: float, stop: bool) -> StepResult:
        """One optimizer step on this device's share of the batch, uint8; ``flow_lr`` 0 freezes the flow network."""
        ...

    def predict(self, lq: np.ndarray) -> np.ndarray:
        """``(t, h, w, c)`` float32 in [0, 1], t even → ``(t, s·h, s·w, 3)`` float32, with the averaged weights if there are any.

        Errors: :class:`rvrt_cli.errors.OutOfMemoryError_`.
        """
        ...

    def state(self) -> EngineState:
        """A copy of everything that :meth:`load_state` needs."""
        ...

    def load_state(self, state: EngineState) -> None:
        """Go on from a state, saved by whichever framework."""
        ...

    def reduce(self, values: np.ndarray) -> np.ndarray:
        """Sums of values over all devices; MindSpore adds float32."""
        ...

    def peak_memory_mib(self) -> float:
        """Largest memory so far: of the device, or of the process on CPU."""
        ...

    def close(self) -> None:
        """Leave the group of devices."""
        ...


def gather(engine: Engine, rank_info: RankInfo, values: list[float]) -> np.ndarray:
    """The ``values`` of every device, ``(world, len(values))`` float64, the same on all of them."""
    mine = np.zeros((rank_info.world, len(values)))
    mine[rank_info.rank] = values
    return engine.reduce(mine.ravel()).reshape(mine.shape)


class LostPeerError(DeviceError):
    """Another process of the job ended, so that this one cannot go on; the other one's log says why."""


@contextmanager
def talking(rank_info: RankInfo) -> Iterator[None]:
    """Around what devices do together: turns the framework's error where another one is gone into :class:`LostPeerError`."""
    try:
        yield
    except RuntimeError as error:
        if rank_info.world == 1 or memory_ran_out(error):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise LostPeerError(f"Rank {rank_info.rank} {LOST_PEER} ({reason}).") from error


LOST_PEER = "lost its connection to another rank, whose log says why"
"""By which the launching process tells who only suffers from who failed."""


def starting_tensors(
    shapes: dict[str, tuple[int, ...]], config: ModelConfig, initial: Tensors | None, seed: int
) -> Tensors:
    """The weights to begin with: ``initial`` checked against the network's ``shapes``, or drawn with ``seed``.

    Errors: :class:`WeightsError` naming a tensor that is missing, left over or of another shape.
    """
    if initial is None:
        from rvrt_cli.model.initialise import initial_tensors

        return initial_tensors(shapes, config, seed)
    for name in sorted(set(shapes) | set(initial)):
        if name not in initial or name not in shapes or initial[name].shape != shapes[name]:
            raise WeightsError(
                f"The weights do not fit this network ({name} differs); choose the --model that they were trained as."
            )
    return initial


def is_flow(name: str) -> bool:
    """Whether a parameter belongs to the optical-flow network."""
    return name.startswith("flow.")


LOSS_SCALE_GROWTH_STEPS = 2000
"""Finite steps after which the fp16 loss scale doubles; it halves at a non-finite one (Micikevicius et al., 2018)."""


def ema_decay(decay: float, updates: int) -> float:
    """The decay of the moving average at an update (counted from 1): small at first, so that the initial weights are forgotten.

    min(decay, (1 + n) / (10 + n)), as TensorFlow's ``ExponentialMovingAverage(num_updates=n)``.
    """
    return min(decay, (1 + updates) / (10 + updates))


def next_scale(scale: float, age: int, finite: bool) -> tuple[float, int]:
    """The loss scale and its age after a step."""
    if not finite:
        return max(scale / 2.0, 1.0), 0
    if age + 1 >= LOSS_SCALE_GROWTH_STEPS:
        return min(scale * 2.0, 2.0**24), 0
    return scale, age + 1
