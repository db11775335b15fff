"""Sessions around their caches: what one program left is never used by another, and what cannot be read is made again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rvrt_cli.errors import DeviceError, OutOfMemoryError_
from rvrt_cli.inference.cache import CachedBytes, write_entry
from rvrt_cli.inference.graph import INPUT, OUTPUT
from rvrt_cli.inference.sessions import OnnxRuntimeSession, OpenVinoSession


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("RVRT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


def relu_graph() -> bytes:
    """One operator between the names that sessions use."""
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in (INPUT, OUTPUT)]
    graph = helper.make_graph([helper.make_node("Relu", [INPUT], [OUTPUT])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(model.SerializeToString())


def numbers(value: Any) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else value.numpy()


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_stored_graph_that_the_engine_cannot_read_is_made_again(engine: str, tmp_path: Path) -> None:
    """Its SHA-256 is right, so only the engine can tell; before, every run ended with exit code 5."""
    pytest.importorskip(engine)
    path = tmp_path / "entry.onnx"
    write_entry(path, b"a graph of another age")
    graph = CachedBytes(path, relu_graph)
    session = (
        OpenVinoSession(graph, ("key",), threads=1)
        if engine == "openvino"
        else OnnxRuntimeSession(graph, "cpu", threads=1)
    )
    np.testing.assert_array_equal(numbers(session.run({INPUT: np.array([-1, 2], np.float32)})[0]), [0, 2])
    assert CachedBytes(path, lambda: pytest.fail("made once more")).read() == relu_graph()


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_graph_that_was_just_made_is_not_made_twice(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    made: list[int] = []
    graph = CachedBytes(tmp_path / "entry.onnx", lambda: made.append(1) or b"no graph")
    with pytest.raises(DeviceError, match="failed"):
        OpenVinoSession(graph, ("key",), threads=1) if engine == "openvino" else OnnxRuntimeSession(
            graph, "cpu"
        )
    assert made == [1]


class Runtime:
    """The module ``onnxruntime`` with every provider; it fails ``failures`` times and records what it is asked for."""

    __version__ = "1.0"

    def __init__(self, failures: list[Exception] | None = None) -> None:
        self.failures = failures or []
        self.asked: list[list[tuple[str, dict[str, Any]]]] = []

    def get_available_providers(self) -> list[str]:
        return [
            "TensorrtExecutionProvider",
            "CUDAExecutionProvider",
            "CoreMLExecutionProvider",
            "CPUExecutionProvider",
        ]

    def SessionOptions(self) -> Any:  # noqa: N802 - its own name
        return SimpleNamespace(add_session_config_entry=lambda *_: None)

    def InferenceSession(self, data: bytes, options: Any, providers: list[tuple[str, dict[str, Any]]]) -> Any:  # noqa: N802 - its own name
        self.asked.append(providers)
        if self.failures:
            raise self.failures.pop(0)
        return SimpleNamespace(get_providers=lambda: [name for name, _ in providers])

    def folder(self, call: int = -1) -> Path:
        """Where the first provider of a call was told to keep its results."""
        options = self.asked[call][0][1]
        return Path(options.get("trt_engine_cache_path") or options["ModelCacheDirectory"])


def start(
    monkeypatch: pytest.MonkeyPatch,
    runtime: Runtime,
    content: bytes = b"graph",
    provider: str = "tensorrt",
    **options: Any,
) -> Runtime:
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    graph = CachedBytes(Path(os.devnull) / "entry.onnx", lambda: content)
    OnnxRuntimeSession(graph, provider, **options)
    return runtime


@pytest.mark.parametrize("provider", ["tensorrt", "coreml"])
def test_each_program_has_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, cache: Path, provider: str
) -> None:
    """TensorRT's and CoreML's own keys leave out the weights, so two models of one shape would share an engine."""
    runtime = Runtime()
    for content, options in [
        (b"one", {}),
        (b"one", {}),
        (b"two", {}),
        (b"one", {"mixed": True}),
        (b"one", {"hardware": "another card"}),
    ]:
        start(monkeypatch, runtime, content, provider, **options)
    folders = [runtime.folder(call) for call in range(5)]
    assert folders[0] == folders[1]
    assert len(set(folders)) == 4
    assert all(folder.parent == cache and folder.is_dir() for folder in folders)


@pytest.mark.parametrize("mixed", [False, True])
def test_float32_is_float32_on_nvidia_cards(monkeypatch: pytest.MonkeyPatch, mixed: bool) -> None:
    """TensorFloat-32 keeps 10 bits of 23; only ``mixed`` may use it, also behind TensorRT."""
    runtime = start(monkeypatch, Runtime(), mixed=mixed)
    start(monkeypatch, runtime, provider="cuda", mixed=mixed)
    for providers in runtime.asked:
        options = dict(providers)["CUDAExecutionProvider"]
        assert options["use_tf32"] == int(mixed)


def test_float32_is_float32_in_pytorch() -> None:
    pytest.importorskip("torch")
    code = (
        "import sys, torch; from rvrt_cli.inference.eager import TorchEngine; torch.backends.cudnn.allow_tf32 = True; "
        "TorchEngine._start(TorchEngine.__new__(TorchEngine), 'cpu', sys.argv[1] == 'mixed', 1); "
        "print(torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)"
    )
    for precision, allowed in (("fp32", "False False"), ("mixed", "True True")):
        done = subprocess.run(
            [sys.executable, "-c", code, precision], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == allowed


def test_cuda_stands_behind_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = start(monkeypatch, Runtime(), index=1)
    assert [name for name, _ in runtime.asked[0]] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert [options.get("device_id") for _, options in runtime.asked[0]] == [1, 1, None]
    runtime = start(monkeypatch, Runtime(), provider="coreml")
    assert [name for name, _ in runtime.asked[0]] == ["CoreMLExecutionProvider", "CPUExecutionProvider"]


def test_what_a_killed_run_left_half_written_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = start(monkeypatch, Runtime())
    (runtime.folder() / "half.engine").write_bytes(b"half")
    runtime.failures = [RuntimeError("could not deserialize engine")]
    start(monkeypatch, runtime)
    assert len(runtime.asked) == 3
    assert list(runtime.folder().iterdir()) == []


@pytest.mark.parametrize(
    ("filled", "failure", "error"),
    [
        (False, RuntimeError("no kernel image"), DeviceError),
        (True, RuntimeError("CUDA out of memory"), OutOfMemoryError_),
    ],
)
def test_other_failures_are_not_the_caches(
    monkeypatch: pytest.MonkeyPatch, filled: bool, failure: Exception, error: type[Exception]
) -> None:
    runtime = start(monkeypatch, Runtime())
    if filled:
        (runtime.folder() / "whole.engine").write_bytes(b"whole")
    runtime.failures = [failure]
    with pytest.raises(error):
        start(monkeypatch, runtime)
    assert len(runtime.asked) == 2
    assert len(list(runtime.folder().iterdir())) == filled


def test_a_provider_that_drops_out_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    runtime.InferenceSession = lambda *_, **__: SimpleNamespace(
        get_providers=lambda: ["CPUExecutionProvider"]
    )
    with pytest.raises(DeviceError, match="could not start CoreMLExecutionProvider"):
        start(monkeypatch, runtime, provider="coreml")
    with pytest.raises(DeviceError, match="has no directml here"):
        start(monkeypatch, runtime, provider="directml")
