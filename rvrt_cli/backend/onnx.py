"""The primitives as an ONNX graph: running the model on a :class:`Tensor` of this backend records it with `spox`.

Shapes are static and no framework is needed. The lowering aims at what OpenVINO and ONNX Runtime run fastest on CPUs:
a tensor is made in the memory layout of its producer (tokens channel-last, convolutions channel-first) and transposed
at most once; attention is
plain MatMul, Softmax, MatMul, which OpenVINO fuses into one kernel; known zeros are never computed with.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v20 as op
from spox import Var
from spox._future import initializer

_half = False
_initializers: dict[Any, Var] = {}
"""Constants of the graph being recorded by type, shape and content: equal masks and indices are stored once."""


@contextmanager
def precision(half: bool) -> Iterator[None]:
    """Record in float16 (products, normalisations and attention; positions stay float32) or float32 while inside."""
    global _half
    before, _half = _half, half
    _initializers.clear()
    try:
        yield
    finally:
        _half = before
        _initializers.clear()


def _compute_type() -> type:
    return np.float16 if _half else np.float32


class Tensor:
    """A recorded value with logical shape ``shape``, channel-last as the model sees it.

    ``build(first)`` makes the ONNX value: channel-last in the logical shape, or with ``first`` as the four axes
    ``(images, c, h, w)`` of a convolution. ``native``: the layout in which it is computed, None where both cost nothing.
    ``array``: the values of a constant. ``linear``: (input, weight, bias) of a
    linear layer's result. ``parts``: the tensors that it joins along its channels.
    """

    def __init__(
        self,
        shape: Sequence[int],
        build: Callable[[bool], Var],
        native: bool | None = False,
        *,
        dtype: type = np.float32,
        array: np.ndarray | None = None,
        zero: bool = False,
        later: bool = False,
    ) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.dtype = dtype
        self.native = native
        self.prefers = bool(native)
        self.array = array
        self.zero = zero
        self.linear: tuple[Tensor, np.ndarray, np.ndarray] | None = None
        self.parts: list[Tensor] | None = None
        self.flipped: tuple[Tensor, int] | None = None
        self._build = build
        self._made: dict[bool, Var] = {}
        if native is not None and not later:
            self.var(
                native
            )  # recorded now: a chain recorded from its end would exceed Python's recursion limit

    def var(self, first: bool = False) -> Var:
        """The ONNX value in one layout, recorded once."""
        if self.array is not None:
            return self._build(first)
        if first not in self._made:
            if self.native is None or self.native == first:
                self._made[first] = self._build(first)
            elif first:
                # Transposing images of four axes: OpenVINO's convolutions are channel-last inside and drop it.
                images = _reshaped(self.var(False), (_images(self.shape), *self.shape[-3:]))
                self._made[first] = op.transpose(images, perm=[0, 3, 1, 2])
            else:
                # The reshape must be there, to three axes: see :func:`_binary`.
                h, w, c = self.shape[-3:]
                tokens = op.transpose(self.var(True), perm=[0, 2, 3, 1])
                tokens = op.reshape(tokens, _index([_images(self.shape), h * w, c]))
                self._made[first] = _reshaped(tokens, self.shape)
        return self._made[first]

    def __add__(self, other: Any) -> Tensor:
        other = _tensor(other, self)
        if self.zero and self.shape == other.shape:
            return other
        if other.zero and self.shape == other.shape:
            return self
        return _binary(op.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return self + other

    def __sub__(self, other: Any) -> Tensor:
        return _binary(op.sub, self, _tensor(other, self))

    def __mul__(self, other: Any) -> Tensor:
        return _binary(op.mul, self, _tensor(other, self))

    def __rmul__(self, other: Any) -> Tensor:
        return self * other

    def __truediv__(self, other: Any) -> Tensor:
        return _binary(op.div, self, _tensor(other, self))

    def mean(self, axes: Sequence[int]) -> Tensor:
        """Mean over ``axes``, which are dropped."""
        shape = [size for axis, size in enumerate(self.shape) if axis not in axes]
        return Tensor(
            shape, lambda first: op.reduce_mean(self.var(), _index(axes), keepdims=0), dtype=self.dtype
        )

    def __getitem__(self, key: Any) -> Tensor:
        """Slices with step 1 and integers, as the model uses them."""
        keys = key if isinstance(key, tuple) else (key,)
        x, dropped = self, []
        for axis, item in enumerate(keys):
            if isinstance(item, int):
                item = item % self.shape[axis]
                x = _slice(x, axis, item, item + 1)
                dropped.append(axis)
            else:
                start, stop, step = item.indices(self.shape[axis])
                assert step == 1, "the tracing backend slices with step 1"
                if (start, stop) != (0, self.shape[axis]):
                    x = _slice(x, axis, start, stop)
        if not dropped:
            return x
        return reshape(x, [size for axis, size in enumerate(x.shape) if axis not in dropped])


def _images(shape: Sequence[int]) -> int:
    """How many images ``(h, w, c)`` a shape holds."""
    return int(np.prod(shape[:-3], dtype=np.int64))


def _first_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The channel-first shape of a logical one."""
    return (_images(shape), shape[-1], *shape[-3:-1])


