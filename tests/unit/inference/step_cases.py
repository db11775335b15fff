"""Runs narrow networks step by step and whole on one engine, in a process of its own, and prints one JSON object per case.

``step_cases.py ENGINE CASE...``: ENGINE is a value of ``--backend``. Each case gives the largest differences between the steps
and the whole network: ``exact`` with features handed on in float32, ``half`` in float16, as in use.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rvrt_cli.inference import model_restorer
from rvrt_cli.inference.device import choose
from rvrt_cli.model.config import PRESETS, ModelConfig
from rvrt_cli.model.initialise import initial_tensors
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.weights import Weights

SMALL = {"embed_dim": 8, "num_blocks": (1, 1, 1), "depth": 1, "num_heads": 2, "align_heads": 2}
GUIDED = {**SMALL, "deformable_groups": 2, "conv_groups": (1, 1, 1, 1, 1, 1), "window": (2, 4, 4)}
CASES = {
    "light-s": (replace(PRESETS["light-s"], **SMALL), (12, 16)),
    "backward-only": (replace(PRESETS["light-s"], **SMALL, passes=1), (8, 8)),
    "three-passes": (replace(PRESETS["light-s"], **SMALL, passes=3), (8, 8)),
    "light": (replace(PRESETS["light"], **SMALL, window=(2, 4, 4)), (8, 12)),
    "rvrt": (replace(PRESETS["rvrt"], **GUIDED), (40, 40)),
    "denoise": (replace(PRESETS["denoise"], **GUIDED), (160, 160)),
}
FRAMES = 6


def network(config: ModelConfig) -> Weights:
    rng = np.random.default_rng(7)
    # Some layers begin with zeros, behind which an engine could compute anything.
    return Weights(
        config,
        {
            name: (value + rng.normal(0, 0.05, value.shape)).astype(np.float32)
            for name, value in initial_tensors(parameter_shapes(config), config, 1).items()
        },
    )


def whole(engine: str, weights: Weights, lq: np.ndarray) -> np.ndarray:
    """The whole network on all frames in one call."""
    if engine == "torch":
        import torch

        from rvrt_cli.inference.eager import load_torch_network

        with torch.inference_mode():
            return load_torch_network(weights.config, weights.tensors)(torch.from_numpy(lq[None]))[0].numpy()
    if engine == "mindspore":
        from rvrt_cli.backend import mindspore as kernel
        from rvrt_cli.model.rvrt import RVRT

        kernel.set_mode(graph=False)
        model = RVRT(weights.config)
        kernel.load_tensors(model, dict(weights.tensors))
        return kernel.run(model, lq[None])[0]
    import onnxruntime as ort

    from rvrt_cli.inference.graph import build_graph

    graph = build_graph(weights.config, weights.tensors, *lq.shape[:3])
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, {"lq": lq[None]})[0][0]


def in_float32(make: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """``step_programs`` with float32 ports only."""

    def made(*args: Any) -> dict[str, Any]:
        def full(ports: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(replace(port, half=False) for port in ports)

        return {
            name: replace(program, inputs=full(program.inputs), results=full(program.results))
            for name, program in make(*args).items()
        }

    return made


def main(engine: str, cases: list[str]) -> None:
    real = model_restorer.step_programs
    for case in cases:
        config, (height, width) = CASES[case]
        weights = network(config)
        shape = (FRAMES, height, width, config.in_channels)
        lq = np.random.default_rng(0).random(shape, dtype=np.float32)
        restorer = {}
        errors = {}
        for kind, programs in (("exact", in_float32(real)), ("half", real)):
            model_restorer.step_programs = programs
            restorer = model_restorer.ModelRestorer(
                replace(weights, sha256=f"{case} {kind}"), choose("cpu", engine, "fp32"), name=case, threads=1
            )
            errors[kind] = restorer(lq)
        expected = whole(engine, weights, lq)
        row = {name: float(np.abs(sr - expected).max()) for name, sr in errors.items()}
        sys.stdout.write(json.dumps({"case": case, **row}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
