"""The primitives as an ONNX graph: running the model on a :class:`Tensor` of this backend records it with `spox`.

Shapes are static and no framework is needed. The lowering aims at what OpenVINO and ONNX Runtime run fastest on CPUs. Here
are structure, layers and pictures; ``onnx_tensor`` has the value that is recorded, ``onnx_layout`` and ``onnx_attention``
the other primitives, which a backend must hold under its own name, too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v20 as op
from spox import Var

from rvrt_cli.backend.onnx_attention import deformable_attention as deformable_attention
from rvrt_cli.backend.onnx_attention import local_attention as local_attention
from rvrt_cli.backend.onnx_attention import window_attention as window_attention
from rvrt_cli.backend.onnx_layout import chunk as chunk
from rvrt_cli.backend.onnx_layout import concat as concat
from rvrt_cli.backend.onnx_layout import flip as flip
from rvrt_cli.backend.onnx_layout import pad_end as pad_end
from rvrt_cli.backend.onnx_layout import permute as permute
from rvrt_cli.backend.onnx_layout import stack as stack
from rvrt_cli.backend.onnx_layout import take as take
from rvrt_cli.backend.onnx_layout import zeros_like as zeros_like
from rvrt_cli.backend.onnx_tensor import (
    Parameter,
    Tensor,
    affine,
    cast,
    fixed,
    grid_sample,
    stored,
    unary,
    working,
)
from rvrt_cli.backend.onnx_tensor import constant as constant
from rvrt_cli.backend.onnx_tensor import precision as precision
from rvrt_cli.backend.onnx_tensor import reshape as reshape


class Module:
    """A layer: calling it records its ``forward``; attributes that are parameters or layers are found by name."""

    def __call__(self, *args: Any) -> Any:
        return self.forward(*args)

    def forward(self, *args: Any) -> Any:
        """Defined by each layer."""
        raise NotImplementedError

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter): this layer's own, then those of the layers below it, in the order of declaration."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from value.named_parameters(f"{prefix}{name}.")


class ModuleList(Module):
    """A list of layers whose parameters are named by index."""

    def __init__(self, layers: Sequence[Module]) -> None:
        self._layers = list(layers)

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        for index, layer in enumerate(self._layers):
            yield from layer.named_parameters(f"{prefix}{index}.")

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Module:
        return self._layers[index]


def parameter(array: np.ndarray) -> Parameter:
    """A named array of the model."""
    return Parameter(array)


def static(function: Any) -> Any:
    """Decorate a function of plain numbers that returns :func:`constant` values; it runs once per set of arguments."""
    return functools.lru_cache(maxsize=256)(function)


def graph_input(var: Var, shape: Sequence[int], dtype: type = np.float32) -> Tensor:
    """The argument of a graph, float32 or float16, as a tensor to run the model on, in the type in which it computes.

    Positions come as float32 and stay so.
    """
    x = Tensor(shape, lambda first: var, dtype=dtype)
    return working(x) if dtype == np.float16 else x


def finish(x: Tensor, dtype: type = np.float32) -> Var:
    """The channel-last result of a graph, float32 or float16."""
    return cast(x, dtype).var()


def from_numpy(array: np.ndarray) -> Tensor:
    """A constant input; :mod:`rvrt_cli.inference.graph` uses arguments instead."""
    return fixed(np.asarray(array))


def to_numpy(x: Tensor) -> np.ndarray:
    """The values of a constant. Recorded values exist only when a runtime runs the graph."""
    assert x.array is not None, "a recorded value has no numbers yet"
    return x.array


def linear(x: Tensor, weight: Parameter, bias: Parameter) -> Tensor:
    """``x (..., i)``, ``weight (o, i)``, ``bias (o,)`` → ``(..., o)``."""
    assert weight.array is not None
    assert bias.array is not None
    y = affine(x, weight.variant("matmul", np.transpose), bias.variant("", np.asarray), weight.shape[0])
    y.linear = (x, weight.array, bias.array)
    return y


def layer_norm(x: Tensor, weight: Parameter, bias: Parameter, epsilon: float) -> Tensor:
    """Normalise over the last axis."""
    x = working(x)
    w, b = weight.variant("", np.asarray), bias.variant("", np.asarray)
    return Tensor(
        x.shape,
        lambda first: op.layer_normalization(x.var(), w, b, axis=-1, epsilon=epsilon)[0],
        dtype=x.dtype,
    )


def gelu(x: Tensor) -> Tensor:
    """Exact GELU (with erf)."""
    return unary(x, op.gelu)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation."""
    return unary(x, lambda v: op.gelu(v, approximate="tanh"))


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return unary(x, op.relu)


def leaky_relu(x: Tensor) -> Tensor:
    """x where positive, 0.1 x elsewhere."""
    return unary(x, lambda v: op.leaky_relu(v, alpha=0.1))


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return unary(x, op.tanh)


