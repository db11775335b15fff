"""The value that the tracing backend records instead of computing: its layouts, its constants, and what is done to them.

A tensor is made in the memory layout of its producer (tokens channel-last, convolutions channel-first) and transposed at
most once; known zeros are never computed with.
"""

from __future__ import annotations

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


def compute_type() -> type:
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
                images = _reshaped(self.var(False), (count_images(self.shape), *self.shape[-3:]))
                self._made[first] = op.transpose(images, perm=[0, 3, 1, 2])
            else:
                # The reshape must be there, to three axes: see :func:`_binary`.
                h, w, c = self.shape[-3:]
                tokens = op.transpose(self.var(True), perm=[0, 2, 3, 1])
                tokens = op.reshape(tokens, integers([count_images(self.shape), h * w, c]))
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
            shape, lambda first: op.reduce_mean(self.var(), integers(axes), keepdims=0), dtype=self.dtype
        )

    def __getitem__(self, key: Any) -> Tensor:
        """Slices with step 1 and integers, as the model uses them."""
        keys = key if isinstance(key, tuple) else (key,)
        x, dropped = self, []
        for axis, item in enumerate(keys):
            if isinstance(item, int):
                item = item % self.shape[axis]
                x = cut(x, axis, item, item + 1)
                dropped.append(axis)
            else:
                start, stop, step = item.indices(self.shape[axis])
                assert step == 1, "the tracing backend slices with step 1"
                if (start, stop) != (0, self.shape[axis]):
                    x = cut(x, axis, start, stop)
        if not dropped:
            return x
        return reshape(x, [size for axis, size in enumerate(x.shape) if axis not in dropped])


def count_images(shape: Sequence[int]) -> int:
    """How many images ``(h, w, c)`` a shape holds."""
    return int(np.prod(shape[:-3], dtype=np.int64))