def _index(values: Sequence[int]) -> Var:
    """A small integer constant: a shape, axes or bounds."""
    key = tuple(int(value) for value in values)
    if key not in _initializers:
        _initializers[key] = op.const(np.array(key, np.int64))
    return _initializers[key]


def _value(array: np.ndarray) -> Var:
    """A constant of any size."""
    array = np.ascontiguousarray(array)
    key = (array.dtype.str, array.shape, hashlib.blake2b(array.tobytes(), digest_size=16).digest())
    if key not in _initializers:
        _initializers[key] = initializer(array)
    return _initializers[key]


def _fixed(array: np.ndarray, dtype: type = np.float32) -> Tensor:
    """A constant; its float values are stored in the type of whoever uses it."""

    def build(first: bool) -> Var:
        return _value(np.moveaxis(array, -1, -3) if first else array)

    return Tensor(array.shape, build, None, array=array, dtype=dtype)


def _tensor(value: Any, like: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return _fixed(np.array(value, like.dtype), like.dtype)


def _cast(x: Tensor, dtype: type) -> Tensor:
    if x.dtype == dtype:
        return x
    if x.array is not None:
        return _fixed(x.array.astype(dtype), dtype)
    if x.zero:
        return _zeros(x.shape, dtype)
    y = Tensor(x.shape, lambda first: op.cast(x.var(first), to=dtype), x.native, dtype=dtype)
    y.prefers = x.prefers
    return y


def _zeros(shape: Sequence[int], dtype: type) -> Tensor:
    def build(first: bool) -> Var:
        return op.expand(op.const(np.zeros((), dtype)), _index(_first_shape(shape) if first else shape))

    return Tensor(shape, build, None, dtype=dtype, zero=True)


def _unary(x: Tensor, make: Callable[[Var], Var]) -> Tensor:
    native = x.prefers
    return Tensor(x.shape, lambda first: make(x.var(native)), native, dtype=x.dtype)


def _binary(make: Callable[[Var, Var], Var], a: Tensor, b: Tensor) -> Tensor:
    """Elementwise arithmetic; of two results of convolutions, on their tokens.

    A convolution's result is channel-last in OpenVINO's memory, so that the transposition after it costs nothing, but only
    where nothing else is done to it first and its one consumer is a reshape to fewer axes; a sum that OpenVINO fuses into
    the convolution costs a slow copy afterwards (2.3 ms for 2 x 48 x 64 x 64, twice as long as the convolution itself).
    """
    if a.dtype != b.dtype:  # a float32 position or flow wins over float16 features
        a, b = (_cast(a, b.dtype), b) if a.array is not None else (a, _cast(b, a.dtype)) if b.array is not None else (
            _cast(a, np.float32), _cast(b, np.float32))  # fmt: skip
    shape = np.broadcast_shapes(a.shape, b.shape)
    moving = [x for x in (a, b) if x.array is None]
    native = (
        len(moving) == 1 and moving[0].prefers and all(x.array is None or x.array.ndim <= 1 for x in (a, b))
    )

    def side(x: Tensor) -> Var:
        if x.array is not None:
            return _value(x.array[:, None, None] if native and x.array.ndim else x.array)
        return x.var(native)

    return Tensor(shape, lambda first: make(side(a), side(b)), native, dtype=a.dtype)


def _moved(x: Tensor, shape: Sequence[int], make: Callable[[Var], Var]) -> Tensor:
    """A result that only moves the data of ``x``, channel-last: between convolutions OpenVINO keeps that layout anyway."""
    return Tensor(shape, lambda first: make(x.var()), dtype=x.dtype)


def _slice(x: Tensor, axis: int, start: int, stop: int) -> Tensor:
    shape = list(x.shape)
    shape[axis] = stop - start
    return _moved(x, shape, lambda v: op.slice(v, _index([start]), _index([stop]), _index([axis])))


class Parameter(Tensor):
    """A named array of the model; ``assign`` replaces its values before the graph is recorded."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array.shape, self._record, False, later=True)
        self.assign(array)
        self._variants: dict[Any, Var] = {}

    def assign(self, array: np.ndarray) -> None:
        """Take the values of ``array``, which has the parameter's shape."""
        assert array.shape == self.shape, (array.shape, self.shape)
        self.array = np.asarray(array, np.float32)
        self._variants = {}

    def _record(self, first: bool) -> Var:
        assert not first
        assert self.array is not None
        return _value(self.array)

    def variant(self, key: Any, make: Callable[[np.ndarray], np.ndarray]) -> Var:
        """``make(array)`` as an initializer, recorded once per ``key`` and precision."""
        full = (key, _compute_type())
        if full not in self._variants:
            assert self.array is not None
            self._variants[full] = _value(make(self.array).astype(_compute_type()))
        return self._variants[full]


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


def constant(array: np.ndarray) -> Tensor:
    """A fixed tensor; integer arrays become indices."""
    return _fixed(np.asarray(array), np.float32)


def graph_input(var: Var, shape: Sequence[int]) -> Tensor:
    """The float32 argument of a graph as a tensor to run the model on."""
    return Tensor(shape, lambda first: var)


def finish(x: Tensor) -> Var:
    """The channel-last float32 result of a graph."""
    return _cast(x, np.float32).var()


def from_numpy(array: np.ndarray) -> Tensor:
    """A constant input; :mod:`rvrt_cli.runtime.graph` uses arguments instead."""
    return _fixed(np.asarray(array))


def to_numpy(x: Tensor) -> np.ndarray:
    """The values of a constant. Recorded values exist only when a runtime runs the graph."""
    assert x.array is not None, "a recorded value has no numbers yet"
    return x.array


def _work(x: Tensor) -> Tensor:
    return _cast(x, _compute_type())


def _linear(x: Tensor, weight: np.ndarray | Var, bias: np.ndarray | Var, outputs: int) -> Tensor:
    x = _work(x)
    w = weight if isinstance(weight, Var) else _value(weight.T.astype(_compute_type()))
    b = bias if isinstance(bias, Var) else _value(bias.astype(_compute_type()))
    return Tensor(
        (*x.shape[:-1], outputs), lambda first: op.add(op.matmul(x.var(), w), b), dtype=_compute_type()
    )


def linear(x: Tensor, weight: Parameter, bias: Parameter) -> Tensor:
    """``x (..., i)``, ``weight (o, i)``, ``bias (o,)`` → ``(..., o)``."""
    assert weight.array is not None
    assert bias.array is not None
    y = _linear(x, weight.variant("matmul", np.transpose), bias.variant("", np.asarray), weight.shape[0])
    y.linear = (x, weight.array, bias.array)
    return y


def _scaled(x: Tensor, factor: float) -> Tensor:
    """``factor * x``; the factor of a linear layer's result goes into its weights."""
    if x.linear is not None:
        source, weight, bias = x.linear
        return _linear(source, weight * np.float32(factor), bias * np.float32(factor), weight.shape[0])
    return x * factor


def layer_norm(x: Tensor, weight: Parameter, bias: Parameter, epsilon: float) -> Tensor:
    """Normalise over the last axis."""
    x = _work(x)
    w, b = weight.variant("", np.asarray), bias.variant("", np.asarray)
    return Tensor(
        x.shape,
        lambda first: op.layer_normalization(x.var(), w, b, axis=-1, epsilon=epsilon)[0],
        dtype=x.dtype,
    )


def gelu(x: Tensor) -> Tensor:
    """Exact GELU (with erf)."""
    return _unary(x, op.gelu)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation."""
    return _unary(x, lambda v: op.gelu(v, approximate="tanh"))


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return _unary(x, op.relu)


def leaky_relu(x: Tensor) -> Tensor:
    """x where positive, 0.1 x elsewhere."""
    return _unary(x, lambda v: op.leaky_relu(v, alpha=0.1))


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return _unary(x, op.tanh)


def clamp(x: Tensor, bound: float) -> Tensor:
    """x limited to [-bound, bound]."""
    low, high = (op.const(np.array(value, x.dtype)) for value in (-bound, bound))
    return _unary(x, lambda v: op.clip(v, low, high))


def _reshaped(v: Var, shape: Sequence[int]) -> Var:
    known = v.unwrap_tensor().shape
    return v if known == tuple(shape) else op.reshape(v, _index(shape))


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
    x = _work(x)
    if isinstance(weight, Parameter) and isinstance(bias, Parameter):
        weights, biases = weight.variant(key, kernel), bias.variant("", np.asarray)
    else:
        weights, biases = _value(kernel(weight.array).astype(x.dtype)), _value(bias.array.astype(x.dtype))

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


def _grid_sample(v: Var, position: Var, h: int, w: int, border: bool) -> Var:
    """Samples of ``v (b, c, h, w)`` at pixels ``position (b, h', w', 2)``; both float32."""
    factor = op.const(np.array([2.0 / max(w - 1, 1), 2.0 / max(h - 1, 1)], np.float32))
    grid = op.sub(op.mul(position, factor), op.const(np.float32(1)))
    return op.grid_sample(
        v, grid, align_corners=1, mode="linear", padding_mode="border" if border else "zeros"
    )


def sample(x: Tensor, position: Tensor, border: bool = False) -> Tensor:
    """Bilinear samples of ``x (b, h, w, c)`` at ``position (b, h', w', 2)``, in pixels, (x, y) order → ``(b, h', w', c)``.

    Outside the map lie zeros, or with ``border`` the nearest pixel. Positions are float32 in every precision: float16
    resolves only half a pixel beyond 1024.
    """
    b, h, w, c = x.shape
    full, where = _cast(x, np.float32), _cast(position, np.float32)
    y = Tensor(
        (b, *position.shape[1:3], c),
        lambda first: _grid_sample(full.var(True), where.var(), h, w, border),
        True,
    )
    return _cast(y, x.dtype)


def resize_bilinear(x: Tensor, height: int, width: int, align_corners: bool = False) -> Tensor:
    """Bilinear resize of ``(b, h, w, c)`` without antialiasing, half-pixel centres unless ``align_corners``.

    Recorded as two products with small matrices: exact in every runtime, and sizes are static.
    """
    b, h, w, c = x.shape
    rows, columns = _resize_matrix(h, height, align_corners), _resize_matrix(w, width, align_corners)

    def build(first: bool) -> Var:
        v = op.matmul(_value(rows.astype(x.dtype)), x.var(True))
        return op.matmul(v, _value(columns.T.astype(x.dtype)))

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


def _attend(q: Var, k: Var, v: Var, extra: Var | None) -> Var:
    """Softmax(q kᵀ + extra) v for ``(b, tokens, heads, d)`` each; q is scaled already. → ``(b, queries, heads, d)``."""
    q, k, v = (
        op.transpose(q, perm=[0, 2, 1, 3]),
        op.transpose(k, perm=[0, 2, 3, 1]),
        op.transpose(v, perm=[0, 2, 1, 3]),
    )
    scores = op.matmul(q, k)
    if extra is not None:
        scores = op.add(scores, extra)
    return op.transpose(op.matmul(op.softmax(scores, axis=-1), v), perm=[0, 2, 1, 3])


def window_attention(qkv: Tensor, heads: int, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """Multi-head self-attention inside windows.

    ``qkv (b, n, 3c)`` holds queries, keys, values of ``n`` tokens per window; ``bias (heads, n, n)`` is added to
    the scaled products, and so is ``mask (windows, n, n)``, where ``b`` is a multiple of ``windows``. → ``(b, n, c)``.
    """
    b, n, c3 = qkv.shape
    c, d = c3 // 3, c3 // (3 * heads)
    assert qkv.linear is not None, (
        "window_attention follows the linear layer that makes queries, keys and values"
    )
    x, weight, offset = qkv.linear
    # Three products instead of one that is cut: the cut would copy. The scale lies in the query's weights.
    factors = (np.float32(d**-0.5), np.float32(1), np.float32(1))
    parts = [
        _linear(x, factor * weight[i * c : (i + 1) * c], factor * offset[i * c : (i + 1) * c], c)
        for i, factor in enumerate(factors)
    ]

    def build(first: bool) -> Var:
        extra = None
        if mask is not None:
            assert mask.array is not None
            windows = mask.shape[0]
            whole = np.tile(mask.array, (b // windows, 1, 1))[:, None]
            extra = _value(whole.astype(qkv.dtype))
        if bias is not None:
            more = op.unsqueeze(_cast(bias, qkv.dtype).var(), _index([0]))
            extra = more if extra is None else op.add(extra, more)
        q, k, v = (op.reshape(part.var(), _index([b, n, heads, d])) for part in parts)
        return op.reshape(_attend(q, k, v, extra), _index([b, n, c]))

    return Tensor((b, n, c), build, dtype=qkv.dtype)


@functools.lru_cache(maxsize=64)
def _tiling(
    t: int, s: int, h: int, w: int, th: int, tw: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Indices for 3x3 attention of a ``(t, h, w)`` map to a ``(s, h, w)`` one in tiles of ``th`` x ``tw`` pixels.

    → queries of each tile ``(tiles, t·th·tw)``; keys of each tile, the tile and a border of one pixel, where ``s·h·w``
    stands for a zero outside the map ``(tiles, s·(th+2)·(tw+2))``; where each pixel's result lies ``(t·h·w)``; for each
    pair ``(queries, keys)`` which of the query's 9·s neighbours the key is, 9·s where it is none.
    """
    rows, columns = -(-h // th), -(-w // tw)
    y0, x0 = (
        a.ravel() * size
        for a, size in zip(
            np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), (th, tw), strict=True
        )
    )
    f, y, x = (a.ravel() for a in np.meshgrid(np.arange(t), np.arange(th), np.arange(tw), indexing="ij"))
    kf, ky, kx = (
        a.ravel()
        for a in np.meshgrid(np.arange(s), np.arange(-1, th + 1), np.arange(-1, tw + 1), indexing="ij")
    )
    qy, qx = y0[:, None] + y, x0[:, None] + x
    real = (qy < h) & (qx < w)
    queries = np.where(real, (f * h + qy) * w + qx, 0)
    ny, nx = y0[:, None] + ky, x0[:, None] + kx
    inside = (ny >= 0) & (ny < h) & (nx >= 0) & (nx < w)
    keys = np.where(inside, (kf * h + ny) * w + nx, s * h * w)
    place = np.empty(t * h * w, np.int64)
    place[queries[real]] = np.flatnonzero(real.ravel())
    dy, dx = ky - y[:, None] + 1, kx - x[:, None] + 1
    near = (dy >= 0) & (dy < 3) & (dx >= 0) & (dx < 3)
    return queries, keys, place, np.where(near, (kf * 3 + dy) * 3 + dx, 9 * s)


LOCAL_TILE = (4, 4)
"""Pixels of one tile of :func:`local_attention`."""
_MASKED = -1e4
"""Added to scores that must not count."""


def local_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Each query pixel attends to the 3x3 pixels around it in every source frame (RVRT Light: both of the other clip).

    ``q (b, t, h, w, c)``, ``k, v (b, s, h, w, c)``, ``bias (heads, 9·s)`` → ``(b, t, h, w, c)``. Outside the map keys and
    values are zero (and still take part in the softmax). Recorded as full attention between the pixels of a tile and those
    of the tile with its border, masked to the neighbours: 4 times the arithmetic of 9·s shifted products, and several times
    faster, because it is one fused kernel instead of 54 passes through memory.
    """
    b, t, h, w, c = q.shape
    s, d = k.shape[1], c // heads
    queries, keys, place, neighbour = _tiling(t, s, h, w, *LOCAL_TILE)
    tiles, nq, nk = queries.shape[0], queries.shape[1], keys.shape[1]
    q = _scaled(q, d**-0.5)
    table = np.zeros((1, 9 * s), np.float32)
    if bias is not None:
        assert bias.array is not None
        table = bias.array
    mask = np.pad(table, ((0, 0), (0, 1)), constant_values=_MASKED)[:, neighbour]

    def tokens(x: Tensor, index: np.ndarray, count: int, outside: bool) -> Var:
        flat = op.reshape(x.var(), _index([b, x.shape[1] * h * w, c]))
        if outside:
            flat = op.concat([flat, _value(np.zeros((b, 1, c), x.dtype))], axis=1)
        return op.reshape(
            op.gather(flat, _value(index.ravel()), axis=1), _index([b * tiles, count, heads, d])
        )

    def build(first: bool) -> Var:
        y = _attend(
            tokens(q, queries, nq, False), tokens(k, keys, nk, True), tokens(v, keys, nk, True),
            _value(mask[None].astype(q.dtype)),
        )  # fmt: skip
        y = op.gather(op.reshape(y, _index([b, tiles * nq, c])), _value(place), axis=1)
        return op.reshape(y, _index([b, t, h, w, c]))

    return Tensor(q.shape, build, dtype=q.dtype)


def deformable_attention(q: Tensor, k: Tensor, v: Tensor, offset: Tensor, heads: int, groups: int) -> Tensor:
    """Guided deformable attention over 2 frames × 3x3 moved positions (RVRT paper, section 3.3).

    ``q, k, v (b, 2, h, w, c)``; ``offset (b, 2, h, w, 2, groups, 9, 2)``: for each query frame first the offsets
    into the frame of the same index, then into the other one, as (y, x) pixels around the 3x3 grid. The first half of
    the groups moves channel groups of the keys, the second half those of the values. → ``(b, 2, h, w, c)``.
    """
    b, t, h, w, c = q.shape
    half, d = groups // 2, c // heads
    gy, gx = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    ky, kx = np.meshgrid(np.arange(-1, 2), np.arange(-1, 2), indexing="ij")
    base = (np.stack([gx, gy], -1)[:, :, None] + np.stack([kx, ky], -1).reshape(9, 2)).astype(np.float32)
    position = flip(_cast(offset, np.float32), 7) + constant(base[:, :, None, None])
    q = _scaled(q, d**-0.5)
    dtype = q.dtype

    def moved(x: Tensor, order: int, start: int) -> Var:  # → (b·t, heads, d, h, w, 9)
        source = _cast(x if order == 0 else flip(x, 1), np.float32)
        maps = op.reshape(source.var(True), _index([b * t * half, c // half, h, w]))
        at = permute(position[:, :, :, :, order, start : start + half], (0, 1, 4, 2, 3, 5, 6))
        y = _grid_sample(maps, op.reshape(at.var(), _index([b * t * half, h, w * 9, 2])), h, w, False)
        y = op.reshape(y, _index([b * t, heads, d, h, w, 9]))
        return y if dtype == np.float32 else op.cast(y, to=dtype)

    def build(first: bool) -> Var:
        key = op.concat([moved(k, order, 0) for order in range(2)], axis=5)
        value = op.concat([moved(v, order, half) for order in range(2)], axis=5)
        query = op.reshape(q.var(True), _index([b * t, heads, d, h, w, 1]))
        weights = op.softmax(op.reduce_sum(op.mul(query, key), _index([2]), keepdims=1), axis=5)
        y = op.reduce_sum(op.mul(weights, value), _index([5]), keepdims=0)
        return op.reshape(y, _index([b * t, c, h, w]))

    return Tensor(q.shape, build, True, dtype=dtype)


def concat(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Join along ``axis``."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    types = {part.dtype for part in parts if not part.zero}
    dtype = types.pop() if len(types) == 1 else np.float32
    parts = [_cast(part, dtype) for part in parts]
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    rank = len(shape)
    y = Tensor(
        shape, lambda first: op.concat([part.var() for part in parts], axis=axis), dtype=dtype, later=True
    )
    if axis == rank - 1:
        y.parts = [piece for part in parts for piece in (part.parts or [part])]
    return y


def chunk(x: Tensor, count: int, axis: int) -> list[Tensor]:
    """Cut into ``count`` equal parts along ``axis``."""
    size = x.shape[axis] // count
    return [_slice(x, axis, i * size, (i + 1) * size) for i in range(count)]


def stack(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Join along a new axis."""
    shape = list(parts[0].shape)
    shape.insert(axis, 1)
    return concat([reshape(part, shape) for part in parts], axis)


def flip(x: Tensor, axis: int) -> Tensor:
    """Reverse along ``axis``."""
    if x.shape[axis] == 1 or x.zero:
        return x
    if x.flipped is not None and x.flipped[1] == axis:
        return x.flipped[0]
    order = np.arange(x.shape[axis])[::-1].copy()
    if axis < len(x.shape) - 3:  # whole images change places, in whichever layout they are wanted
        images = np.arange(_images(x.shape)).reshape(x.shape[:-3])
        images = np.flip(images, axis).ravel()

        def build(first: bool) -> Var:
            return (
                op.gather(x.var(True), _value(images), axis=0)
                if first
                else op.gather(x.var(), _value(order), axis=axis)
            )

        y = Tensor(x.shape, build, None, dtype=x.dtype)
        y.prefers = x.prefers
    else:
        y = _moved(x, x.shape, lambda v: op.gather(v, _value(order), axis=axis))
    y.flipped = (x, axis)
    return y


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same values in another shape; one size may be -1."""
    sizes = [int(size) for size in shape]
    if -1 in sizes:
        sizes[sizes.index(-1)] = -int(np.prod(x.shape)) // int(np.prod(sizes))
    if tuple(sizes) == x.shape:
        return x
    if x.array is not None:
        return _fixed(x.array.reshape(sizes), x.dtype)
    if x.zero:
        return _zeros(sizes, x.dtype)
    if len(sizes) > 3 and len(x.shape) > 3 and tuple(sizes[-3:]) == x.shape[-3:]:
        y = Tensor(
            sizes, lambda first: x.var(True) if first else _reshaped(x.var(), sizes), None, dtype=x.dtype
        )
        y.prefers = x.prefers  # the same images in either layout
        return y
    return Tensor(sizes, lambda first: op.reshape(x.var(), _index(sizes)), dtype=x.dtype)


def permute(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Reorder the axes."""
    if x.array is not None:
        return _fixed(x.array.transpose(axes), x.dtype)
    return Tensor(
        [x.shape[a] for a in axes], lambda first: op.transpose(x.var(), perm=list(axes)), dtype=x.dtype
    )


def pad_end(x: Tensor, axis: int, count: int, replicate: bool = False) -> Tensor:
    """Append ``count`` zero entries (or copies of the last one) along ``axis``."""
    if count == 0:
        return x
    shape = list(x.shape)
    shape[axis] = count
    if not replicate:
        return concat([x, _zeros(shape, x.dtype)], axis)
    last = x.shape[axis] - 1
    return take(x, constant(np.minimum(np.arange(last + 1 + count), last)), axis)


def take(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """Gather entries of ``x`` along ``axis`` in the order of ``index`` (1-D)."""
    assert index.array is not None
    order = index.array.astype(np.int64)
    if x.array is not None:
        return _fixed(np.take(x.array, order, axis), x.dtype)
    shape = list(x.shape)
    shape[axis] = order.size
    return _moved(x, shape, lambda v: op.gather(v, _value(order), axis=axis))


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of the same shape and type; nothing is recorded until they are mixed with other values."""
    return _zeros(x.shape, x.dtype)
