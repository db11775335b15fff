"""The trained model as a :class:`~rvrt_cli.inference.restorer.Restorer`: any size and length in, padded inside, cropped back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rvrt_cli.errors import InputError, OutOfMemoryError_, UsageError
from rvrt_cli.inference.cache import CachedBytes, entry_path
from rvrt_cli.inference.device import Choice, choose
from rvrt_cli.inference.eager import EAGER_ENGINES
from rvrt_cli.inference.graph import code_digest, record_graph
from rvrt_cli.inference.programs import RECONSTRUCT, Program, step_programs
from rvrt_cli.inference.sessions import OnnxRuntimeSession, OpenVinoSession, Session
from rvrt_cli.inference.stepper import StepEngine, Stepper
from rvrt_cli.model.config import CLIP_SIZE, ModelConfig
from rvrt_cli.package import __version__
from rvrt_cli.system.hardware import ONNX_RUNTIME_PACKAGES, onnx_gpu_cards, package_version
from rvrt_cli.system.memory import return_freed

if TYPE_CHECKING:
    from rvrt_cli.weights import Weights


def load_model_restorer(
    model: str | None,
    weights: Path | None = None,
    *,
    device: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    threads: int = 0,
) -> ModelRestorer:
    """Load a trained model; see :func:`rvrt_cli.inference.restorer.load_restorer` for the arguments and errors."""
    from rvrt_cli.weights import find, load_weights

    choice = choose(device, backend, precision)
    if weights is None:
        target = model or find.LIGHT_SMALL
        path = find.weights_path(target)
        loaded = load_weights(path)
        name = target if find.is_name(target) else file_name(path, loaded)
        return ModelRestorer(loaded, choice, name=name, threads=threads)
    loaded = load_weights(weights)
    if model is not None and model != str(weights):
        check_same(model, weights, loaded)
    return ModelRestorer(loaded, choice, name=file_name(weights, loaded), threads=threads)


def file_name(path: Path, weights: Weights) -> str:
    """What a model from a file is called: the file's name, and in brackets its preset where the name does not say it."""
    return path.stem if path.stem == weights.preset else f"{path.stem} ({weights.preset})"


def check_same(model: str, path: Path, weights: Weights) -> None:
    """Errors: :class:`UsageError` when ``--model`` names another network than the one that the file holds."""
    from rvrt_cli.weights import find

    if not find.is_name(model):
        raise UsageError(f"--model {model} and --weights {path} name two files; give one of them.")
    wanted = find.preset_of(model)
    if wanted != weights.preset:
        raise UsageError(
            f"--weights {path} holds {weights.preset}, not {wanted}; leave out --model {model}, or give the weights of {wanted}."
        )