def _first_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The channel-first shape of a logical one."""
    return (count_images(shape), shape[-1], *shape[-3:-1])


def integers(values: Sequence[int]) -> Var:
    """A small integer constant: a shape, axes or bounds."""
    key = tuple(int(value) for value in values)
    if key not in _initializers:
        _initializers[key] = op.const(np.array(key, np.int64))
    return _initializers[key]


def stored(array: np.ndarray) -> Var:
    """A constant of any size."""
    array = np.ascontiguousarray(array)
    key = (array.dtype.str, array.shape, hashlib.blake2b(array.tobytes(), digest_size=16).digest())
    if key not in _initializers:
        _initializers[key] = initializer(array)
    return _initializers[key]


def fixed(array: np.ndarray, dtype: type = np.float32) -> Tensor:
    """A constant; its float values are stored in the type of whoever uses it."""

    def build(first: bool) -> Var:
        return stored(np.moveaxis(array, -1, -3) if first else array)

    return Tensor(array.shape, build, None, array=array, dtype=dtype)


def _tensor(value: Any, like: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return fixed(np.array(value, like.dtype), like.dtype)


def cast(x: Tensor, dtype: type) -> Tensor:
    if x.dtype == dtype:
        return x
    if x.array is not None:
        return fixed(x.array.astype(dtype), dtype)
    if x.zero:
        return zeros(x.shape, dtype)
    y = Tensor(x.shape, lambda first: op.cast(x.var(first), to=dtype), x.native, dtype=dtype)
    y.prefers = x.prefers
    return y


def zeros(shape: Sequence[int], dtype: type) -> Tensor:
    def build(first: bool) -> Var:
        return op.expand(op.const(np.zeros((), dtype)), integers(_first_shape(shape) if first else shape))

    return Tensor(shape, build, None, dtype=dtype, zero=True)


def unary(x: Tensor, make: Callable[[Var], Var]) -> Tensor:
    native = x.prefers
    return Tensor(x.shape, lambda first: make(x.var(native)), native, dtype=x.dtype)


def _binary(make: Callable[[Var, Var], Var], a: Tensor, b: Tensor) -> Tensor:
    """Elementwise arithmetic; of two results of convolutions, on their tokens.

    A convolution's result is channel-last in OpenVINO's memory, so that the transposition after it costs nothing, but only
    where nothing else is done to it first and its one consumer is a reshape to fewer axes; a sum that OpenVINO fuses into
    the convolution costs a slow copy afterwards (2.3 ms for 2 x 48 x 64 x 64, twice as long as the convolution itself).
    """
    if a.dtype != b.dtype:  # a float32 position or flow wins over float16 features
        a, b = (cast(a, b.dtype), b) if a.array is not None else (a, cast(b, a.dtype)) if b.array is not None else (
            cast(a, np.float32), cast(b, np.float32))  # fmt: skip
    shape = np.broadcast_shapes(a.shape, b.shape)
    moving = [x for x in (a, b) if x.array is None]
    native = (
        len(moving) == 1 and moving[0].prefers and all(x.array is None or x.array.ndim <= 1 for x in (a, b))
    )

    def side(x: Tensor) -> Var:
        if x.array is not None:
            return stored(x.array[:, None, None] if native and x.array.ndim else x.array)
        return x.var(native)

    return Tensor(shape, lambda first: make(side(a), side(b)), native, dtype=a.dtype)


def moved(x: Tensor, shape: Sequence[int], make: Callable[[Var], Var]) -> Tensor:
    """A result that only moves the data of ``x``, channel-last: between convolutions OpenVINO keeps that layout anyway."""
    return Tensor(shape, lambda first: make(x.var()), dtype=x.dtype)


def cut(x: Tensor, axis: int, start: int, stop: int) -> Tensor:
    shape = list(x.shape)
    shape[axis] = stop - start
    return moved(x, shape, lambda v: op.slice(v, integers([start]), integers([stop]), integers([axis])))


def _reshaped(v: Var, shape: Sequence[int]) -> Var:
    known = v.unwrap_tensor().shape
    return v if known == tuple(shape) else op.reshape(v, integers(shape))


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same values in another shape; one size may be -1."""
    sizes = [int(size) for size in shape]
    if -1 in sizes:
        sizes[sizes.index(-1)] = -int(np.prod(x.shape)) // int(np.prod(sizes))
    if tuple(sizes) == x.shape:
        return x
    if x.array is not None:
        return fixed(x.array.reshape(sizes), x.dtype)
    if x.zero:
        return zeros(sizes, x.dtype)
    if len(sizes) > 3 and len(x.shape) > 3 and tuple(sizes[-3:]) == x.shape[-3:]:
        y = Tensor(
            sizes, lambda first: x.var(True) if first else _reshaped(x.var(), sizes), None, dtype=x.dtype
        )
        y.prefers = x.prefers  # the same images in either layout
        return y
    return Tensor(sizes, lambda first: op.reshape(x.var(), integers(sizes)), dtype=x.dtype)


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
        return stored(self.array)

    def variant(self, key: Any, make: Callable[[np.ndarray], np.ndarray]) -> Var:
        """``make(array)`` as an initializer, recorded once per ``key`` and precision."""
        full = (key, compute_type())
        if full not in self._variants:
            assert self.array is not None
            self._variants[full] = stored(make(self.array).astype(compute_type()))
        return self._variants[full]


def constant(array: np.ndarray) -> Tensor:
    """A fixed tensor; integer arrays become indices."""
    return fixed(np.asarray(array), np.float32)


def working(x: Tensor) -> Tensor:
    return cast(x, compute_type())


def affine(x: Tensor, weight: np.ndarray | Var, bias: np.ndarray | Var, outputs: int) -> Tensor:
    x = working(x)
    w = weight if isinstance(weight, Var) else stored(weight.T.astype(compute_type()))
    b = bias if isinstance(bias, Var) else stored(bias.astype(compute_type()))
    return Tensor(
        (*x.shape[:-1], outputs), lambda first: op.add(op.matmul(x.var(), w), b), dtype=compute_type()
    )


def scaled(x: Tensor, factor: float) -> Tensor:
    """``factor * x``; the factor of a linear layer's result goes into its weights."""
    if x.linear is not None:
        source, weight, bias = x.linear
        return affine(source, weight * np.float32(factor), bias * np.float32(factor), weight.shape[0])
    return x * factor


def grid_sample(v: Var, position: Var, h: int, w: int, border: bool) -> Var:
    """Samples of ``v (b, c, h, w)`` at pixels ``position (b, h', w', 2)``; both float32."""
    factor = op.const(np.array([2.0 / max(w - 1, 1), 2.0 / max(h - 1, 1)], np.float32))
    grid = op.sub(op.mul(position, factor), op.const(np.float32(1)))
    return op.grid_sample(
        v, grid, align_corners=1, mode="linear", padding_mode="border" if border else "zeros"
    )
