"""The choice of device, backend and precision, with the machine's hardware and packages as doubles."""

from __future__ import annotations

import pytest

from rvrt_cli.errors import DeviceError, UsageError
from rvrt_cli.inference import device
from rvrt_cli.inference.device import choose
from rvrt_cli.system.hardware import Card

EVERYTHING = {"openvino", "onnxruntime", "spox", "torch", "mindspore"}
NVIDIA = Card("NVIDIA Test", 8192)
INTEL = Card("Intel(R) Test Graphics", 4096)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Describe a machine: installed packages, ONNX Runtime's GPU provider, cards by maker."""

    def describe(packages=EVERYTHING, provider=None, nvidia=0, ascend=0, cuda=0, intel=0) -> None:
        monkeypatch.setattr(device, "current", lambda: None)
        monkeypatch.setattr(device, "installed", lambda name: name in packages)
        monkeypatch.setattr(device, "onnx_gpu", lambda: provider)
        monkeypatch.setattr(
            device,
            "onnx_gpu_cards",
            lambda name: {"coreml": (Card("Apple"),), "directml": None}.get(name, (NVIDIA,) * nvidia),
        )
        monkeypatch.setattr(device, "nvidia_cards", lambda: (NVIDIA,) * nvidia)
        monkeypatch.setattr(device, "ascend_cards", lambda: (Card("Ascend NPU"),) * ascend)
        monkeypatch.setattr(device, "torch_cuda", lambda: cuda)
        monkeypatch.setattr(device, "openvino_gpus", lambda: (INTEL,) * intel)

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
    assert choice.describe() == "OpenVINO on the CPU, the fastest engine for a CPU, fp32"


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
    machine(provider="tensorrt", nvidia=1)
    choice = choose()
    assert (choice.device, choice.runtime, choice.precision) == ("gpu:0", "onnxruntime-tensorrt", "mixed")
    assert "NVIDIA Test" in choice.describe()
    assert choose(precision="fp32").precision == "fp32"
    assert choose("cpu").runtime == "openvino"
    machine(provider="cuda", nvidia=1)
    assert choose().runtime == "onnxruntime-cuda"
    machine(provider="cuda", nvidia=1, cuda=1)
    assert choose().runtime == "torch"


def test_no_gpu(machine) -> None:
    machine()
    assert choose().device == "cpu"
    with pytest.raises(DeviceError, match="No usable GPU"):
        choose("gpu")


def test_a_card_that_nothing_can_use(machine) -> None:
    machine(nvidia=1)
    assert choose().device == "cpu"
    with pytest.raises(DeviceError, match="An NVIDIA card is here but nothing installed can use it"):
        choose("gpu")


@pytest.mark.parametrize(
    ("backend", "advice"),
    [("openvino", "Intel GPUs only"), ("torch", "CUDA build"), ("onnxruntime", "onnxruntime-gpu")],
)
def test_the_advice_fits_the_backend(machine, backend: str, advice: str) -> None:
    machine(nvidia=1)
    with pytest.raises(DeviceError, match=advice) as caught:
        choose("gpu", backend)
    assert ("onnxruntime-gpu" in str(caught.value)) == (backend == "onnxruntime")


def test_an_intel_gpu_waits_to_be_asked_for(machine) -> None:
    """None could be tried by this project, so the CPU, which was, is taken and the line says what else there is."""
    machine(intel=2)
    choice = choose()
    assert choice.device == "cpu"
    assert "--device gpu tries Intel(R) Test Graphics" in choice.describe()
    assert "--device gpu" not in choose("cpu").describe()
    assert (choose("gpu:1").runtime, choose("gpu:1").index) == ("openvino", 1)
    with pytest.raises(DeviceError, match="There is no gpu:2; OpenVINO sees 2"):
        choose("gpu:2", "openvino")


def test_other_gpus(machine) -> None:
    machine(provider="coreml")
    assert choose().runtime == "onnxruntime-coreml"
    with pytest.raises(DeviceError, match="There is no gpu:1"):
        choose("gpu:1")
    machine(provider="directml")  # how many there are is not known before a session is made
    assert choose("gpu:1").runtime == "onnxruntime-directml"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"provider": "cuda", "nvidia": 2}, "gpu:2"),
        ({"cuda": 2, "nvidia": 2}, "gpu:2"),
        ({"ascend": 8}, "ascend:8"),
    ],
)
def test_numbers_beyond_the_last_device(machine, options: dict[str, object], wanted: str) -> None:
    machine(**options)
    kind, _, number = wanted.partition(":")
    assert choose(f"{kind}:{int(number) - 1}").device == f"{kind}:{int(number) - 1}"
    with pytest.raises(DeviceError, match=f"There is no {wanted}; .* sees {number}. Run `rvrt devices`"):
        choose(wanted)


def test_mindspore_on_a_gpu(machine) -> None:
    machine(nvidia=1)
    assert choose("gpu", "mindspore").backend == "mindspore"
    machine()
    with pytest.raises(DeviceError, match="MindSpore finds no NVIDIA card"):
        choose("gpu", "mindspore")


def test_ascend(machine) -> None:
    machine(ascend=2)
    assert (choose().device, choose().backend) == ("ascend:0", "mindspore")
    assert choose("npu:1").index == 1
    with pytest.raises(DeviceError, match="mindspore"):
        choose("ascend", "torch")
    machine()
    with pytest.raises(DeviceError, match="CANN"):
        choose("ascend")


@pytest.mark.parametrize(
    ("backend", "command"),
    [
        ("torch", "`pip install torch`"),
        ("mindspore", "`pip install mindspore==2.8.0` with Python 3.10 to 3.12"),
        ("onnxruntime", "`pip install onnxruntime`"),
        ("openvino", "`pip install openvino`"),
    ],
)
def test_what_is_absent_is_named_with_its_command(machine, backend: str, command: str) -> None:
    machine(packages=set())
    with pytest.raises(DeviceError, match=command):
        choose("cpu", backend)


@pytest.mark.parametrize(
    "wrong",
    [
        {"device": "tpu"},
        {"device": "gpu:x"},
        {"device": "gpu:²"},
        {"device": "cpu:1"},
        {"backend": "jax"},
        {"precision": "int8"},
    ],
)
def test_unknown_values_are_usage_errors(machine, wrong: dict[str, str]) -> None:
    machine()
    with pytest.raises(UsageError, match="must be"):
        choose(**wrong)
