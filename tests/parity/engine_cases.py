"""Runs golden cases on PyTorch or on the ONNX engines in a process of its own and prints one JSON object per array.

A process has one backend, so the tests start this file: ``engine_cases.py GOLDEN torch|onnx CASE...``. A case is
``<network><number>`` (``sr0``), or ``parts`` for the flows and shallow features of ``sr0``.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FILES = {name: f"rvrt_{name}_small.pth" for name in ("sr", "deblur", "denoise")} | {
    "light": "light_small.ckpt"
}


def channel_last(x: np.ndarray) -> np.ndarray:
    """``(n, t, c, h, w)`` → ``(n, t, h, w, c)``, contiguous."""
    return np.ascontiguousarray(np.moveaxis(x, 2, -1))


@functools.cache
def load(golden: Path, name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """Golden weights and arrays of a network."""
    from rvrt_cli.weights import load_weights

    path = golden / FILES[name]
    with np.load(path.with_suffix(".npz")) as arrays:
        return load_weights(path), dict(arrays)


def parts(stack: Callable[[list[Any], int], Any]) -> Callable[[Any, Any], dict[str, Any]]:
    """The flows and shallow features by their golden names."""

    def outputs(model: Any, lq: Any) -> dict[str, Any]:
        backward, forward = model.flows(lq)
        return {
            "flow_backward0": stack(backward, 1), "flow_forward0": stack(forward, 1), "shallow0": model.shallow(lq),
        }  # fmt: skip

    return outputs


def on_torch(weights: Any, lq: np.ndarray, some: bool) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    import torch

    from rvrt_cli.backend import torch as primitives
    from rvrt_cli.inference.eager import load_torch_network

    model = load_torch_network(weights.config, weights.tensors)
    with torch.inference_mode():
        if not some:
            yield "torch", {"": primitives.to_numpy(model(primitives.from_numpy(lq)))}
            return
        results = parts(primitives.stack)(model, primitives.from_numpy(lq))
    yield "torch", {name: primitives.to_numpy(value) for name, value in results.items()}


def on_onnx(weights: Any, lq: np.ndarray, some: bool) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """The same graph in ONNX Runtime and in OpenVINO."""
    import onnxruntime as ort
    import openvino as ov

    from rvrt_cli.backend.onnx import stack
    from rvrt_cli.inference.graph import build_graph

    graph = build_graph(
        weights.config, weights.tensors, *lq.shape[1:4], outputs=parts(stack) if some else None
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # tests share their cores
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [output.name if some else "" for output in session.get_outputs()]
    yield "onnxruntime", dict(zip(names, session.run(None, {"lq": lq}), strict=True))
    core = ov.Core()
    program = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = program({"lq": lq})
    yield "openvino", {name: results[name or 0] for name in names}


def main(golden: Path, backend: str, cases: list[str]) -> None:
    from rvrt_cli import backend as choice

    choice.select(backend)
    for case in cases:
        weights, arrays = load(golden, "sr" if case == "parts" else case[:-1])
        number = "0" if case == "parts" else case[-1]
        lq = channel_last(arrays[f"x{number}"])
        for engine, results in (on_torch if backend == "torch" else on_onnx)(weights, lq, case == "parts"):
            for name, result in results.items():
                expected = channel_last(arrays[name or f"y{number}"])
                assert result.shape == expected.shape
                row = {
                    "engine": engine,
                    "case": case,
                    "array": name or f"y{number}",
                    "max_error": float(np.abs(result - expected).max()),
                }
                sys.stdout.write(json.dumps(row) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
