"""The trained model as a :class:`~rvrt_cli.inference.restorer.Restorer`: any size and length in, padded inside, cropped back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rvrt_cli import __version__
from rvrt_cli.errors import InputError, OutOfMemoryError_, UsageError
from rvrt_cli.inference.cache import CachedBytes, entry_path
from rvrt_cli.inference.device import Choice, choose
from rvrt_cli.inference.eager import EAGER_SESSIONS
from rvrt_cli.inference.graph import build_graph, code_digest
from rvrt_cli.inference.sessions import OnnxRuntimeSession, OpenVinoSession, Session
from rvrt_cli.model.config import CLIP_SIZE, ModelConfig
from rvrt_cli.system.hardware import ONNX_RUNTIME_PACKAGES, onnx_gpu_cards, package_version

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
    """One model on one device. Compiles a program per padded ``(t, h, w)`` and keeps the last one.

    A film's short shots need programs of their own, each 250 to 500 MiB with its buffers. Kept, they would make the memory
    grow with the film; loading one again takes about a second, far less than the frames of a window.
    """

    def __init__(self, weights: Weights, choice: Choice, *, name: str, threads: int = 0) -> None:
        self.config = weights.config
        self.choice = choice
        self.name = name
        self.scale = weights.config.upscale
        self.channels = weights.config.in_channels
        self.engine = engine_words(choice)
        self.device, self.precision = choice.device, choice.precision
        self.reason = choice.reason
        self._weights = weights
        self._identity = weights.sha256 or tensors_sha256(weights.tensors)
        self._code = f"{__version__} {code_digest(choice.backend)}"
        self.fingerprint = hashlib.sha256(f"{self._identity} {self.engine} {self._code}".encode()).hexdigest()
        self.bytes_per_px = estimate_bytes_per_px(weights.config)
        self._threads = threads
        self._program: Session | None = None
        self._program_size = (0, 0, 0)
        self._eager: Session | None = None

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """(t, h, w, c) float32 [0, 1] → (t, scale*h, scale*w, 3) float32, not clipped; any t, h, w >= 1.

        The result may be a view of a larger array, with the rows that padding added.
        Errors: :class:`InputError` for another number of axes or channels, :class:`OutOfMemoryError_`.
        """
        if lq.ndim != 4 or lq.shape[3] != self.channels or 0 in lq.shape:
            raise InputError(f"{self.name} takes frames of shape (t, h, w, {self.channels}), not {lq.shape}.")
        t, h, w, _ = lq.shape
        try:
            padded = pad_window(lq, self.config)
            y = self._session((padded.shape[0], padded.shape[1], padded.shape[2])).run(padded[None])
        except MemoryError as error:
            raise OutOfMemoryError_(
                f"{self.engine} ran out of memory; use a smaller --tile or --window."
            ) from error
        except OutOfMemoryError_:
            self._program = None
            raise
        return y[0, :t, : h * self.scale, : w * self.scale]

    def close(self) -> None:
        """Free the program."""
        self._program = self._eager = None

    def _session(self, size: tuple[int, int, int]) -> Session:
        mixed = self.choice.precision == "mixed"
        if self.choice.backend != "onnx":
            if self._eager is None:
                self._eager = EAGER_SESSIONS[self.choice.backend](
                    self.config, self._weights.tensors, device=self.choice.device, mixed=mixed,
                    threads=self._threads,
                )  # fmt: skip
            return self._eager
        if self._program is None or size != self._program_size:
            self._program = None  # before the next one needs its memory
            self._program, self._program_size = self._compile(size, mixed), size
        return self._program

    def _compile(self, size: tuple[int, int, int], mixed: bool) -> Session:
        runtime = self.choice.runtime
        # OpenVINO lowers the precision of a float32 graph on a GPU itself; everything else takes a float16 graph.
        half = mixed and not (runtime == "openvino" and self.choice.device != "cpu")
        key = (self._identity, self.config.to_json(), *size, half, self._code, package_version("spox"))
        graph = CachedBytes(
            entry_path("onnx", *key),
            lambda: build_graph(self.config, self._weights.tensors, *size, half=half),
        )
        index, threads = self.choice.index, self._threads
        if runtime == "openvino":
            device = "CPU" if self.choice.device == "cpu" else _openvino_gpu(index)
            return OpenVinoSession(graph, key, device=device, mixed=mixed, threads=threads)
        provider = runtime.removeprefix("onnxruntime-")
        cards = onnx_gpu_cards(provider) or ()
        hardware = cards[index].name if index < len(cards) else ""
        return OnnxRuntimeSession(
            graph, provider, index=index, mixed=mixed, threads=threads, hardware=hardware
        )


def pad_window(lq: np.ndarray, config: ModelConfig) -> np.ndarray:
    """``(t, h, w, c)`` extended at its end to what the model takes: mirrored as far as that goes, then mirrored again.

    Frames to a multiple of two by repeating the last one; height and width to ``config.size_multiple``, at least
    ``config.min_size``.
    """
    t, h, w, _ = lq.shape
    multiple = config.size_multiple
    extra = [max(-(-size // multiple), -(-config.min_size // multiple)) * multiple - size for size in (h, w)]
    lq = np.asarray(lq, np.float32)
    if t % CLIP_SIZE:
        lq = np.concatenate([lq, lq[-1:]])
    return np.ascontiguousarray(np.pad(lq, ((0, 0), (0, extra[0]), (0, extra[1]), (0, 0)), "reflect"))


def tensors_sha256(tensors: dict[str, np.ndarray]) -> str:
    """A digest of weights that come from no file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name], np.float32).tobytes())
    return digest.hexdigest()


def estimate_bytes_per_px(config: ModelConfig) -> int:
    """Peak memory per LQ pixel and frame, in bytes: feature maps of the stages and the working set of one clip.

    For ``light-s`` in OpenVINO 1920, the result included, against 1560 to 1840 measured (24 frames of 480x270 and 160x90); the
    other presets are estimates, those that keep the size with room for two results.
    """
    features = (config.passes + 4) * config.embed_dim * 4
    full_size = 64 * 16 * 4 * 3 if config.upsampler == "full" else 48 * 4 * 4
    if config.upscale == 4:
        return features + full_size
    return (features + full_size) // 16 + 16 * 3 * 4 * 2


def engine_words(choice: Choice) -> str:
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
