"""Writes the loss and gradients of one training step of a tiny network: ``gradient_case.py torch|pynative|graph guided|local|warped OUT.npz``.

A process has one backend, so the tests start this file once per backend and compare what it wrote.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli import backend
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.model.initialise import initial_tensors
from rvrt_cli.model.shapes import parameter_shapes

TINY: dict[str, Any] = {
    "embed_dim": 12,
    "num_blocks": (1, 1, 1),
    "num_heads": 2,
    "window": (2, 4, 4),
    "passes": 2,
    "align_heads": 4,
}
CONFIGS = {
    "guided": ModelConfig(deformable_groups=4, **TINY),
    "local": ModelConfig(
        alignment="local", position_bias=False, activation="gelu_tanh", upsampler="direct", **TINY
    ),
    "warped": ModelConfig(alignment="warped", position_bias=False, activation="leaky_relu", **TINY),
}
SIZES = {"guided": (4, 40, 44), "local": (4, 12, 18), "warped": (4, 12, 18)}
"""Frames, height, width; the smaller ones are no multiple of the attention window."""

CHARBONNIER_EPSILON = 1e-6
"""Large enough that the loss is smooth where a difference is nearly zero."""


def case(name: str) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Weights (no zeros, so that every gradient is alive), input and target, float32."""
    rng = np.random.default_rng(7)
    config = CONFIGS[name]
    tensors = initial_tensors(parameter_shapes(config), config, 3)
    tensors = {
        key: (value + 0.03 * rng.standard_normal(value.shape)).astype(np.float32)
        for key, value in tensors.items()
    }
    t, h, w = SIZES[name]
    return tensors, rng.random((1, t, h, w, 3), np.float32), rng.random((1, t, 4 * h, 4 * w, 3), np.float32)


def torch_gradients(name: str) -> dict[str, np.ndarray]:
    """Loss (key ``""``) and gradient per canonical name, by autograd."""
    import torch

    from rvrt_cli.model.rvrt import RVRT

    torch.set_num_threads(2)
    tensors, lq, gt = case(name)
    model = RVRT(CONFIGS[name])
    model.load_state_dict({key: torch.from_numpy(value) for key, value in tensors.items()})
    difference = model(torch.from_numpy(lq)) - torch.from_numpy(gt)
    loss = torch.sqrt(difference * difference + CHARBONNIER_EPSILON).mean()
    loss.backward()
    return {"": loss.detach().numpy()} | {key: value.grad.numpy() for key, value in model.named_parameters()}


def mindspore_gradients(name: str, graph: bool) -> dict[str, np.ndarray]:
    """The same by ``value_and_grad``."""
    import mindspore as ms
    from mindspore import ops

    from rvrt_cli.backend import mindspore as kernel
    from rvrt_cli.model.rvrt import RVRT

    kernel.set_device("cpu")
    kernel.set_mode(graph)
    tensors, lq, gt = case(name)
    model = RVRT(CONFIGS[name])
    kernel.load_tensors(model, tensors)
    model.set_train(True)

    def forward(lq: ms.Tensor, gt: ms.Tensor) -> ms.Tensor:
        difference = model(lq) - gt
        return ops.sqrt(difference * difference + CHARBONNIER_EPSILON).mean()

    parameters = model.trainable_params()
    step = ms.value_and_grad(forward, None, parameters)
    loss, gradients = (ms.jit(step) if graph else step)(kernel.from_numpy(lq), kernel.from_numpy(gt))
    return {"": loss.asnumpy()} | {p.name: g.asnumpy() for p, g in zip(parameters, gradients, strict=True)}


def main(engine: str, name: str, out: Path) -> None:
    backend.select("torch" if engine == "torch" else "mindspore")
    np.savez(
        out, **(torch_gradients(name) if engine == "torch" else mindspore_gradients(name, engine == "graph"))
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
