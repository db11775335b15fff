"""Runs the model in a framework, without a graph file: PyTorch, and MindSpore in graph mode."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rvrt_cli import backend
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.runtime.graph import check_names
from rvrt_cli.runtime.memory import explained


class TorchSession:
    """The model in PyTorch, for any input shape. ``device``: "cpu", "cuda:0". ``mixed``: float16 autocast
    (bfloat16 stays below 50 dB against float32)."""

    def __init__(
        self,
        config: ModelConfig,
        tensors: Mapping[str, np.ndarray],
        *,
        device: str = "cpu",
        mixed: bool = False,
        threads: int = 0,
    ) -> None:
        backend.select("torch")
        with explained("PyTorch"):
            import torch

            from rvrt_cli.backend import torch as primitives

            if threads:
                torch.set_num_threads(threads)
            primitives.set_device(device)
            from rvrt_cli.model.rvrt import RVRT

            self._model = RVRT(config)
            parameters = dict(self._model.named_parameters())
            check_names(parameters, tensors)
            with torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.copy_(torch.from_numpy(np.array(tensors[name], np.float32)))
            self._model.eval()
            self._kind = device.split(":")[0]
            self._mixed = mixed

    def run(self, lq: np.ndarray) -> np.ndarray:
        """One inference."""
        with explained("PyTorch"):
            import torch

            from rvrt_cli.backend import torch as primitives

            with torch.inference_mode(), torch.autocast(self._kind, torch.float16, enabled=self._mixed):
                return primitives.to_numpy(self._model(primitives.from_numpy(lq)))


class MindSporeSession:
    """The model in MindSpore graph mode, compiled per input shape. ``device``: "cpu", "gpu:0", "ascend:0"."""

    def __init__(
        self,
        config: ModelConfig,
        tensors: Mapping[str, np.ndarray],
        *,
        device: str = "cpu",
        mixed: bool = False,
        threads: int = 0,
    ) -> None:
        backend.select("mindspore")
        with explained("MindSpore"):
            from rvrt_cli.backend import mindspore as primitives

            primitives.set_device(device)
            primitives.set_mode(True)
            primitives.set_precision(mixed)
            if threads:
                import mindspore

                mindspore.set_context(runtime_num_threads=threads)
            from rvrt_cli.model.rvrt import RVRT

            self._model = RVRT(config)
            primitives.load_tensors(self._model, dict(tensors))

    def run(self, lq: np.ndarray) -> np.ndarray:
        """One inference."""
        with explained("MindSpore"):
            from rvrt_cli.backend import mindspore as primitives

            return primitives.run(self._model, lq)
