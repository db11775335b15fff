"""What is found on a machine: drivers, cards, and providers that are listed but do not start. Drivers are doubles."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rvrt_cli.inference import device_report
from rvrt_cli.system import hardware
from rvrt_cli.system.hardware import Card

PROBES = (
    "nvidia_cards", "ascend_cards", "torch_cuda", "openvino_devices", "openvino_gpus", "onnx_providers", "provider_starts",
)  # fmt: skip


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No answer of an earlier test is remembered, and none is left."""
    probes = [getattr(hardware, name) for name in PROBES]
    for probe in probes:
        probe.cache_clear()
    yield
    for probe in probes:
        probe.cache_clear()


class Driver:
    """CUDA's driver library with two cards."""

    def __init__(self, code: int = 0) -> None:
        self.code = code

    def cuInit(self, _: int) -> int:  # noqa: N802 - the driver's own name
        return self.code

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802 - the driver's own name
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, handle: Any, index: int) -> int:  # noqa: N802 - the driver's own name
        handle._obj.value = 10 + index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, handle: Any) -> int:  # noqa: N802 - the driver's own name
        name.value = f"NVIDIA {handle.value}".encode()[: size - 1]
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, handle: Any) -> int:  # noqa: N802 - the driver's own name
        memory._obj.value = handle.value << 30
        return 0


def test_cards_are_asked_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Driver())
    assert hardware.nvidia_cards() == (Card("NVIDIA 10", 10 << 10), Card("NVIDIA 11", 11 << 10))


def test_no_driver_or_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert hardware.nvidia_cards() == ()
    hardware.nvidia_cards.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Driver(code=100))
    assert hardware.nvidia_cards() == ()
    hardware.nvidia_cards.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert hardware.nvidia_cards() == ()


class Runtime:
    """The module ``onnxruntime`` of a GPU wheel: it lists TensorRT and CUDA, whatever libraries there are."""

    def __init__(self, starting: set[str], raises: bool = False) -> None:
        self.starting, self.raises = starting, raises

    SessionOptions = SimpleNamespace

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def set_default_logger_severity(self, _: int) -> None:
        """The double prints nothing."""

    def InferenceSession(self, graph: bytes, options: Any, providers: list[str], enable_fallback: int) -> Any:  # noqa: N802 - its own name
        assert enable_fallback == 0
        if self.raises and providers[0] not in self.starting:
            raise RuntimeError("libnvinfer.so.10: cannot open shared object file")
        started = [name for name in providers if name in self.starting]
        return SimpleNamespace(get_providers=lambda: [*started, "CPUExecutionProvider"])


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize(
    ("starting", "chosen"),
    [
        ({"TensorrtExecutionProvider", "CUDAExecutionProvider"}, "tensorrt"),
        ({"CUDAExecutionProvider"}, "cuda"),
        (set(), None),
    ],
)
def test_a_listed_provider_must_start(
    monkeypatch: pytest.MonkeyPatch, starting: set[str], chosen: str | None, raises: bool
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", Runtime(starting, raises))
    monkeypatch.setattr(hardware, "installed", lambda _: True)
    monkeypatch.setattr(hardware, "nvidia_cards", lambda: (Card("NVIDIA"),))
    assert hardware.onnx_providers() == ("tensorrt", "cuda", "cpu")
    assert hardware.onnx_gpu() == chosen


def test_nvidia_providers_without_a_card_are_not_even_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "onnx_providers", lambda: ("tensorrt", "cuda", "cpu"))
    monkeypatch.setattr(hardware, "nvidia_cards", lambda: ())
    monkeypatch.setattr(hardware, "provider_starts", lambda name: pytest.fail(f"{name} was tried"))
    assert hardware.onnx_gpu() is None


def test_the_real_runtime_starts_its_cpu_provider_only() -> None:
    pytest.importorskip("onnxruntime")
    assert hardware.provider_starts("cpu")
    with pytest.warns(UserWarning, match="CoreML"):
        assert not hardware.provider_starts("coreml")


def test_openvinos_gpus_and_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        available_devices = ("CPU", "GPU.0", "GPU.1", "NPU")

        def get_property(self, device: str, name: str) -> object:
            if device == "GPU.1":
                raise RuntimeError("no such property")
            return {"FULL_DEVICE_NAME": "Intel(R) Arc", "GPU_DEVICE_TOTAL_MEM_SIZE": 8 << 30}[name]

    monkeypatch.setattr(hardware, "openvino_core", Core)
    monkeypatch.setattr(hardware, "installed", lambda _: True)
    assert hardware.openvino_gpus() == (Card("Intel(R) Arc", 8192), Card("OpenVINO GPU.1", 0))


def test_everything_found_is_listed_usable_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that nothing can use, and an Intel GPU beside a CUDA card."""
    monkeypatch.setattr(device_report, "nvidia_cards", lambda: (Card("NVIDIA", 8192), Card("NVIDIA", 8192)))
    monkeypatch.setattr(device_report, "openvino_gpus", lambda: (Card("Intel", 4096),))
    monkeypatch.setattr(device_report, "onnx_gpu", lambda: None)
    monkeypatch.setattr(device_report, "torch_cuda", lambda: 0)
    monkeypatch.setattr(device_report, "ascend_cards", lambda: (Card("Ascend NPU"),))
    monkeypatch.setattr(device_report, "installed", lambda name: name != "mindspore")
    cpu, *rest = device_report.make_device_report().devices
    assert (cpu.device, cpu.memory_mib > 0) == ("cpu", True)
    assert [(row.device, row.memory_mib, row.seen_by) for row in rest] == [
        ("gpu:0", 8192, ()),
        ("gpu:1", 8192, ()),
        ("gpu:0", 4096, ("openvino",)),
        ("ascend:0", 0, ()),
    ]
    monkeypatch.setattr(device_report, "torch_cuda", lambda: 2)
    monkeypatch.setattr(device_report, "onnx_gpu", lambda: "cuda")
    assert device_report.make_device_report().devices[1].seen_by == ("torch", "onnxruntime")


@pytest.mark.parametrize(("provider", "name"), [("coreml", "Apple"), ("directml", "directml")])
def test_gpus_of_other_makers(monkeypatch: pytest.MonkeyPatch, provider: str, name: str) -> None:
    monkeypatch.setattr(device_report, "onnx_gpu", lambda: provider)
    monkeypatch.setattr(device_report, "nvidia_cards", lambda: ())
    gpu = device_report.make_device_report().devices[1]
    assert (gpu.device, gpu.seen_by) == ("gpu:0", ("onnxruntime",))
    assert name in gpu.name


def test_openvino_stays_loaded() -> None:
    """A core of its own for each program unloaded the plugins with the last one, under threads of theirs that were still ending."""
    pytest.importorskip("openvino")
    assert hardware.openvino_core() is hardware.openvino_core()
    sources = {path.name: path.read_text() for path in Path(hardware.__file__).parents[1].rglob("*.py")}
    assert [name for name, text in sources.items() if ".Core()" in text] == ["hardware.py"]