class ModelRestorer:
    """One model on one device. Compiles the programs of a padded picture size and keeps those of the last one."""

    def __init__(self, weights: Weights, choice: Choice, *, name: str, threads: int = 0) -> None:
        self.config = weights.config
        self.choice = choice
        self.name = name
        self.scale = weights.config.upscale
        self.channels = weights.config.in_channels
        self.engine = engine_statement(choice)
        self.device, self.precision = choice.device, choice.precision
        self.reason = choice.reason
        self._weights = weights
        self._identity = weights.sha256 or tensors_sha256(weights.tensors)
        self._code = f"{__version__} {code_digest(choice.backend)}"
        self.fingerprint = hashlib.sha256(f"{self._identity} {self.engine} {self._code}".encode()).hexdigest()
        self._threads = threads
        self._programs: StepEngine | None = None
        self._size = (0, 0)

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """(t, h, w, c) float32 [0, 1] → (t, scale*h, scale*w, 3) float32, not clipped; any t, h, w >= 1.

        All frames are one window. Errors: :class:`InputError` for another number of axes or channels,
        :class:`OutOfMemoryError_`.
        """
        if lq.ndim != 4 or lq.shape[3] != self.channels or 0 in lq.shape:
            raise InputError(f"{self.name} takes frames of shape (t, h, w, {self.channels}), not {lq.shape}.")
        t, h, w, _ = lq.shape
        stream = self.stream(h, w, window=t + t % CLIP_SIZE, lookahead=0)
        with self._out_of_memory():
            sr = np.empty((t, h * self.scale, w * self.scale, 3), np.float32)
        made = 0
        for pictures in (*(stream.push(frame) for frame in lq), stream.finish()):
            for picture in pictures:
                sr[made] = picture
                made += 1
        return sr

    def stream(
        self, height: int, width: int, *, window: int, lookahead: int, frugal: bool = False
    ) -> ModelStream:
        """Pictures of one run of frames; see :func:`rvrt_cli.inference.open_stream.open_stream`."""
        return ModelStream(self, height, width, window, lookahead, frugal)

    def memory_bytes(self, height: int, width: int, window: int, lookahead: int) -> int:
        """See :func:`estimate_memory`."""
        return estimate_memory(self.config, height, width, window, lookahead)

    def close(self) -> None:
        """Free the programs."""
        self._programs = None

    def programs(self, height: int, width: int) -> StepEngine:
        """The programs for padded pictures of this size. Errors: as those of the engines."""
        if self._programs is None or self._size != (height, width):
            self._programs = None  # before the next ones need their memory
            self._programs, self._size = self._start(height, width), (height, width)
        return self._programs

    def _start(self, height: int, width: int) -> StepEngine:
        mixed, threads = self.choice.precision == "mixed", self._threads
        programs = step_programs(self.config, height, width)
        if self.choice.backend != "onnx":
            return EAGER_ENGINES[self.choice.backend](
                self.config, self._weights.tensors, programs, device=self.choice.device, mixed=mixed,
                threads=threads,
            )  # fmt: skip
        return GraphEngine(programs, lambda program: self._compile(program, (height, width), mixed))

    def _compile(self, program: Program, size: tuple[int, int], mixed: bool) -> Session:
        runtime = self.choice.runtime
        # OpenVINO lowers the precision of a float32 graph on a GPU itself; everything else takes a float16 graph.
        half = mixed and not (runtime == "openvino" and self.choice.device != "cpu")
        key = (
            self._identity, self.config.to_json(), program.name, *size, half, self._code, package_version("spox"),
        )  # fmt: skip
        graph = CachedBytes(
            entry_path("onnx", *key),
            lambda: record_program(self.config, self._weights.tensors, program, half),
        )
        index, threads = self.choice.index, self._threads
        if runtime == "openvino":
            device = "CPU" if self.choice.device == "cpu" else _openvino_gpu(index)
            lent = program.name == RECONSTRUCT
            return OpenVinoSession(graph, key, device=device, mixed=mixed, threads=threads, lent=lent)
        provider = runtime.removeprefix("onnxruntime-")
        cards = onnx_gpu_cards(provider) or ()
        hardware = cards[index].name if index < len(cards) else ""
        return OnnxRuntimeSession(
            graph, provider, index=index, mixed=mixed, threads=threads, hardware=hardware
        )

    @contextmanager
    def _out_of_memory(self) -> Iterator[None]:
        """Frees the programs when memory runs out, also where NumPy's arrays do not fit."""
        try:
            yield
        except MemoryError as error:
            self._programs = None
            raise OutOfMemoryError_(
                f"{self.engine} ran out of memory; use a smaller --tile or --window."
            ) from error
        except OutOfMemoryError_:
            self._programs = None
            raise


class ModelStream:
    """A run of frames of any size through a model: padded inside, cropped back."""

    def __init__(
        self, restorer: ModelRestorer, height: int, width: int, window: int, lookahead: int, frugal: bool
    ) -> None:
        self._restorer, self._settings = restorer, (window, lookahead, frugal)
        self._size = (height * restorer.scale, width * restorer.scale)
        self._stepper: Stepper | None = None

    def push(self, lq: np.ndarray, wanted: bool = True) -> Iterator[np.ndarray]:
        with self._restorer._out_of_memory():
            padded = pad_frame(lq, self._restorer.config)
            if self._stepper is None:
                engine = self._restorer.programs(*padded.shape[:2])
                self._stepper = Stepper(engine, self._restorer.config, *self._settings)
            for picture in self._stepper.push(padded, wanted):
                yield picture[: self._size[0], : self._size[1]]

    def finish(self) -> Iterator[np.ndarray]:
        if self._stepper is not None:
            with self._restorer._out_of_memory():
                for picture in self._stepper.finish():
                    yield picture[: self._size[0], : self._size[1]]

    def close(self) -> None:
        """Free features; the restorer keeps the programs."""
        self._stepper = None


