"""Picks device, backend, runtime and precision once, with the reason in words.

Probing is cheap: packages are looked up without importing them, and a framework is loaded only where its answer is
needed (PyTorch when an NVIDIA driver is present, ONNX Runtime's list of providers when a GPU is wanted).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from rvrt_cli.backend import current
from rvrt_cli.errors import DeviceError, UsageError

BACKENDS = ("auto", "onnx", "openvino", "onnxruntime", "torch", "mindspore")
"""Values of ``--backend``; ``openvino`` and ``onnxruntime`` are ``onnx`` with its runtime chosen."""

PRECISIONS = ("auto", "fp32", "mixed")

ONNX_RUNTIME_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
"""The distributions that bring the module ``onnxruntime``."""

INSTALL = {
    "openvino": "pip install openvino",
    "onnxruntime": "pip install onnxruntime",
    "spox": "pip install spox onnx",
    "torch": "pip install torch",
    "mindspore": "pip install mindspore==2.8.0 (Python 3.9 to 3.12)",
}


@dataclass(frozen=True)
class Choice:
    """Where and how the model runs.

    ``device``: "cpu", "gpu:0", "ascend:0". ``backend``: "onnx", "torch" or "mindspore". ``runtime``: "openvino",
    "onnxruntime-cpu", "onnxruntime-cuda" (or another provider), "torch", "mindspore". ``precision``: "fp32" or "mixed".
    ``reason``: one line for the user.
    """

    device: str
    backend: str
    runtime: str
    precision: str
    reason: str

    @property
    def index(self) -> int:
        """Number of the GPU or NPU; 0 for the CPU."""
        return int(self.device.partition(":")[2] or 0)


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


@functools.lru_cache(maxsize=1)
def nvidia_driver() -> bool:
    """Whether an NVIDIA driver is loaded and sees a card."""
    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


@functools.lru_cache(maxsize=1)
def ascend_driver() -> bool:
    """Whether Ascend devices are visible (Linux)."""
    return any(Path("/dev").glob("davinci[0-9]*")) if sys.platform.startswith("linux") else False


@functools.lru_cache(maxsize=1)
def onnx_providers() -> tuple[str, ...]:
    """ONNX Runtime's providers by our names, fastest first; empty where it is not installed or cannot be loaded."""
    if not installed("onnxruntime"):
        return ()
    try:
        import onnxruntime

        from rvrt_cli.runtime.sessions import PROVIDERS

        available = set(onnxruntime.get_available_providers())
    except ImportError:
        return ()
    return tuple(name for name, provider in PROVIDERS.items() if provider in available)


@functools.lru_cache(maxsize=1)
def torch_cuda() -> bool:
    """Whether PyTorch can use an NVIDIA card; PyTorch is imported only when a driver is present."""
    if not (nvidia_driver() and installed("torch")):
        return False
    try:
        import torch

        return bool(torch.cuda.is_available())
    except (ImportError, OSError):
        return False


@functools.lru_cache(maxsize=1)
def openvino_devices() -> tuple[str, ...]:
    """OpenVINO's devices ("CPU", "GPU", "GPU.1", "NPU"); empty where it is not installed."""
    if not installed("openvino"):
        return ()
    try:
        import openvino

        return tuple(openvino.Core().available_devices)
    except (ImportError, RuntimeError):
        return ()


