"""Runs the model in a framework, without a graph file: PyTorch, and MindSpore in graph mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from rvrt_cli import backend
from rvrt_cli.inference.graph import check_names
from rvrt_cli.inference.memory import explained
from rvrt_cli.model.config import ModelConfig


class EagerSession(ABC):
    """A model in one framework, for any input shape.

    ``device``: "cpu", "gpu:0", "ascend:0". ``mixed``: float16 where the framework takes it. ``threads``: of the CPU, 0 for all.
    Errors: :class:`DeviceError`, :class:`OutOfMemoryError_`, :class:`WeightsError`.
    """

    backend: str
    engine: str
    """The framework's name for messages."""

    def __init__(
        self,
        config: ModelConfig,
        tensors: Mapping[str, np.ndarray],
        *,
        device: str = "cpu",
        mixed: bool = False,
        threads: int = 0,
    ) -> None:
        backend.select(self.backend)
        with explained(self.engine):
            self._start(device, mixed, threads)
            self._load(config, tensors)

    def run(self, lq: np.ndarray) -> np.ndarray:
        """One inference: ``(1, t, h, w, c)`` float32 → ``(1, t, s·h, s·w, 3)`` float32."""
        with explained(self.engine):
            return self._infer(lq)

    @abstractmethod
    def _start(self, device: str, mixed: bool, threads: int) -> None:
        """Settle where and how the framework computes."""

    @abstractmethod
    def _load(self, config: ModelConfig, tensors: Mapping[str, np.ndarray]) -> None:
        """Make the network and give it its weights."""

    @abstractmethod
    def _infer(self, lq: np.ndarray) -> np.ndarray:
        """One inference, errors as they come."""


class TorchSession(EagerSession):
    """The model in PyTorch. ``mixed``: float16 autocast (bfloat16 stays below 50 dB against float32)."""

    backend = "torch"
    engine = "PyTorch"

    def _start(self, device: str, mixed: bool, threads: int) -> None:
        import torch

        from rvrt_cli.backend import torch as primitives

        if threads:
            torch.set_num_threads(threads)
        device = device.replace("gpu", "cuda")
        primitives.set_device(device)
        self._kind = device.split(":")[0]
        self._mixed = mixed

    def _load(self, config: ModelConfig, tensors: Mapping[str, np.ndarray]) -> None:
        import torch

        from rvrt_cli.model.rvrt import RVRT

        self._model = RVRT(config)
        parameters = dict(self._model.named_parameters())
        check_names(parameters, tensors)
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(torch.from_numpy(np.array(tensors[name], np.float32)))
        self._model.eval()

    def _infer(self, lq: np.ndarray) -> np.ndarray:
        import torch

        from rvrt_cli.backend import torch as primitives

        with torch.inference_mode(), torch.autocast(self._kind, torch.float16, enabled=self._mixed):
            return primitives.to_numpy(self._model(primitives.from_numpy(lq)))


class MindSporeSession(EagerSession):
    """The model in MindSpore graph mode, compiled per input shape."""

    backend = "mindspore"
    engine = "MindSpore"

    def _start(self, device: str, mixed: bool, threads: int) -> None:
        from rvrt_cli.backend import mindspore as primitives

        primitives.set_device(device)
        primitives.set_mode(True)
        primitives.set_precision(mixed)
        if threads:
            import mindspore

            mindspore.set_context(runtime_num_threads=threads)

    def _load(self, config: ModelConfig, tensors: Mapping[str, np.ndarray]) -> None:
        from rvrt_cli.backend import mindspore as primitives
        from rvrt_cli.model.rvrt import RVRT

        self._model = RVRT(config)
        primitives.load_tensors(self._model, dict(tensors))

    def _infer(self, lq: np.ndarray) -> np.ndarray:
        from rvrt_cli.backend import mindspore as primitives

        return primitives.run(self._model, lq)


EAGER_ENGINES: dict[str, type[EagerSession]] = {"torch": TorchSession, "mindspore": MindSporeSession}
"""Sessions by backend."""
