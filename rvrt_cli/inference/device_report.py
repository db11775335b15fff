"""Everything found on this machine, for ``rvrt devices``: what could run the model, usable or not."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from rvrt_cli.errors import DeviceError
from rvrt_cli.inference.device import INSTALL, NEEDS, choose
from rvrt_cli.system.hardware import (
    NVIDIA_PROVIDERS,
    ONNX_RUNTIME_PACKAGES,
    ascend_cards,
    installed,
    nvidia_cards,
    onnx_gpu,
    onnx_gpu_cards,
    onnx_providers,
    openvino_devices,
    openvino_gpus,
    package_version,
    torch_cuda,
)


@dataclass(frozen=True)
class Device:
    """A device of this machine. ``memory_mib``: its memory, 0 where unknown. ``seen_by``: the packages that can use it; none for
    one that is here but that nothing installed can use."""

    device: str
    name: str
    memory_mib: int
    seen_by: tuple[str, ...]


@dataclass(frozen=True)
class Engine:
    """A package that runs the model. ``version``: empty where it is not installed. ``runs_on``: providers or device kinds."""

    backend: str
    package: str
    version: str
    runs_on: tuple[str, ...]
    install: str


@dataclass(frozen=True)
class DeviceReport:
    """Everything found, and the line that tells what ``--device auto`` picks (or why it cannot)."""

    devices: tuple[Device, ...]
    engines: tuple[Engine, ...]
    auto: str


def make_device_report() -> DeviceReport:
    """Look for devices and engines; a broken package is reported as seeing nothing, never an error."""
    try:
        auto = choose().describe()
    except DeviceError as error:
        auto = str(error)
    return DeviceReport(tuple(_devices()), tuple(_engines()), auto)


def _engines() -> list[Engine]:
    torch, mindspore = package_version("torch"), package_version("mindspore")
    on = {
        "openvino": (package_version("openvino"), openvino_devices()),
        "onnxruntime": (package_version(*ONNX_RUNTIME_PACKAGES), onnx_providers()),
        "torch": (torch, ("cpu", *(["cuda"] if torch_cuda() else [])) if torch else ()),
        "mindspore": (mindspore, ("cpu", *(["ascend"] if ascend_cards() else [])) if mindspore else ()),
    }
    return [
        Engine(name, name, version, runs_on, INSTALL[name] + NEEDS.get(name, ""))
        for name, (version, runs_on) in on.items()
    ]


def _devices() -> list[Device]:
    import psutil

    users = tuple(name for name in ("openvino", "onnxruntime", "torch", "mindspore") if installed(name))
    found = [Device("cpu", _cpu_name(), psutil.virtual_memory().total >> 20, users)]
    provider = onnx_gpu()
    for index, card in enumerate(nvidia_cards()):
        seen = ["torch"] if index < torch_cuda() else []
        if provider in NVIDIA_PROVIDERS:
            seen.append("onnxruntime")
        found.append(Device(f"gpu:{index}", card.name, card.memory_mib, tuple(seen)))
    if provider is not None and provider not in NVIDIA_PROVIDERS:
        for index, card in enumerate(onnx_gpu_cards(provider) or ()):
            found.append(Device(f"gpu:{index}", card.name, card.memory_mib, ("onnxruntime",)))
        if onnx_gpu_cards(provider) is None:
            found.append(Device("gpu:0", f"the GPU of ONNX Runtime's {provider}", 0, ("onnxruntime",)))
    # Beside another GPU, these take --backend openvino.
    for index, card in enumerate(openvino_gpus()):
        found.append(Device(f"gpu:{index}", card.name, card.memory_mib, ("openvino",)))
    seen_by = ("mindspore",) if installed("mindspore") else ()
    for index, card in enumerate(ascend_cards()):
        found.append(Device(f"ascend:{index}", card.name, card.memory_mib, seen_by))
    return found


def _cpu_name() -> str:
    cores = os.cpu_count() or 1
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {cores} cores"
