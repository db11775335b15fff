"""The contract between the upscaling pipeline and whatever makes the pixels, and the restorers that need no weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from rvrt_cli.errors import UsageError
from rvrt_cli.inference.stream import NoisyStream, PerFrameStream, PictureStream, SequentialStream
from rvrt_cli.package import __version__

FLOAT_BYTES = 4


class Restorer(Protocol):
    """Makes pictures from a window of pictures.

    ``scale``: 4 for super-resolution, 1 for denoising and deblurring. ``engine``: in words, for reports.
    ``device``: "cpu", "gpu:0" ...; ``precision``: "fp32" or "mixed". ``fingerprint``: changes whenever output bytes could change (weights, engine, precision).
    ``channels``: of the input; 3, or 4 where the last one is a noise map (sigma / 255).
    A restorer may carry ``reason``, why its engine was chosen (see :func:`describe_engine`).
    """

    @property
    def scale(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def engine(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def channels(self) -> int: ...

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """(t, h, w, c) float32 [0, 1] → (t, scale*h, scale*w, 3) float32, not clipped; any t, h, w >= 1.

        Errors: :class:`rvrt_cli.errors.OutOfMemoryError_` when memory runs out.
        """
        ...

    def stream(
        self, height: int, width: int, *, window: int, lookahead: int, frugal: bool = False
    ) -> PictureStream:
        """Pictures of one run of frames of ``height`` x ``width`` LQ pixels, frame by frame.

        See :func:`rvrt_cli.inference.open_stream.open_stream`, which callers use. ``frugal``: it holds little between windows and
        computes features of the look-ahead again; for tiles, of which there are many.
        """
        ...

    def memory_bytes(self, height: int, width: int, window: int, lookahead: int) -> int:
        """Peak memory of such a stream beside the interpreter, the engine with its compiled programs included."""
        ...

    def close(self) -> None:
        """Free the engine; the restorer is not used afterwards."""
        ...


class PerFrame:
    """Base of restorers that look at one frame at a time."""

    def stream(
        self, height: int, width: int, *, window: int, lookahead: int, frugal: bool = False
    ) -> PictureStream:
        """Each wanted frame's picture at once."""
        return PerFrameStream(self)

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class BicubicRestorer(PerFrame):
    """Matlab bicubic, x4 unless ``scale`` is set: needs no weights; the baseline of comparisons and of the pipeline's tests."""

    scale = 4
    channels = 3
    name = "bicubic"
    engine = "NumPy on CPU, fp32"
    device, precision = "cpu", "fp32"
    fingerprint = hashlib.sha256(f"bicubic {__version__}".encode()).hexdigest()

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        from rvrt_cli.imaging.resize import imresize

        return imresize(lq, scale=self.scale)

    def memory_bytes(self, height: int, width: int, window: int, lookahead: int) -> int:
        """A picture, and half of it while it works."""
        return height * width * self.scale**2 * 3 * FLOAT_BYTES * 3 // 2

    def close(self) -> None:
        """Nothing to free."""


class IdentityRestorer(PerFrame):
    """Returns its input: shows what the pipeline alone does to a film."""

    scale = 1
    channels = 3
    name = "identity"
    engine = "NumPy on CPU, fp32"
    device, precision = "cpu", "fp32"
    fingerprint = hashlib.sha256(f"identity {__version__}".encode()).hexdigest()

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        return lq.astype(np.float32, copy=True)

    def memory_bytes(self, height: int, width: int, window: int, lookahead: int) -> int:
        """A picture and its copy."""
        return height * width * 3 * FLOAT_BYTES * 2

    def close(self) -> None:
        """Nothing to free."""


class DenoisingRestorer:
    """A restorer with a noise channel, at one noise level.

    ``sigma``: standard deviation of the noise on the scale [0, 255], as the field gives it; the fourth channel holds
    sigma / 255 (Liang et al. 2022, section 4.4 and the published test script).
    """

    channels = 3

    def __init__(self, inner: Restorer, sigma: float) -> None:
        self._inner = inner
        self._sigma = sigma
        self.scale = inner.scale
        self.name = f"{inner.name} (sigma {sigma:g})"
        self.engine, self.device, self.precision = inner.engine, inner.device, inner.precision
        self.reason = getattr(inner, "reason", "")
        self.fingerprint = hashlib.sha256(f"{inner.fingerprint} sigma {sigma!r}".encode()).hexdigest()

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        level = np.full((*lq.shape[:3], 1), self._sigma / 255, np.float32)
        return self._inner(np.concatenate([lq, level], axis=-1))

    def stream(
        self, height: int, width: int, *, window: int, lookahead: int, frugal: bool = False
    ) -> PictureStream:
        """The inner restorer's, with the noise level beside each frame."""
        inner = self._inner.stream(height, width, window=window, lookahead=lookahead, frugal=frugal)
        return NoisyStream(inner, self._sigma / 255)

    def memory_bytes(self, height: int, width: int, window: int, lookahead: int) -> int:
        """The inner restorer's."""
        return self._inner.memory_bytes(height, width, window, lookahead)

    def close(self) -> None:
        self._inner.close()


