"""Runs an ONNX graph: OpenVINO, or ONNX Runtime with one of its providers."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rvrt_cli.errors import DeviceError
from rvrt_cli.inference.cache import CachedBytes, entry_path, open_folder, read_entry, write_entry
from rvrt_cli.inference.memory import memory_ran_out, translate_engine_errors
from rvrt_cli.system.hardware import PROVIDERS, available_cores, openvino_core

BEHIND = {"tensorrt": ("cuda", "cpu"), "cpu": ()}
"""Providers that take the operators which another one lacks; the CPU's unless named here."""

COMPILERS = ("tensorrt", "coreml", "openvino")
"""Providers that compile a graph and keep the result themselves."""


class Session(Protocol):
    """A graph ready to run for its input shapes. Results may stay on the device, as what the session takes as input again."""

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        """Inputs by name, arrays or results of another session of this kind → the results, in the graph's order."""
        ...

    def release(self) -> None:
        """Give back the memory that only a run needs; the next run takes it again."""
        ...


class OpenVinoSession:
    """An OpenVINO program. ``mixed``: float16 arithmetic on a GPU.

    On CPUs ``mixed`` changes nothing here (its graph holds float16 weights): bfloat16, which some have, costs too much
    accuracy (46 dB against float32 on a real clip, where 50 is wanted). ``key`` names the graph in the cache of compiled
    programs; ``graph`` is read when the program is not there, and made again when OpenVINO cannot read what was stored.
    ``lent``: results belong to the session, which writes over them in the next run.
    """

    def __init__(
        self,
        graph: CachedBytes,
        key: tuple[object, ...],
        *,
        device: str = "CPU",
        mixed: bool = False,
        threads: int = 0,
        lent: bool = False,
    ) -> None:
        self._lent = lent
        with translate_engine_errors("OpenVINO"):
            import openvino as ov

            core = openvino_core()
            options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
            if device == "CPU":
                options["INFERENCE_NUM_THREADS"] = threads or available_cores()
                options["INFERENCE_PRECISION_HINT"] = "f32"
            else:
                options["INFERENCE_PRECISION_HINT"] = "f16" if mixed else "f32"
            hardware = core.get_property(device, "FULL_DEVICE_NAME")
            path = entry_path(
                "blob", *key, "openvino", ov.__version__, device, hardware, sorted(options.items())
            )
            self._program = self._load(core, path, device, options) or self._compile(
                core, path, graph, device, options
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
    def _compile(core: Any, path: Path, graph: CachedBytes, device: str, options: dict[str, Any]) -> Any:
        try:
            model = core.read_model(graph.read())
        except RuntimeError:
            if not graph.remembered:
                raise
            graph.drop()
            model = core.read_model(graph.read())
        program = core.compile_model(model, device, options)
        blob = io.BytesIO()
        program.export_model(blob)
        write_entry(path, blob.getvalue())
        return program

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        """One inference."""
        with translate_engine_errors("OpenVINO"):
            results = self._program(dict(inputs), share_inputs=True, share_outputs=self._lent)
            return [results[i] for i in range(len(results))]

    def release(self) -> None:
        """Give back the memory between the operators."""
        self._program.release_memory()


class OnnxRuntimeSession:
    """An ONNX Runtime session on one provider of :data:`PROVIDERS`; ``index`` picks among several GPUs.

    ``hardware``: the GPU's name, because what a provider compiles for one card is wrong for another.
    """

    def __init__(
        self,
        graph: CachedBytes,
        provider: str,
        *,
        index: int = 0,
        mixed: bool = False,
        threads: int = 0,
        hardware: str = "",
    ) -> None:
        with translate_engine_errors("ONNX Runtime"):
            import onnxruntime as ort

            name = PROVIDERS[provider]
            self._memory = ("cuda", index) if provider in ("cuda", "tensorrt") else ("cpu", 0)
            if name not in ort.get_available_providers():
                raise DeviceError(
                    f"ONNX Runtime has no {provider} here; install the onnxruntime package that brings {name}."
                )
            options = ort.SessionOptions()
            options.intra_op_num_threads = threads or available_cores()
            options.log_severity_level = 3
            # Planning all buffers as one block doubles the peak memory of these long graphs and gains no time.
            options.enable_mem_pattern = False
            # Waiting threads that spin would fight with the video decoder and encoder for the same cores.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            data = graph.read()
            # TensorRT and CoreML recognise their results by the graph's name and its shapes, which two sets of weights share:
            # a folder for each program keeps them apart.
            folder = entry_path(
                provider, hashlib.sha256(data).hexdigest(), ort.__version__, hardware, index, mixed
            )
            filled = provider in COMPILERS and open_folder(folder)
            providers: list[Any] = [
                (name, provider_options(provider, index, mixed, folder)),
                *((PROVIDERS[other], provider_options(other, index, mixed, folder)) for other in BEHIND.get(provider, ("cpu",))),
            ]  # fmt: skip
            try:
                self._session = ort.InferenceSession(data, options, providers=providers)
            except Exception as error:
                if memory_ran_out(error) or not (filled or graph.remembered):
                    raise
                # What an earlier run left may be at fault: half-written by a killed one, or of another driver.
                graph.drop()
                if filled:
                    shutil.rmtree(folder, ignore_errors=True)
                    open_folder(folder)
                self._session = ort.InferenceSession(graph.read(), options, providers=providers)
            if name not in self._session.get_providers():
                raise DeviceError(
                    f"ONNX Runtime could not start {name}; check its driver and libraries, or use --device cpu."
                )

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        """One inference. Results are ``OrtValue``, on an NVIDIA card where it computes: they go from step to step there."""
        with translate_engine_errors("ONNX Runtime"):
            binding = self._session.io_binding()
            for name, value in inputs.items():
                if isinstance(value, np.ndarray):
                    binding.bind_cpu_input(name, np.ascontiguousarray(value))
                else:
                    binding.bind_ortvalue_input(name, value)
            for output in self._session.get_outputs():
                binding.bind_output(output.name, *self._memory)
            self._session.run_with_iobinding(binding)
            return list(binding.get_outputs())

    def release(self) -> None:
        """Nothing: what an ONNX Runtime session has taken it keeps."""


def provider_options(provider: str, index: int, mixed: bool, folder: Path) -> dict[str, Any]:
    """Settings of one ONNX Runtime provider; those of :data:`COMPILERS` keep this program's results in ``folder``."""
    cache = str(folder)
    if provider == "tensorrt":
        return {
            "device_id": index, "trt_fp16_enable": mixed, "trt_engine_cache_enable": True, "trt_engine_cache_path": cache,
        }  # fmt: skip
    if provider == "cuda":
        # TensorFloat-32 keeps 10 bits of a float32's 23: not what fp32 says.
        return {"device_id": index, "use_tf32": int(mixed)}
    if provider in ("directml", "migraphx"):
        return {"device_id": index}
    if provider == "coreml":
        return {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL", "ModelCacheDirectory": cache}
    if provider == "openvino":
        return {"device_type": "CPU", "cache_dir": cache}
    return {}
