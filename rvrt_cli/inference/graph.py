"""Builds the ONNX graph of a network for one input size by running the model on the tracing backend."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli import backend
from rvrt_cli.errors import DeviceError, WeightsError
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.package import FOLDER

INPUT, OUTPUT = "lq", "sr"

IR_VERSION = 9
"""The version of ONNX files that belongs to opset 20; older runtimes refuse newer ones."""

SOURCES = (
    "imaging/cubic.py",
    "model/*.py",
    "backend/{backend}*.py",
    "inference/graph.py",
    "inference/eager.py",
)
"""The files of the package that decide what a network computes."""


@functools.lru_cache
def code_digest(backend: str) -> str:
    """A digest of :data:`SOURCES` for one backend: changed code is another graph, also between two releases.

    Read once per process, when the first model is loaded (0.1 MB); where only compiled files are installed it is constant.
    """
    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(Path(FOLDER).glob(pattern.format(backend=backend))):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def build_graph(
    config: ModelConfig,
    tensors: Mapping[str, np.ndarray],
    frames: int,
    height: int,
    width: int,
    *,
    half: bool = False,
    outputs: Callable[[Any, Any], dict[str, Any]] | None = None,
) -> bytes:
    """The serialised ONNX model: ``lq (1, t, h, w, c)`` float32 in [0, 1] → ``sr (1, t, s·h, s·w, 3)`` float32, not clipped.

    ``frames`` is even and ``height``, ``width`` suit the model (see :class:`~rvrt_cli.model.rvrt.RVRT`). ``half``:
    parameters and arithmetic in float16, positions in float32. ``outputs(model, lq)`` gives other results by name, for
    tests of the model's parts. Errors: :class:`WeightsError` when a tensor is missing or has another shape than the
    configuration says; :class:`DeviceError` where spox, which builds graphs, is not installed.
    """
    backend.select("onnx")
    try:
        import spox

        from rvrt_cli.backend import onnx as tracing
    except ImportError as error:
        raise DeviceError(
            f"Building an ONNX graph needs spox and onnx ({error}); run `pip install spox onnx`."
        ) from error
    from rvrt_cli.model.rvrt import RVRT

    with tracing.precision(half):
        model = RVRT(config)
        parameters = dict(model.named_parameters())
        check_names(parameters, tensors)
        for name, parameter in parameters.items():
            parameter.assign(tensors[name])
        shape = (1, frames, height, width, config.in_channels)
        argument = spox.argument(spox.Tensor(np.float32, shape))
        lq = tracing.graph_input(argument, shape)
        results = {OUTPUT: model(lq)} if outputs is None else outputs(model, lq)
        graph = spox.build(
            {INPUT: argument}, {name: tracing.finish(result) for name, result in results.items()}
        )
    graph.ir_version = IR_VERSION
    graph.producer_name = "rvrt"
    return bytes(graph.SerializeToString())


def check_names(parameters: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Every parameter has a tensor of its shape and none is left over.

    Errors: :class:`WeightsError` naming the first one that does not fit.
    """
    for name in sorted(set(parameters) ^ set(tensors)):
        state = "missing from the weights" if name in parameters else "unknown to the model"
        raise WeightsError(f"The tensor {name} is {state}; the weights do not fit the model.")
    for name, parameter in parameters.items():
        if tuple(parameter.shape) != tensors[name].shape:
            raise WeightsError(
                f"The tensor {name} has the shape {tensors[name].shape} instead of {tuple(parameter.shape)}; the weights do not fit the model."
            )
