"""Runs an ONNX graph: OpenVINO, or ONNX Runtime with one of its providers."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rvrt_cli.errors import DeviceError
from rvrt_cli.runtime.cache import cache_folder, entry_path, read_entry, write_entry
from rvrt_cli.runtime.graph import INPUT
from rvrt_cli.runtime.memory import explained

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


class Session(Protocol):
    """A graph ready to run for one input shape."""

    def run(self, lq: np.ndarray) -> np.ndarray:
        """``(1, t, h, w, c)`` float32 → ``(1, t, s·h, s·w, 3)`` float32."""
        ...


def default_threads() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class OpenVinoSession:
    """An OpenVINO program. ``mixed``: float16 arithmetic on a GPU.

    On CPUs ``mixed`` changes nothing here (its graph holds float16 weights): bfloat16, which some have, costs too much
    accuracy (46 dB against float32 on a real clip, where 50 is wanted). ``key`` names the graph in the cache of compiled programs; ``graph`` makes it when the program is not there.
    """

    def __init__(
        self,
        graph: Callable[[], bytes],
        key: tuple[object, ...],
        *,
        device: str = "CPU",
        mixed: bool = False,
        threads: int = 0,
    ) -> None:
        with explained("OpenVINO"):
            import openvino as ov

            core = ov.Core()
            options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
            if device == "CPU":
                options["INFERENCE_NUM_THREADS"] = threads or default_threads()
                options["INFERENCE_PRECISION_HINT"] = "f32"
            else:
                options["INFERENCE_PRECISION_HINT"] = "f16" if mixed else "f32"
            hardware = core.get_property(device, "FULL_DEVICE_NAME")
            path = entry_path(
                "blob", *key, "openvino", ov.__version__, device, hardware, sorted(options.items())
            )
            self._program = self._load(core, path, device, options) or self._compile(
                core, path, graph(), device, options
            )

    @staticmethod
    def _load(core: Any, path: Path, device: str, options: dict[str, Any]) -> Any | None:
        blob = read_entry(path)
        if blob is None:
            return None
        try:
            return core.import_model(io.BytesIO(blob), device, options)
        except RuntimeError:  # made by a build that this one does not read
            path.unlink(missing_ok=True)
            return None

    @staticmethod
    def _compile(core: Any, path: Path, graph: bytes, device: str, options: dict[str, Any]) -> Any:
        program = core.compile_model(core.read_model(graph), device, options)
        blob = io.BytesIO()
        program.export_model(blob)
        write_entry(path, blob.getvalue())
        return program

    def run(self, lq: np.ndarray) -> np.ndarray:
        """One inference."""
        with explained("OpenVINO"):
            return np.array(self._program({INPUT: lq})[0])


class OnnxRuntimeSession:
    """An ONNX Runtime session on one provider of :data:`PROVIDERS`; ``index`` picks among several GPUs."""

    def __init__(
        self, graph: bytes, provider: str, *, index: int = 0, mixed: bool = False, threads: int = 0
    ) -> None:
        with explained("ONNX Runtime"):
            import onnxruntime as ort

            name = PROVIDERS[provider]
            if name not in ort.get_available_providers():
                raise DeviceError(
                    f"ONNX Runtime has no {provider} here; install the onnxruntime package that brings {name}."
                )
            options = ort.SessionOptions()
            options.intra_op_num_threads = threads or default_threads()
            options.log_severity_level = 3
            # Planning all buffers as one block doubles the peak memory of these long graphs and gains no time.
            options.enable_mem_pattern = False
            # Waiting threads that spin would fight with the video decoder and encoder for the same cores.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            providers: list[Any] = [(name, provider_options(provider, index, mixed))]
            if provider != "cpu":
                providers.append(PROVIDERS["cpu"])  # for the few operators a provider lacks
            self._session = ort.InferenceSession(graph, options, providers=providers)
            if name not in self._session.get_providers():
                raise DeviceError(
                    f"ONNX Runtime could not start {name}; check its driver and libraries, or use --device cpu."
                )

    def run(self, lq: np.ndarray) -> np.ndarray:
        """One inference."""
        with explained("ONNX Runtime"):
            return self._session.run(None, {INPUT: lq})[0]


def provider_options(provider: str, index: int, mixed: bool) -> dict[str, Any]:
    """Settings of one ONNX Runtime provider; those with a compiler keep its results in this tool's cache."""
    cache = str(cache_folder())
    if provider == "tensorrt":
        return {
            "device_id": index, "trt_fp16_enable": mixed, "trt_engine_cache_enable": True, "trt_engine_cache_path": cache,
        }  # fmt: skip
    if provider in ("cuda", "directml", "migraphx"):
        return {"device_id": index}
    if provider == "coreml":
        return {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL", "ModelCacheDirectory": cache}
    if provider == "openvino":
        return {"device_type": "CPU", "cache_dir": cache}
    return {}