class SequentialRestorer:
    """Restorers run one after the other, for example deblur and then super-resolution."""

    def __init__(self, parts: Sequence[Restorer]) -> None:
        self._parts = tuple(parts)
        self.channels = parts[0].channels
        self.scale = 1
        for part in parts:
            self.scale *= part.scale
        self.name = " + ".join(part.name for part in parts)
        self.engine = "; ".join(dict.fromkeys(part.engine for part in parts))
        # What limits the memory: a network on a device of its own, where one of them runs there.
        main = next((part for part in parts if part.device != "cpu"), parts[0])
        self.device, self.precision = main.device, main.precision
        self.reason = "; ".join(dict.fromkeys(filter(None, (getattr(part, "reason", "") for part in parts))))
        self.fingerprint = hashlib.sha256(" ".join(part.fingerprint for part in parts).encode()).hexdigest()

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        for part in self._parts[:-1]:
            lq = np.clip(part(lq), 0, 1)
        return self._parts[-1](lq)

    def stream(
        self, height: int, width: int, *, window: int, lookahead: int, frugal: bool = False
    ) -> PictureStream:
        """The pictures of each part are the frames of the next."""
        streams = []
        for part in self._parts:
            streams.append(part.stream(height, width, window=window, lookahead=lookahead, frugal=frugal))
            height, width = height * part.scale, width * part.scale
        return SequentialStream(streams)

    def memory_bytes(self, height: int, width: int, window: int, lookahead: int) -> int:
        """All parts hold their features at the same time."""
        total = 0
        for part in self._parts:
            total += part.memory_bytes(height, width, window, lookahead)
            height, width = height * part.scale, width * part.scale
        return total

    def close(self) -> None:
        for part in self._parts:
            part.close()


def describe_engine(restorer: Restorer) -> str:
    """What a restorer runs on and why, for the line that a command begins with.

    For example "OpenVINO 2026.4.1 on CPU, fp32: the fastest engine for a CPU".
    """
    reason = getattr(restorer, "reason", "")
    return f"{restorer.engine}: {reason}" if reason else restorer.engine


def load_restorer(
    model: str | None = None,
    weights: Path | None = None,
    *,
    device: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    threads: int = 0,
) -> Restorer:
    """Load a restorer by name ("bicubic", "light-s", "light", "rvrt", "deblur", "denoise") or path of a weights file.

    ``model`` None is the network that ``weights`` holds, or "light-s" without ``weights``; both together must agree.
    ``threads``: CPU threads, 0 for all. Errors: :class:`WeightsError` where the weights are missing or damaged,
    :class:`DeviceError` where the device or backend is absent, :class:`UsageError` for values that do not exist or
    contradict one another.
    """
    if model == "bicubic":
        _check_bicubic(weights, device, backend, precision)
        return BicubicRestorer()
    from rvrt_cli.inference.model_restorer import load_model_restorer

    return load_model_restorer(
        model, weights, device=device, backend=backend, precision=precision, threads=threads
    )


def _check_bicubic(weights: Path | None, device: str, backend: str, precision: str) -> None:
    """Refuse what bicubic would ignore: it has no weights and runs in NumPy on the CPU."""
    from rvrt_cli.inference.device import check_values

    check_values(device, backend, precision)
    for name, value, ignored in (
        ("--weights", str(weights), weights is not None),
        ("--device", device, device not in ("auto", "cpu")),
        ("--backend", backend, backend != "auto"),
        ("--precision", precision, precision == "mixed"),
    ):
        if ignored:
            raise UsageError(
                f"bicubic has no weights and runs in NumPy on the CPU; leave out {name} {value}, or choose a network."
            )
