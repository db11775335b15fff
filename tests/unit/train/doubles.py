"""Stand-ins for the tests of the loop: a source of noise and an engine without a framework."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rvrt_cli.data.clips import Clip
from rvrt_cli.errors import InputError
from rvrt_cli.model.config import PRESETS
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.train.checkpoint import EngineState
from rvrt_cli.train.engine import StepResult

TINY = replace(PRESETS["light-s"], embed_dim=8, num_heads=2, align_heads=2, passes=1, block_conv=False)


class NoiseSource:
    """Random clips; ``broken``: the next one is damaged; ``exits``: ends its process."""

    name = "noise"

    def __init__(self, broken: bool = False, exits: bool = False) -> None:
        self.broken, self.exits = broken, exits

    def __len__(self) -> int:
        return 3

    def count_clips(self, frames: int) -> int:
        return 3

    def sample(self, rng: np.random.Generator, frames: int, patch_gt_px: int) -> Clip:
        if self.broken:
            raise InputError("noise.png is damaged.")
        if self.exits:
            import os

            os._exit(7)
        pictures = rng.integers(0, 256, (frames, patch_gt_px, patch_gt_px, 3), dtype=np.uint8)
        return Clip(pictures, f"noise {pictures[0, 0, 0, 0]}")


class FakeEngine:
    """Subtracts from all weights what it sees in the batch, so that they depend on every step and its data."""

    name = "fake"

    def __init__(self) -> None:
        shapes = parameter_shapes(TINY)
        self.weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        self.updates, self.skipped, self.calls = 0, 0, 0
        self.not_finite_from = 1 << 30
        """Index of the first step whose loss is NaN."""
        self.not_finite_steps = 1
        self.scale = 1.0
        """Of the loss: halves with each NaN, as under fp16."""
        self.closed = False

    def step(self, lq: np.ndarray, gt: np.ndarray, lr: float, flow_lr: float, stop: bool) -> StepResult:
        self.calls += 1
        if self.not_finite_from <= self.calls - 1 < self.not_finite_from + self.not_finite_steps:
            self.skipped += 1
            scale, self.scale = self.scale, max(1.0, self.scale / 2)
            return StepResult(float("nan"), float("inf"), False, stop, scale, float("nan"))
        self.updates += 1
        for value in self.weights.values():
            value -= np.float32(lr * gt.mean())
        return StepResult(float(lq.mean()), 1.0, True, stop, self.scale, float(lq.mean()))

    def predict(self, lq: np.ndarray) -> np.ndarray:
        return lq.repeat(4, 1).repeat(4, 2)

    def state(self) -> EngineState:
        return EngineState(
            {name: value.copy() for name, value in self.weights.items()}, {}, {}, {}, self.updates
        )

    def load_state(self, state: EngineState) -> None:
        self.weights = {name: value.copy() for name, value in state.weights.items()}
        self.updates = state.updates

    def reduce(self, values: np.ndarray) -> np.ndarray:
        return values

    def peak_memory_mib(self) -> float:
        return 1.0

    def close(self) -> None:
        self.closed = True
