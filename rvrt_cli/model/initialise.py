"""Initial values of a network's parameters, the same on every backend."""

from __future__ import annotations

import numpy as np

from rvrt_cli.model.config import ModelConfig

POSITION_BIAS = 4.0
"""Initial advantage of the pixel to which a flow leads over its eight neighbours: it gets 87 % of its frame's weight."""


def initial_tensors(
    shapes: dict[str, tuple[int, ...]], config: ModelConfig, seed: int
) -> dict[str, np.ndarray]:
    """Draw initial values, float32, for parameters given by canonical name and shape.

    Linear layers: truncated normal with standard deviation 0.5/sqrt(fan-in) but at least 0.02 (Swin Transformer's 0.02
    leaves the branches of a narrow network asleep for hundreds of steps); bias tables: 0.02. Convolutions: uniform in
    ±1/sqrt(fan-in). Normalisations: 1 and 0. Biases: 0. The last convolution of a pass's offsets and of a ``direct``
    upsampler is 0, so that alignment starts from the flow itself and the network from the enlarged input. Biases of a
    warped alignment begin with the pixel to which the flow leads (:data:`POSITION_BIAS`).
    """
    rng = np.random.default_rng(seed)
    return {name: _initial(name, shapes[name], config, rng) for name in sorted(shapes)}


def _initial(name: str, shape: tuple[int, ...], config: ModelConfig, rng: np.random.Generator) -> np.ndarray:
    owner, kind = name.rsplit(".", 1)
    if kind == "position":
        table = np.zeros((shape[0], shape[1] // 9, 9), np.float32)
        table[:, :, 4] = POSITION_BIAS
        return table.reshape(shape)
    layer = owner.rsplit(".", 1)[-1]
    if kind == "bias":
        return np.zeros(shape, np.float32)
    if layer.startswith("norm"):
        return np.ones(shape, np.float32)
    if owner.endswith("align.offset.5") or (owner == "upsampler.last" and config.upsampler == "direct"):
        return np.zeros(shape, np.float32)
    if len(shape) == 4:
        bound = 1.0 / np.sqrt(np.prod(shape[1:]))
        return rng.uniform(-bound, bound, shape).astype(np.float32)
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    deviation = 0.02 if kind == "bias_table" else max(0.02, 0.5 / np.sqrt(shape[-1]))
    return (deviation * values).astype(np.float32)
