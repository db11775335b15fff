"""The choice of a framework to train in."""

from __future__ import annotations

from rvrt_cli.errors import UsageError
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.train.checkpoint import Tensors
from rvrt_cli.train.engine import Engine, RankInfo
from rvrt_cli.train.recipe import Recipe

ENGINES = ("mindspore", "torch")


def create_engine(
    backend: str,
    config: ModelConfig,
    recipe: Recipe,
    initial: Tensors | None,
    device: str,
    threads: int,
    rank_info: RankInfo,
) -> Engine:
    """Build the network in the framework ``backend`` with ``initial`` weights, or drawn ones where None.

    ``device``: "auto", "cpu", "cuda", "ascend"; ``threads``: CPU threads, 0 for the framework's choice.
    Errors: :class:`DeviceError` where the framework or device is absent, :class:`WeightsError` where weights do not fit.
    """
    if backend == "torch":
        from rvrt_cli.train.engine_torch import TorchEngine

        return TorchEngine(config, recipe, initial, device, threads, rank_info)
    if backend == "mindspore":
        from rvrt_cli.train.engine_mindspore import MindSporeEngine

        return MindSporeEngine(config, recipe, initial, device, threads, rank_info)
    raise UsageError(f"Training runs on {' or '.join(ENGINES)}, not on {backend!r}.")


def check_device(backend: str, device: str, devices: int) -> None:
    """Raise :class:`DeviceError` unless this machine has ``devices`` such devices for the framework ``backend``."""
    last = RankInfo(local_rank=devices - 1)
    if backend == "torch":
        from rvrt_cli.train.engine_torch import find_device as find_for_torch

        find_for_torch(device, last)
    else:
        from rvrt_cli.train.engine_mindspore import find_device as find_for_mindspore

        find_for_mindspore(device, last)
