"""Runs the model in a framework, without a graph file: PyTorch, and MindSpore in graph mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rvrt_cli import backend
from rvrt_cli.inference.graph import Port, check_names
from rvrt_cli.inference.memory import translate_engine_errors
from rvrt_cli.inference.programs import Program
from rvrt_cli.model.config import ModelConfig


class EagerEngine(ABC):
    """The steps of a model in one framework: a :class:`~rvrt_cli.inference.stepper.StepEngine`.

    ``programs``: of one picture size. ``device``: "cpu", "gpu:0", "ascend:0". ``mixed``: float16 where the framework takes it.
    ``threads``: of the CPU, 0 for all. Features stay on the device, in the ports' types.
    Errors: :class:`DeviceError`, :class:`OutOfMemoryError_`, :class:`WeightsError`.
    """

    backend: str
    engine: str
    """The framework's name for messages."""

    def __init__(
        self,
        config: ModelConfig,
        tensors: Mapping[str, np.ndarray],
        programs: Mapping[str, Program],
        *,
        device: str = "cpu",
        mixed: bool = False,
        threads: int = 0,
    ) -> None:
        backend.select(self.backend)
        self._programs = programs
        with translate_engine_errors(self.engine):
            self._start(device, mixed, threads)
            network = self._load(config, tensors)
            self._steps = {name: self._ready(program.module(network)) for name, program in programs.items()}

    def run(self, program: str, inputs: Sequence[Any]) -> list[Any]:
        """One step; arrays are brought to the device."""
        with translate_engine_errors(self.engine):
            return self._infer(self._steps[program], inputs, self._programs[program].results)

    def numbers(self, value: Any) -> np.ndarray:
        """A result on the host."""
        with translate_engine_errors(self.engine):
            return self._host(value)

    @abstractmethod
    def _start(self, device: str, mixed: bool, threads: int) -> None:
        """Settle where and how the framework computes."""

    @abstractmethod
    def _load(self, config: ModelConfig, tensors: Mapping[str, np.ndarray]) -> Any:
        """Make the network and give it its weights."""

    def _ready(self, step: Any) -> Any:
        """One step of the network, ready to be called."""
        return step

    @abstractmethod
    def _infer(self, step: Any, inputs: Sequence[Any], results: Sequence[Port]) -> list[Any]:
        """One step, errors as they come."""

    @abstractmethod
    def _host(self, value: Any) -> np.ndarray:
        """A result as a float32 array."""


class TorchEngine(EagerEngine):
    """The steps in PyTorch. ``mixed``: float16 autocast (bfloat16 stays below 50 dB against float32); otherwise float32
    alone: TensorFloat-32, which PyTorch's convolutions use on NVIDIA cards if they may, keeps 10 bits of 23.
    """

    backend = "torch"
    engine = "PyTorch"

    def _start(self, device: str, mixed: bool, threads: int) -> None:
        import torch

        from rvrt_cli.backend import torch as primitives

        if threads:
            torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = mixed
        torch.backends.cudnn.allow_tf32 = mixed
        device = device.replace("gpu", "cuda")
        primitives.set_device(device)
        self._kind = device.split(":")[0]
        self._mixed = mixed

    def _load(self, config: ModelConfig, tensors: Mapping[str, np.ndarray]) -> Any:
        return load_torch_network(config, tensors)

    def _infer(self, step: Any, inputs: Sequence[Any], results: Sequence[Port]) -> list[Any]:
        import torch

        from rvrt_cli.backend import torch as primitives

        values = [primitives.from_numpy(x) if isinstance(x, np.ndarray) else x.float() for x in inputs]
        with torch.inference_mode(), torch.autocast(self._kind, torch.float16, enabled=self._mixed):
            made = step(*values)
            return [y.half() if port.half else y.float() for y, port in zip(made, results, strict=True)]

    def _host(self, value: Any) -> np.ndarray:
        from rvrt_cli.backend import torch as primitives

        return primitives.to_numpy(value)


def load_torch_network(config: ModelConfig, tensors: Mapping[str, np.ndarray]) -> Any:
    """The whole network in PyTorch, for inference. Errors: :class:`WeightsError`."""
    import torch

    from rvrt_cli.model.rvrt import RVRT

    model = RVRT(config)
    parameters = dict(model.named_parameters())
    check_names(parameters, tensors)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(np.array(tensors[name], np.float32)))
    return model.eval()


class MindSporeEngine(EagerEngine):
    """The steps in MindSpore's graph mode, each compiled when it first runs."""

    backend = "mindspore"
    engine = "MindSpore"

    def _start(self, device: str, mixed: bool, threads: int) -> None:
        from rvrt_cli.backend import mindspore as primitives

        primitives.set_device(device)
        primitives.set_mode(True)
        primitives.set_precision(mixed)
        if device.startswith("gpu"):
            import mindspore

            mindspore.set_context(gpu_config={"conv_allow_tf32": mixed, "matmul_allow_tf32": mixed})
        if threads:
            import mindspore

            mindspore.set_context(runtime_num_threads=threads)

    def _load(self, config: ModelConfig, tensors: Mapping[str, np.ndarray]) -> Any:
        from rvrt_cli.backend import mindspore as primitives
        from rvrt_cli.model.rvrt import RVRT

        model = RVRT(config)
        primitives.load_tensors(model, dict(tensors))
        return model

    def _ready(self, step: Any) -> Any:
        return step.set_train(False)

    def _infer(self, step: Any, inputs: Sequence[Any], results: Sequence[Port]) -> list[Any]:
        from rvrt_cli.backend import mindspore as primitives

        return primitives.run_step(step, inputs, [port.half for port in results])

    def _host(self, value: Any) -> np.ndarray:
        from rvrt_cli.backend import mindspore as primitives

        return primitives.to_numpy(value)


EAGER_ENGINES: dict[str, type[EagerEngine]] = {"torch": TorchEngine, "mindspore": MindSporeEngine}
"""Engines by backend."""