def clamp(x: Tensor, bound: float) -> Tensor:
    """x limited to [-bound, bound]."""
    low, high = (op.const(np.array(value, x.dtype)) for value in (-bound, bound))
    return unary(x, lambda v: op.clip(v, low, high))


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, padding: int = 1, groups: int = 1
) -> Tensor:
    """``x (..., h, w, i)``, ``weight (o, i/groups, kh, kw)``, zero padding → ``(..., h', w', o)``."""
    assert weight.array is not None
    assert bias.array is not None
    *lead, h, w, _ = x.shape
    o, _, kh, kw = weight.shape
    out_h, out_w = ((size + 2 * padding - k) // stride + 1 for size, k in ((h, kh), (w, kw)))
    kernel: Callable[[np.ndarray], np.ndarray] = np.asarray
    key: Any = ""
    if x.parts is not None and groups == 1 and any(part.zero for part in x.parts):
        # Zero inputs (the first clip has no predecessor) are left out together with their weights.
        edges = np.cumsum([0] + [part.shape[-1] for part in x.parts])
        used = [i for i, part in enumerate(x.parts) if not part.zero]
        channels = np.concatenate([np.arange(edges[i], edges[i + 1]) for i in used])
        x, key = concat([x.parts[i] for i in used], len(x.shape) - 1), tuple(used)
        kernel = functools.partial(np.take, indices=channels, axis=1)
    x = working(x)
    if isinstance(weight, Parameter) and isinstance(bias, Parameter):
        weights, biases = weight.variant(key, kernel), bias.variant("", np.asarray)
    else:
        weights, biases = stored(kernel(weight.array).astype(x.dtype)), stored(bias.array.astype(x.dtype))

    def build(first: bool) -> Var:
        return op.conv(
            x.var(True),
            weights,
            biases,
            strides=[stride, stride],
            pads=[padding] * 4,
            group=groups,
            kernel_shape=[kh, kw],
        )

    return Tensor((*lead, out_h, out_w, o), build, True, dtype=x.dtype)


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """``(..., h, w, c·f·f)`` → ``(..., h·f, w·f, c)`` with PyTorch's channel order (c, fy, fx)."""
    *lead, h, w, c = x.shape
    out = (h * factor, w * factor, c // factor**2)

    def build(first: bool) -> Var:
        return op.depth_to_space(x.var(True), blocksize=factor, mode="CRD")

    return Tensor((*lead, *out), build, True, dtype=x.dtype)


def avg_pool2(x: Tensor) -> Tensor:
    """Mean of 2x2 pixels: ``(b, h, w, c)`` → ``(b, h/2, w/2, c)``; h and w are even."""
    b, h, w, c = x.shape
    return Tensor(
        (b, h // 2, w // 2, c),
        lambda first: op.average_pool(x.var(True), kernel_shape=[2, 2], strides=[2, 2]),
        True,
        dtype=x.dtype,
    )


def box_mean(x: Tensor, size: int) -> Tensor:
    """Mean of the ``size`` x ``size`` pixels around each one (``size`` odd); those outside of ``x (b, h, w, c)`` do not count."""

    def build(first: bool) -> Var:
        pads = [size // 2] * 4
        return op.average_pool(x.var(True), kernel_shape=[size, size], pads=pads, count_include_pad=0)

    return Tensor(x.shape, build, True, dtype=x.dtype)


def sample(x: Tensor, position: Tensor, border: bool = False) -> Tensor:
    """Bilinear samples of ``x (b, h, w, c)`` at ``position (b, h', w', 2)``, in pixels, (x, y) order → ``(b, h', w', c)``.

    Outside the map lie zeros, or with ``border`` the nearest pixel. Positions are float32 in every precision: float16
    resolves only half a pixel beyond 1024.
    """
    b, h, w, c = x.shape
    full, where = cast(x, np.float32), cast(position, np.float32)
    y = Tensor(
        (b, *position.shape[1:3], c),
        lambda first: grid_sample(full.var(True), where.var(), h, w, border),
        True,
    )
    return cast(y, x.dtype)


def resize_bilinear(x: Tensor, height: int, width: int, align_corners: bool = False) -> Tensor:
    """Bilinear resize of ``(b, h, w, c)`` without antialiasing, half-pixel centres unless ``align_corners``.

    Recorded as two products with small matrices: exact in every runtime, and sizes are static.
    """
    b, h, w, c = x.shape
    rows, columns = _resize_matrix(h, height, align_corners), _resize_matrix(w, width, align_corners)

    def build(first: bool) -> Var:
        v = op.matmul(stored(rows.astype(x.dtype)), x.var(True))
        return op.matmul(v, stored(columns.T.astype(x.dtype)))

    return Tensor((b, height, width, c), build, True, dtype=x.dtype)


def _resize_matrix(size: int, target: int, align_corners: bool) -> np.ndarray:
    """Weights ``(target, size)`` of a bilinear resize of one axis."""
    at = np.arange(target, dtype=np.float64)
    if align_corners:
        at = at * ((size - 1) / (target - 1)) if target > 1 else at * 0
    else:
        at = np.clip((at + 0.5) * (size / target) - 0.5, 0, None)
    low = np.minimum(np.floor(at).astype(int), size - 1)
    high = np.minimum(low + 1, size - 1)
    matrix = np.zeros((target, size))
    np.add.at(matrix, (np.arange(target), low), 1 - (at - low))
    np.add.at(matrix, (np.arange(target), high), at - low)
    return matrix.astype(np.float32)
