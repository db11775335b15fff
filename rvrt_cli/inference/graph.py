"""Builds the ONNX graph of a network for one input size by running the model on the tracing backend."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
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
    "inference/programs.py",
    "inference/stepper.py",
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
    """The whole network as a graph: ``lq (1, t, h, w, c)`` float32 in [0, 1] → ``sr (1, t, s·h, s·w, 3)`` float32, not clipped.

    ``frames`` is even and ``height``, ``width`` suit the model (see :class:`~rvrt_cli.model.rvrt.RVRT`). ``outputs(model,
    lq)`` gives other results by name, for tests of the model's parts. ``half`` and errors: as :func:`record_graph`.
    """

    def results(model: Any, values: list[Any]) -> dict[str, Any]:
        return {OUTPUT: model(values[0])} if outputs is None else outputs(model, values[0])

    inputs = [Port(INPUT, (1, frames, height, width, config.in_channels))]
    return record_graph(config, tensors, inputs, results, half=half)


@dataclass(frozen=True)
class Port:
    """An input or a result of a program. ``half``: float16, otherwise float32."""

    name: str
    shape: tuple[int, ...]
    half: bool = False

    @property
    def dtype(self) -> type:
        return np.float16 if self.half else np.float32


def record_graph(
    config: ModelConfig,
    tensors: Mapping[str, np.ndarray],
    inputs: Sequence[Port],
    results: Callable[[Any, list[Any]], dict[str, Any]],
    *,
    half: bool = False,
    half_results: Collection[str] = (),
) -> bytes:
    """The serialised ONNX model of what ``results(network, inputs)`` computes, by name.

    ``half``: parameters and arithmetic in float16, positions in float32. ``half_results``: those of the results that are
    float16, not float32. Errors: :class:`WeightsError` when a tensor is missing or has another shape than the configuration
    says; :class:`DeviceError` where spox, which builds graphs, is not installed.
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
        arguments = {port.name: spox.argument(spox.Tensor(port.dtype, port.shape)) for port in inputs}
        values = [tracing.graph_input(arguments[port.name], port.shape, port.dtype) for port in inputs]
        made = {
            name: tracing.finish(value, np.float16 if name in half_results else np.float32)
            for name, value in results(model, values).items()
        }
        graph = spox.build(arguments, made)
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
