"""Picks device, backend, runtime and precision once, with the reason in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rvrt_cli.backend import current
from rvrt_cli.errors import DeviceError, UsageError
from rvrt_cli.system.hardware import (
    ascend_cards,
    installed,
    nvidia_cards,
    onnx_gpu,
    onnx_gpu_cards,
    openvino_gpus,
    torch_cuda,
)

BACKENDS = ("auto", "onnx", "openvino", "onnxruntime", "torch", "mindspore")
"""Values of ``--backend``; ``openvino`` and ``onnxruntime`` are ``onnx`` with its runtime chosen."""

PRECISIONS = ("auto", "fp32", "mixed")

INSTALL = {
    "openvino": "pip install openvino",
    "onnxruntime": "pip install onnxruntime",
    "spox": "pip install spox onnx",
    "torch": "pip install torch",
    "mindspore": "pip install mindspore==2.8.0",
}
"""What to run where a package is missing."""

NEEDS = {"mindspore": " with Python 3.10 to 3.12"}
"""What else a package needs, as the end of that advice."""

AS_ASKED = "as asked for"
FASTEST = "the fastest device found"


@dataclass(frozen=True)
class Choice:
    """Where and how the model runs.

    ``device``: "cpu", "gpu:0", "ascend:0". ``backend``: "onnx", "torch" or "mindspore". ``runtime``: "openvino",
    "onnxruntime-cpu", "onnxruntime-cuda" (or another provider), "torch", "mindspore". ``precision``: "fp32" or "mixed".
    ``reason``: why, in a few words. ``statement``: engine and device for the user.
    """

    device: str
    backend: str
    runtime: str
    precision: str
    reason: str
    statement: str = ""

    @property
    def index(self) -> int:
        """Number of the GPU or NPU; 0 for the CPU."""
        return int(self.device.partition(":")[2] or 0)

    def describe(self) -> str:
        """What was chosen and why, as one line: "OpenVINO on the CPU, the fastest engine for a CPU, fp32"."""
        return ", ".join(filter(None, (self.statement, self.reason, self.precision)))


def choose(device: str = "auto", backend: str = "auto", precision: str = "auto") -> Choice:
    """The fastest thing that works on this machine within the user's wishes.

    ``device``: auto, cpu, gpu[:i] or ascend[:i]. Errors: :class:`UsageError` for an unknown value, :class:`DeviceError` for
    something absent, naming what to install.
    """
    check_values(device, backend, precision)
    kind, index = parse_device(device)
    used = current()
    if backend == "auto" and used is not None:
        backend = used  # a process has one backend, for example that of its training
    if kind == "auto":
        kind = _fastest_device(backend)
    on: dict[str, Callable[[str, int], Choice]] = {"cpu": _on_cpu, "gpu": _on_gpu, "ascend": _on_ascend}
    choice = on[kind](backend, index)
    if device == "auto" and choice.runtime == "openvino" and kind == "cpu" and openvino_gpus():
        # No Intel GPU could be tried by this project: whether it is faster than its CPU, or computes the network at all,
        # is for its owner to find out.
        choice = replace(
            choice, reason=f"{choice.reason} (--device gpu tries {openvino_gpus()[0].name} instead)"
        )
    # CPUs gain little from half precision and lose exactness; GPUs and NPUs gain a factor of two and more.
    wanted = precision if precision != "auto" else ("fp32" if kind == "cpu" else "mixed")
    return replace(choice, precision=wanted)


def check_values(device: str, backend: str, precision: str) -> None:
    """Errors: :class:`UsageError` for a value that ``--device``, ``--backend`` or ``--precision`` does not have."""
    parse_device(device)
    if backend not in BACKENDS:
        raise UsageError(f"--backend must be one of {', '.join(BACKENDS)}; got {backend!r}.")
    if precision not in PRECISIONS:
        raise UsageError(f"--precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")


def parse_device(device: str) -> tuple[str, int]:
    """("auto", "cpu", "gpu" or "ascend", its number). Errors: :class:`UsageError` for anything else."""
    kind, colon, number = device.partition(":")
    kind = {"cuda": "gpu", "npu": "ascend"}.get(kind, kind)
    if (
        kind not in ("auto", "cpu", "gpu", "ascend")
        or (colon and not (number.isascii() and number.isdigit()))
        or (colon and kind in ("auto", "cpu"))
    ):
        raise UsageError(f"--device must be auto, cpu, gpu, gpu:1, ascend or ascend:1; got {device!r}.")
    return kind, int(number or 0)


def install_advice(package: str) -> str:
    """How to get a package, as part of a sentence."""
    return f"run `{INSTALL[package]}`{NEEDS.get(package, '')}"


def _require(*packages: str) -> None:
    for package in packages:
        if not installed(package):
            raise DeviceError(
                f"{package} is not installed; {install_advice(package)} or choose another --backend."
            )


def _check_index(kind: str, index: int, count: int | None, engine: str) -> None:
    """Errors: :class:`DeviceError` for a number beyond the ``count`` devices there are (None: it cannot be told)."""
    if count is not None and index >= count:
        raise DeviceError(f"There is no {kind}:{index}; {engine} sees {count}. Run `rvrt devices`.")


def _fastest_device(backend: str) -> str:
    if backend in ("auto", "mindspore") and ascend_cards() and installed("mindspore"):
        return "ascend"
    if backend in ("auto", "torch") and torch_cuda():
        return "gpu"
    if backend in ("auto", "onnx", "onnxruntime") and onnx_gpu():
        return "gpu"
    return "cpu"


def _on_cpu(backend: str, index: int) -> Choice:
    if backend == "torch":
        _require("torch")
        return Choice("cpu", "torch", "torch", "", AS_ASKED, "PyTorch on the CPU")
    if backend == "mindspore":
        _require("mindspore")
        return Choice("cpu", "mindspore", "mindspore", "", AS_ASKED, "MindSpore graph mode on the CPU")
    if backend == "openvino" or (backend in ("auto", "onnx") and installed("openvino") and installed("spox")):
        _require("openvino", "spox")
        why = AS_ASKED if backend == "openvino" else "the fastest engine for a CPU"
        return Choice("cpu", "onnx", "openvino", "", why, "OpenVINO on the CPU")
    if backend in ("onnx", "onnxruntime") or (installed("onnxruntime") and installed("spox")):
        _require("onnxruntime", "spox")
        why = AS_ASKED if backend == "onnxruntime" else "OpenVINO is not installed"
        return Choice("cpu", "onnx", "onnxruntime-cpu", "", why, "ONNX Runtime on the CPU")
    faster = f"`{INSTALL['openvino']} spox onnx` would be faster"
    for name, words in (("torch", "PyTorch"), ("mindspore", "MindSpore graph mode")):
        if installed(name):
            return Choice("cpu", name, name, "", faster, f"{words} on the CPU")
    raise DeviceError(f"Nothing that can run the model is installed; run `{INSTALL['openvino']} spox onnx`.")


def _on_gpu(backend: str, index: int) -> Choice:
    device = f"gpu:{index}"
    if backend in ("auto", "torch") and torch_cuda():
        _check_index("gpu", index, torch_cuda(), "PyTorch")
        name = nvidia_cards()[index].name if index < len(nvidia_cards()) else device
        return Choice(device, "torch", "torch", "", FASTEST, f"PyTorch on {name}")
    if backend in ("auto", "onnx", "onnxruntime") and (provider := onnx_gpu()) is not None:
        _require("spox")
        cards = onnx_gpu_cards(provider)
        _check_index("gpu", index, None if cards is None else len(cards), f"ONNX Runtime ({provider})")
        name = cards[index].name if cards else device
        return Choice(
            device, "onnx", f"onnxruntime-{provider}", "", FASTEST, f"ONNX Runtime ({provider}) on {name}"
        )
    if backend in ("auto", "onnx", "openvino") and openvino_gpus():
        _require("spox")
        _check_index("gpu", index, len(openvino_gpus()), "OpenVINO")
        return Choice(device, "onnx", "openvino", "", AS_ASKED, f"OpenVINO on {openvino_gpus()[index].name}")
    if backend == "mindspore" and nvidia_cards():
        _require("mindspore")
        _check_index("gpu", index, len(nvidia_cards()), "the driver")
        why = f"{AS_ASKED} (its GPU plugin needs CUDA 11)"
        return Choice(device, "mindspore", "mindspore", "", why, f"MindSpore on {nvidia_cards()[index].name}")
    raise DeviceError(_why_no_gpu(backend))


def _why_no_gpu(backend: str) -> str:
    """What is missing for a GPU on this backend, and what to do."""
    if backend == "openvino":
        _require("openvino")
        return "OpenVINO drives Intel GPUs only and sees none; install Intel's GPU driver, or leave --backend at auto."
    if backend == "torch":
        _require("torch")
        return "PyTorch finds no NVIDIA card here; install its CUDA build and a driver, or use --device cpu."
    if backend == "mindspore":
        return "MindSpore finds no NVIDIA card here; install its driver, or use --device cpu."
    if nvidia_cards():
        return (
            "An NVIDIA card is here but nothing installed can use it; install onnxruntime-gpu (in place of onnxruntime) with the "
            "CUDA libraries it names, or PyTorch's CUDA build."
        )
    return (
        "No usable GPU was found; install its driver and onnxruntime-gpu (NVIDIA), onnxruntime-directml (Windows) or Intel's GPU "
        "driver, or use --device cpu."
    )


def _on_ascend(backend: str, index: int) -> Choice:
    if backend not in ("auto", "mindspore"):
        raise DeviceError(f"Ascend needs --backend mindspore, not {backend}.")
    _require("mindspore")
    if not ascend_cards():
        raise DeviceError(
            "No Ascend device was found; install the CANN driver and toolkit, or use --device cpu."
        )
    _check_index("ascend", index, len(ascend_cards()), "the driver")
    return Choice(f"ascend:{index}", "mindspore", "mindspore", "", FASTEST, f"MindSpore on ascend:{index}")