def choose(device: str = "auto", backend: str = "auto", precision: str = "auto") -> Choice:
    """The fastest thing that works on this machine within the user's wishes.

    ``device``: auto, cpu, gpu[:i] or ascend[:i]. Errors: :class:`UsageError` for an unknown value, :class:`DeviceError` for
    something absent, naming what to install.
    """
    kind, index = _parse(device)
    if backend not in BACKENDS:
        raise UsageError(f"--backend must be one of {', '.join(BACKENDS)}; got {backend!r}.")
    if precision not in PRECISIONS:
        raise UsageError(f"--precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
    used = current()
    if backend == "auto" and used is not None:
        backend = used  # a process has one backend, for example that of its training
    if kind == "auto":
        kind = _fastest_device(backend)
    choice = {"cpu": _on_cpu, "gpu": _on_gpu, "ascend": _on_ascend}[kind](backend, index)
    # CPUs gain little from half precision and lose exactness; GPUs and NPUs gain a factor of two and more.
    wanted = precision if precision != "auto" else ("fp32" if kind == "cpu" else "mixed")
    return replace(choice, precision=wanted, reason=f"{choice.reason}, {wanted}")


def _parse(device: str) -> tuple[str, int]:
    kind, colon, number = device.partition(":")
    kind = {"cuda": "gpu", "npu": "ascend"}.get(kind, kind)
    if (
        kind not in ("auto", "cpu", "gpu", "ascend")
        or (colon and not number.isdigit())
        or (colon and kind in ("auto", "cpu"))
    ):
        raise UsageError(f"--device must be auto, cpu, gpu, gpu:1, ascend or ascend:1; got {device!r}.")
    return kind, int(number or 0)


def _require(*packages: str) -> None:
    for package in packages:
        if not installed(package):
            raise DeviceError(
                f"{package} is not installed; run `{INSTALL[package]}` or choose another --backend."
            )


def _fastest_device(backend: str) -> str:
    if backend in ("auto", "mindspore") and ascend_driver() and installed("mindspore"):
        return "ascend"
    if backend in ("auto", "torch") and torch_cuda():
        return "gpu"
    if backend in ("auto", "onnx", "onnxruntime") and _onnx_gpu():
        return "gpu"
    return "cpu"


def _onnx_gpu() -> str | None:
    """ONNX Runtime's fastest provider that drives a GPU which is here."""
    for name in onnx_providers():
        if name in ("tensorrt", "cuda") and not nvidia_driver():
            continue
        if name not in ("openvino", "cpu"):
            return name
    return None


def _on_cpu(backend: str, index: int) -> Choice:
    if backend == "torch":
        _require("torch")
        return Choice("cpu", "torch", "torch", "", "PyTorch on the CPU, as asked for")
    if backend == "mindspore":
        _require("mindspore")
        return Choice("cpu", "mindspore", "mindspore", "", "MindSpore graph mode on the CPU, as asked for")
    if backend == "openvino" or (backend in ("auto", "onnx") and installed("openvino") and installed("spox")):
        _require("openvino", "spox")
        why = "as asked for" if backend == "openvino" else "the fastest engine for a CPU"
        return Choice("cpu", "onnx", "openvino", "", f"OpenVINO on the CPU, {why}")
    if backend in ("onnx", "onnxruntime") or (installed("onnxruntime") and installed("spox")):
        _require("onnxruntime", "spox")
        why = "as asked for" if backend == "onnxruntime" else "OpenVINO is not installed"
        return Choice("cpu", "onnx", "onnxruntime-cpu", "", f"ONNX Runtime on the CPU, {why}")
    for name, words in (("torch", "PyTorch"), ("mindspore", "MindSpore graph mode")):
        if installed(name):
            return Choice(
                "cpu",
                name,
                name,
                "",
                f"{words} on the CPU; `{INSTALL['openvino']} spox onnx` would be faster",
            )
    raise DeviceError(f"Nothing that can run the model is installed; run `{INSTALL['openvino']} spox onnx`.")


def _on_gpu(backend: str, index: int) -> Choice:
    device = f"gpu:{index}"
    if backend in ("auto", "torch") and torch_cuda():
        import torch

        if index >= torch.cuda.device_count():
            raise DeviceError(
                f"There is no gpu:{index}; PyTorch sees {torch.cuda.device_count()}. Run `rvrt devices`."
            )
        return Choice(
            device,
            "torch",
            "torch",
            "",
            f"PyTorch on {torch.cuda.get_device_name(index)}, the fastest device found",
        )
    if backend == "torch":
        _require("torch")
        raise DeviceError(
            "PyTorch finds no NVIDIA card here; install its CUDA build and a driver, or use --device cpu."
        )
    if backend in ("auto", "onnx", "onnxruntime") and (provider := _onnx_gpu()) is not None:
        _require("spox")
        return Choice(
            device,
            "onnx",
            f"onnxruntime-{provider}",
            "",
            f"ONNX Runtime ({provider}) on gpu:{index}, the fastest device found",
        )
    if backend in ("auto", "onnx", "openvino") and any(name.startswith("GPU") for name in openvino_devices()):
        _require("spox")
        return Choice(device, "onnx", "openvino", "", f"OpenVINO on gpu:{index}")
    if backend == "mindspore" and nvidia_driver():
        _require("mindspore")
        return Choice(
            device,
            "mindspore",
            "mindspore",
            "",
            f"MindSpore on gpu:{index}, as asked for (its GPU plugin needs CUDA 11)",
        )
    if nvidia_driver():
        raise DeviceError(
            "An NVIDIA card is here but nothing installed can use it; run `pip install onnxruntime-gpu` or install PyTorch with CUDA."
        )
    raise DeviceError(
        "No usable GPU was found; install its driver and onnxruntime-gpu (NVIDIA), onnxruntime-directml (Windows) or the Intel GPU driver, or use --device cpu."
    )


def _on_ascend(backend: str, index: int) -> Choice:
    if backend not in ("auto", "mindspore"):
        raise DeviceError(f"Ascend needs --backend mindspore, not {backend}.")
    _require("mindspore")
    if not ascend_driver():
        raise DeviceError(
            "No Ascend device was found; install the CANN driver and toolkit, or use --device cpu."
        )
    return Choice(f"ascend:{index}", "mindspore", "mindspore", "", f"MindSpore on ascend:{index}")


@dataclass(frozen=True)
class Device:
    """A device of this machine. ``memory_mib``: its memory, 0 where unknown. ``seen_by``: the packages that can use it."""

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
class Survey:
    """Everything found, and the line that tells what ``--device auto`` picks (or why it cannot)."""

    devices: tuple[Device, ...]
    engines: tuple[Engine, ...]
    auto: str


def survey() -> Survey:
    """Look for devices and engines; a broken package is reported as seeing nothing, never an error."""
    try:
        auto = choose().reason
    except DeviceError as error:
        auto = str(error)
    return Survey(tuple(_devices()), tuple(_engines()), auto)


def package_version(*names: str) -> str:
    """The version of the first installed distribution among ``names``; empty where none is."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _engines() -> list[Engine]:
    runtime = package_version(*ONNX_RUNTIME_PACKAGES)
    torch = package_version("torch")
    mindspore = package_version("mindspore")
    return [
        Engine("openvino", "openvino", package_version("openvino"), openvino_devices(), INSTALL["openvino"]),
        Engine("onnxruntime", "onnxruntime", runtime, onnx_providers(), INSTALL["onnxruntime"]),
        Engine("torch", "torch", torch, ("cpu", "cuda") if torch_cuda() else ("cpu",) if torch else (), INSTALL["torch"]),
        Engine(
            "mindspore", "mindspore", mindspore, ("cpu", "ascend") if mindspore and ascend_driver() else ("cpu",) if mindspore else (),
            INSTALL["mindspore"],
        ),
    ]  # fmt: skip


def _devices() -> list[Device]:
    import psutil

    users = [name for name in ("openvino", "onnxruntime", "torch", "mindspore") if installed(name)]
    found = [Device("cpu", _cpu_name(), psutil.virtual_memory().total >> 20, tuple(users))]
    if torch_cuda():
        import torch

        seen = ("torch", *(["onnxruntime"] if "cuda" in onnx_providers() else []))
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            found.append(Device(f"gpu:{index}", card.name, card.total_memory >> 20, seen))
    elif (provider := _onnx_gpu()) is not None:
        found.append(Device("gpu:0", f"the GPU of ONNX Runtime's {provider}", 0, ("onnxruntime",)))
    if len(found) == 1:
        names = [name for name in openvino_devices() if name.startswith("GPU")]
        found += [
            Device(f"gpu:{index}", f"OpenVINO {name}", 0, ("openvino",)) for index, name in enumerate(names)
        ]
    if ascend_driver():
        cards = sorted(Path("/dev").glob("davinci[0-9]*"))
        seen = ("mindspore",) if installed("mindspore") else ()
        found += [Device(f"ascend:{index}", "Ascend NPU", 0, seen) for index, _ in enumerate(cards)]
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