class GraphEngine:
    """Sessions of ONNX graphs, each made when it first runs. Only those of one pass hold memory at a time."""

    def __init__(self, programs: Mapping[str, Program], compile_: Callable[[Program], Session]) -> None:
        self._programs, self._compile = programs, compile_
        self._sessions: dict[str, Session] = {}
        self._pass = -1

    def run(self, program: str, inputs: Sequence[Any]) -> list[Any]:
        """One step."""
        if self._programs[program].index != self._pass:
            for session in self._sessions.values():
                session.release()
            return_freed()
            self._pass = self._programs[program].index
        if program not in self._sessions:
            self._sessions[program] = self._compile(self._programs[program])
        names = [port.name for port in self._programs[program].inputs]
        return self._sessions[program].run(dict(zip(names, inputs, strict=True)))

    def numbers(self, value: Any) -> np.ndarray:
        """An array, or what ONNX Runtime keeps, as an array."""
        return value if isinstance(value, np.ndarray) else value.numpy()


def record_program(
    config: ModelConfig, tensors: Mapping[str, np.ndarray], program: Program, half: bool
) -> bytes:
    """The ONNX graph of one step; arguments and errors as :func:`~rvrt_cli.inference.graph.record_graph`."""

    def results(network: Any, values: list[Any]) -> dict[str, Any]:
        names = [port.name for port in program.results]
        return dict(zip(names, program.module(network)(*values), strict=True))

    half_results = [port.name for port in program.results if port.half]
    return record_graph(config, tensors, program.inputs, results, half=half, half_results=half_results)


def pad_frame(lq: np.ndarray, config: ModelConfig) -> np.ndarray:
    """``(h, w, c)`` extended at its end to ``config.size_multiple``, at least ``config.min_size``: mirrored as far as that
    goes, then mirrored again. float32.
    """
    multiple = config.size_multiple
    extra = [
        max(-(-size // multiple), -(-config.min_size // multiple)) * multiple - size for size in lq.shape[:2]
    ]
    return np.pad(np.asarray(lq, np.float32), ((0, extra[0]), (0, extra[1]), (0, 0)), "reflect")


def tensors_sha256(tensors: dict[str, np.ndarray]) -> str:
    """A digest of weights that come from no file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name], np.float32).tobytes())
    return digest.hexdigest()


FLOAT_BYTES = 4
STEP_VALUES = 45
"""Values per feature pixel and channel that two programs work on at a time, with what all of them hold for good: 35 (working)
and 10, measured with OpenVINO and light-s at 480x272; the other presets are estimates."""
ENGINE_BYTES = 250 << 20
"""An engine with its compiled programs, whatever the size of the pictures, measured with OpenVINO and light-s."""


def estimate_memory(config: ModelConfig, height: int, width: int, window: int, lookahead: int) -> int:
    """Peak bytes of a stream of pictures of ``height`` x ``width`` LQ pixels.

    Of each waiting frame the features of the stages so far (float16), flows (two float32 maps of two values a frame) and the
    frame itself, for each pair of passes; the working memory of the steps, see :data:`STEP_VALUES`; pictures of a clip.
    """
    shrink = config.reduction**2
    stage = 2 * config.embed_dim
    frame = (16 if config.uses_flow else 0) / shrink + config.in_channels * FLOAT_BYTES
    waiting = 0.0
    for index in range(0, config.passes, 2):
        waiting += lookahead * (frame + (index + 1) * stage / shrink)
        waiting += window * (frame + (index + 2) * stage / shrink)
    pictures: float = 2 * CLIP_SIZE * 3 * config.upscale**2 * FLOAT_BYTES
    if config.upsampler == "full":
        pictures += CLIP_SIZE * 64 * 16 * FLOAT_BYTES * 3 / shrink
    step = STEP_VALUES * FLOAT_BYTES * config.embed_dim / shrink
    return ENGINE_BYTES + int(height * width * (waiting + step + pictures))


def engine_statement(choice: Choice) -> str:
    """The engine for reports and fingerprints, with its version."""
    package, words = {
        "openvino": (("openvino",), "OpenVINO"),
        "torch": (("torch",), "PyTorch"),
        "mindspore": (("mindspore",), "MindSpore"),
    }.get(
        choice.runtime,
        (ONNX_RUNTIME_PACKAGES, f"ONNX Runtime ({choice.runtime.removeprefix('onnxruntime-')})"),
    )
    where = "CPU" if choice.device == "cpu" else choice.device
    return f"{words} {package_version(*package)} on {where}, {choice.precision}"


def _openvino_gpu(index: int) -> str:
    return "GPU" if index == 0 else f"GPU.{index}"
