"""The choice of device, backend and precision, with the machine's hardware and packages as doubles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rvrt_cli import device
from rvrt_cli.device import choose
from rvrt_cli.errors import DeviceError, UsageError

EVERYTHING = {"openvino", "onnxruntime", "spox", "torch", "mindspore"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Describe a machine: installed packages, ONNX Runtime providers, drivers."""

    def describe(
        packages=EVERYTHING, providers=("cpu",), nvidia=False, ascend=False, cuda=False, openvino=("CPU",)
    ) -> None:
        monkeypatch.setattr(device, "current", lambda: None)
        monkeypatch.setattr(device, "installed", lambda name: name in packages)
        monkeypatch.setattr(
            device, "onnx_providers", lambda: tuple(providers) if "onnxruntime" in packages else ()
        )
        monkeypatch.setattr(device, "nvidia_driver", lambda: nvidia)
        monkeypatch.setattr(device, "ascend_driver", lambda: ascend)
        monkeypatch.setattr(device, "torch_cuda", lambda: cuda)
        monkeypatch.setattr(device, "openvino_devices", lambda: openvino if "openvino" in packages else ())

    return describe


def test_a_plain_cpu_takes_openvino_in_full_precision(machine) -> None:
    machine()
    choice = choose()
    assert (choice.device, choice.backend, choice.runtime, choice.precision) == (
        "cpu",
        "onnx",
        "openvino",
        "fp32",
    )
    assert "OpenVINO" in choice.reason
    assert "\n" not in choice.reason


def test_a_process_keeps_the_backend_it_has(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine()
    monkeypatch.setattr(device, "current", lambda: "torch")
    assert choose().runtime == "torch"
    assert choose(backend="onnx").runtime == "openvino"


def test_less_is_installed(machine) -> None:
    machine(packages={"onnxruntime", "spox"})
    assert choose().runtime == "onnxruntime-cpu"
    machine(packages={"mindspore"})
    assert choose().runtime == "mindspore"
    assert "pip install openvino" in choose().reason
    machine(packages=set())
    with pytest.raises(DeviceError, match="pip install"):
        choose()


def test_gpus_are_preferred_in_mixed_precision(machine) -> None:
    machine(providers=("tensorrt", "cuda", "cpu"), nvidia=True)
    choice = choose()
    assert (choice.device, choice.runtime, choice.precision) == ("gpu:0", "onnxruntime-tensorrt", "mixed")
    assert choose(precision="fp32").precision == "fp32"
    assert choose("cpu").runtime == "openvino"


def test_a_cuda_provider_without_a_driver_is_not_a_gpu(machine) -> None:
    machine(providers=("cuda", "cpu"))
    assert choose().device == "cpu"
    with pytest.raises(DeviceError, match="No usable GPU"):
        choose("gpu")


def test_other_gpus(machine) -> None:
    machine(providers=("coreml", "cpu"))
    assert choose().runtime == "onnxruntime-coreml"
    machine(openvino=("CPU", "GPU"))
    assert choose("gpu").runtime == "openvino"
    machine(nvidia=True, packages={"openvino", "spox"})
    with pytest.raises(DeviceError, match="onnxruntime-gpu"):
        choose("gpu")


def test_ascend(machine) -> None:
    machine(ascend=True)
    assert (choose().device, choose().backend) == ("ascend:0", "mindspore")
    assert choose("npu:1").index == 1
    with pytest.raises(DeviceError, match="mindspore"):
        choose("ascend", "torch")
    machine()
    with pytest.raises(DeviceError, match="CANN"):
        choose("ascend")


@pytest.mark.parametrize(
    ("backend", "package"),
    [
        ("torch", "torch"),
        ("mindspore", "mindspore==2.8.0"),
        ("onnxruntime", "onnxruntime"),
        ("openvino", "openvino"),
    ],
)
def test_what_is_absent_is_named_with_its_command(machine, backend: str, package: str) -> None:
    machine(packages=set())
    with pytest.raises(DeviceError, match=f"pip install {package}"):
        choose("cpu", backend)


@pytest.mark.parametrize(
    "wrong",
    [{"device": "tpu"}, {"device": "gpu:x"}, {"device": "cpu:1"}, {"backend": "jax"}, {"precision": "int8"}],
)
def test_unknown_values_are_usage_errors(machine, wrong: dict[str, str]) -> None:
    machine()
    with pytest.raises(UsageError, match="must be"):
        choose(**wrong)


def test_devices_prints_json() -> None:
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "rvrt_cli", "devices", "--json"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(repository)}, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["devices"][0]["device"] == "cpu"
    assert found["devices"][0]["memory_mib"] > 0
    assert [engine["package"] for engine in found["engines"]] == [
        "openvino",
        "onnxruntime",
        "torch",
        "mindspore",
    ]
    assert found["auto"]
