"""Where and how precisely MindSpore computes, and what goes into its graphs and comes out: tensors and constants."""

from __future__ import annotations

import functools
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from rvrt_cli.errors import DeviceError

_mixed = False
"""Whether matrix products and convolutions run in float16; see :func:`set_precision`."""

_on_cpu = True
"""See :func:`on_cpu` and :func:`set_device`."""


def set_device(device: str) -> None:
    """Run on ``"cpu"``, ``"gpu:0"`` or ``"ascend:0"`` (the latter two untested here).

    Errors: :class:`DeviceError` for another name or a device that MindSpore does not find.
    """
    global _on_cpu
    kind, _, index = device.partition(":")
    targets = {"cpu": "CPU", "gpu": "GPU", "ascend": "Ascend"}
    if kind not in targets or (index and not index.isdigit()):
        raise DeviceError(f"MindSpore has no device {device!r}; use cpu, gpu:0 or ascend:0.")
    try:
        ms.set_device(targets[kind], int(index or 0))
    except (RuntimeError, ValueError) as error:
        raise DeviceError(f"MindSpore cannot use {device!r} on this machine; use --device cpu.") from error
    _on_cpu = kind == "cpu"


def set_mode(graph: bool) -> None:
    """Choose graph mode (compiled per input shape, about four times faster on CPU) or PyNative (immediate, for debugging)."""
    ms.set_context(mode=ms.GRAPH_MODE if graph else ms.PYNATIVE_MODE)


def set_precision(mixed: bool) -> None:
    """Choose float32, or ``mixed``: matrix products and convolutions take float16 inputs, everything else stays float32.

    Meant for the matrix units of Ascend and GPU (untested there); the CPU computes it too, slowly. Parameters stay float32.
    Call it before a network runs for the first time: graph mode compiles the choice in.
    """
    global _mixed
    _mixed = mixed


def on_cpu() -> bool:
    """Whether the CPU computes, whose kernels ask for other formulas than a matrix unit's."""
    return _on_cpu


def static(function: Any) -> Any:
    """Decorate a function of plain numbers that returns :func:`constant` values; in graph mode it runs while compiling."""
    return ms.constexpr(functools.lru_cache(maxsize=256)(function), name=function.__name__)


def constant(array: np.ndarray) -> Tensor:
    """A fixed tensor; integer arrays become int32 indices."""
    return Tensor(array.astype(np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32))


def from_numpy(array: np.ndarray) -> Tensor:
    """An input tensor."""
    return Tensor(np.ascontiguousarray(array))


def to_numpy(x: Tensor) -> np.ndarray:
    """The values of ``x`` as float32 on the host."""
    return x.asnumpy().astype(np.float32, copy=False)


def narrow(x: Tensor) -> Tensor:
    """An operand of a matrix product in the chosen precision."""
    return ops.cast(x, ms.float16) if _mixed else x


def wide(x: Tensor) -> Tensor:
    """A matrix product's result in float32."""
    return ops.cast(x, ms.float32) if _mixed else x
