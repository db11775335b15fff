"""What this machine has: packages, accelerators, and which of them an engine can really use.

Probing is cheap where there is nothing to find: packages are looked up without importing them, and a framework is loaded
only where its answer is needed (PyTorch when an NVIDIA driver sees a card, ONNX Runtime's list of providers when a GPU is
wanted). Every answer is kept for the life of the process.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ONNX_RUNTIME_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
"""The distributions that bring the module ``onnxruntime``; they overwrite one another."""

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""ONNX Runtime's providers by the names this tool uses, fastest first."""
NVIDIA_PROVIDERS = ("tensorrt", "cuda")

NAME_BYTES = 256
"""Room for a card's name, which the driver cuts off there."""


def available_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Card:
    """A GPU. ``memory_mib``: its memory, 0 where unknown."""

    name: str
    memory_mib: int = 0


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def package_version(*names: str) -> str:
    """The version of the first installed distribution among ``names``; empty where none is."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


@functools.lru_cache(maxsize=1)
def nvidia_cards() -> tuple[Card, ...]:
    """The NVIDIA cards that the driver sees, in its order; empty without a driver.

    Asked of the driver itself (CUDA driver API), so that a card is found that no installed package can use.
    """
    library = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return ()
        return tuple(_nvidia_card(driver, index) for index in range(count.value))
    except (OSError, AttributeError):
        return ()


def _nvidia_card(driver: ctypes.CDLL, index: int) -> Card:
    handle, memory = ctypes.c_int(0), ctypes.c_size_t(0)
    name = ctypes.create_string_buffer(NAME_BYTES)
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetName(name, NAME_BYTES, handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    return Card(name.value.decode("utf-8", "replace") or "NVIDIA GPU", memory.value >> 20)


@functools.lru_cache(maxsize=1)
def ascend_cards() -> tuple[Card, ...]:
    """The Ascend devices that the driver shows (Linux)."""
    if not sys.platform.startswith("linux"):
        return ()
    return tuple(Card("Ascend NPU") for _ in Path("/dev").glob("davinci[0-9]*"))


@functools.lru_cache(maxsize=1)
def torch_cuda() -> int:
    """How many NVIDIA cards PyTorch can use; PyTorch is imported only when the driver sees one."""
    if not (nvidia_cards() and installed("torch")):
        return 0
    try:
        import torch

        return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0
    except (ImportError, OSError):
        return 0


@functools.lru_cache(maxsize=1)
def openvino_core() -> Any:
    """OpenVINO's core, one for the process and for as long as it lives.

    With the last core its plugins are unloaded, and a thread of theirs that is still ending runs code that is gone: a crash.
    """
    import openvino

    return openvino.Core()


@functools.lru_cache(maxsize=1)
def openvino_devices() -> tuple[str, ...]:
    """OpenVINO's devices ("CPU", "GPU", "GPU.1", "NPU"); empty where it is not installed."""
    if not installed("openvino"):
        return ()
    try:
        return tuple(openvino_core().available_devices)
    except (ImportError, RuntimeError):
        return ()


@functools.lru_cache(maxsize=1)
def openvino_gpus() -> tuple[Card, ...]:
    """The GPUs that OpenVINO drives (Intel's), in its order."""
    names = [name for name in openvino_devices() if name.partition(".")[0] == "GPU"]
    return tuple(_openvino_card(name) for name in names)


def _openvino_card(device: str) -> Card:
    try:
        core = openvino_core()
        memory = int(core.get_property(device, "GPU_DEVICE_TOTAL_MEM_SIZE"))
        return Card(str(core.get_property(device, "FULL_DEVICE_NAME")), memory >> 20)
    except (ImportError, RuntimeError, TypeError, ValueError):
        return Card(f"OpenVINO {device}")


@functools.lru_cache(maxsize=1)
def onnx_providers() -> tuple[str, ...]:
    """ONNX Runtime's providers by our names, fastest first; empty where it is not installed or cannot be loaded."""
    if not installed("onnxruntime"):
        return ()
    try:
        import onnxruntime

        available = set(onnxruntime.get_available_providers())
    except ImportError:
        return ()
    return tuple(name for name, provider in PROVIDERS.items() if provider in available)


@functools.lru_cache
def provider_starts(name: str) -> bool:
    """Whether ONNX Runtime really starts a provider of :func:`onnx_providers`.

    A wheel lists what it was built with: every onnxruntime-gpu names TensorRT, installed or not, and CUDA without its
    libraries. So one operator is given to it; a provider whose libraries are missing drops out or raises.
    """
    try:
        import onnxruntime
        from onnx import TensorProto, helper

        value = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [1]) for end in ("x", "y")]
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", value[:1], value[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        onnxruntime.set_default_logger_severity(4)  # it would print why it does not start; the caller goes on
        try:
            # Without the fallback, which would print to stdout and try again with less.
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=[PROVIDERS[name]], enable_fallback=0
            )
        finally:
            onnxruntime.set_default_logger_severity(2)
        return PROVIDERS[name] in session.get_providers()
    except Exception:  # each provider fails in its own way; whatever it is, it does not start
        return False


def onnx_gpu() -> str | None:
    """ONNX Runtime's fastest provider that drives a GPU which is here."""
    for name in onnx_providers():
        if name in ("openvino", "cpu") or (name in NVIDIA_PROVIDERS and not nvidia_cards()):
            continue
        if provider_starts(name):
            return name
    return None


def onnx_gpu_cards(provider: str) -> tuple[Card, ...] | None:
    """The GPUs behind a provider of ONNX Runtime; None where it cannot be told how many there are."""
    if provider in NVIDIA_PROVIDERS:
        return nvidia_cards()
    return (Card("Apple GPU and Neural Engine"),) if provider == "coreml" else None
