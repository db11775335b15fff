"""The primitives in MindSpore 2.8: training and inference in PyNative and graph mode on CPU; written for Ascend and GPU too, untested there.

Shapes and meaning of every primitive are documented in :mod:`rvrt_cli.backend.torch`; here the docstrings say how
MindSpore computes it, and why so. Facts about its CPU kernels that shaped this file (measured, MindSpore 2.8.0): mint
operators, Roll and Conv2DExt are not registered; Pad and transposes of five or more axes cost ten times a copy, gathers
and concatenations little more than one; each Transpose in a graph keeps an index of eight bytes per value for good; Tanh is off by up to 1e-4, Sigmoid
by 1e-6; GeLU costs six times the same formula written with Sigmoid.
"""

# ruff: noqa: RUF005 - shapes are joined by +, which graph mode is known to compile
from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from rvrt_cli.errors import DeviceError, WeightsError

_MASKED = -30000.0
"""Added to scores that must not count: exp() of it is zero, and it fits into float16."""

_mixed = False
"""Whether matrix products and convolutions run in float16; see :func:`set_precision`."""


_on_cpu = True
"""Whether the CPU computes, whose kernels ask for other formulas than a matrix unit's; see :func:`set_device`."""


def set_device(device: str) -> None:
    """Run on ``"cpu"``, ``"gpu:0"`` or ``"ascend:0"`` (the latter two untested here).

    Errors: :class:`DeviceError` for another name or a device that MindSpore does not find.
    """
    global _on_cpu
    kind, _, index = device.partition(":")
    targets = {"cpu": "CPU", "gpu": "GPU", "ascend": "Ascend"}
    if kind not in targets or (index and not index.isdigit()):
        raise DeviceError(f"MindSpore has no device {device!r}; use cpu, gpu:0 or ascend:0.")
    try:
        ms.set_device(targets[kind], int(index or 0))
    except (RuntimeError, ValueError) as error:
        raise DeviceError(f"MindSpore cannot use {device!r} on this machine; use --device cpu.") from error
    _on_cpu = kind == "cpu"


def set_mode(graph: bool) -> None:
    """Choose graph mode (compiled per input shape, about four times faster on CPU) or PyNative (immediate, for debugging)."""
    ms.set_context(mode=ms.GRAPH_MODE if graph else ms.PYNATIVE_MODE)


def set_precision(mixed: bool) -> None:
    """Choose float32, or ``mixed``: matrix products and convolutions take float16 inputs, everything else stays float32.

    Meant for the matrix units of Ascend and GPU (untested there); the CPU computes it too, slowly. Parameters stay float32.
    Call it before a network runs for the first time: graph mode compiles the choice in.
    """
    global _mixed
    _mixed = mixed


def load_tensors(model: nn.Cell, tensors: dict[str, np.ndarray]) -> None:
    """Give ``model`` the values of ``tensors`` by canonical dotted name (MindSpore's parameter names equal them).

    Errors: :class:`WeightsError` naming the first tensor that is missing, extra or misshapen; nothing is changed then.
    """
    parameters = dict(model.parameters_and_names())
    if odd := sorted(set(parameters) ^ set(tensors)):
        state = "is missing" if odd[0] in parameters else "is not part of this network"
        raise WeightsError(f"The tensor {odd[0]} {state}; the weights are for another architecture.")
    for name, value in parameters.items():
        if tuple(value.shape) != tensors[name].shape:
            raise WeightsError(
                f"The tensor {name} has shape {tensors[name].shape}, the network needs {tuple(value.shape)}."
            )
    for name, value in parameters.items():
        value.set_data(Tensor(np.ascontiguousarray(tensors[name], np.float32)))


def run(model: nn.Cell, x: np.ndarray) -> np.ndarray:
    """``model`` on ``x (n, t, h, w, c)`` float32 → float32 on the host, without keeping anything for gradients.

    In graph mode the first call for each input shape compiles (tens of seconds). MindSpore's own errors pass through;
    :func:`rvrt_cli.runtime.memory.explained` puts them into words.
    """
    if model.training:
        model.set_train(False)
    return to_numpy(model(from_numpy(x)))


class Module(nn.Cell):
    """Base of all layers; subclasses define ``forward``."""

    def construct(self, *inputs: Any) -> Any:
        return self.forward(*inputs)


class ModuleList(nn.CellList):
    """A list of layers whose parameters are named by index."""


def parameter(array: np.ndarray) -> ms.Parameter:
    """A trainable tensor with the values of ``array`` (float32)."""
    return ms.Parameter(Tensor(np.ascontiguousarray(array, np.float32)))


def static(function: Any) -> Any:
    """Decorate a function of plain numbers that returns :func:`constant` values; in graph mode it runs while compiling."""
    return ms.constexpr(functools.lru_cache(maxsize=256)(function), name=function.__name__)


def constant(array: np.ndarray) -> Tensor:
    """A fixed tensor; integer arrays become int32 indices."""
    return Tensor(array.astype(np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32))


def from_numpy(array: np.ndarray) -> Tensor:
    """An input tensor."""
    return Tensor(np.ascontiguousarray(array))


def to_numpy(x: Tensor) -> np.ndarray:
    """The values of ``x`` as float32 on the host."""
    return x.asnumpy().astype(np.float32, copy=False)


def _narrow(x: Tensor) -> Tensor:
    """An operand of a matrix product in the chosen precision."""
    return ops.cast(x, ms.float16) if _mixed else x


def _wide(x: Tensor) -> Tensor:
    """A matrix product's result in float32."""
    return ops.cast(x, ms.float32) if _mixed else x


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One matrix product over all tokens."""
    shape = x.shape
    y = _wide(ops.MatMul(transpose_b=True)(_narrow(ops.reshape(x, (-1, shape[-1]))), _narrow(weight)))
    return ops.reshape(ops.BiasAdd()(y, bias), shape[:-1] + (weight.shape[0],))


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Normalise over the last axis."""
    return ops.LayerNorm(-1, -1, epsilon)(x, weight, bias)[0]


def gelu(x: Tensor) -> Tensor:
    """Exact GELU (with erf)."""
    return 0.5 * x * (1.0 + ops.erf(x * 0.7071067811865476))


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation: (1 + tanh(u)) / 2 is sigmoid(2u), and the CPU's GeLU kernel is six times slower."""
    return x * ops.sigmoid(x * (1.5957691216057308 + 0.07135481627260025 * x * x))


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return ops.relu(x)


def leaky_relu(x: Tensor) -> Tensor:
    """x where positive, 0.1 x elsewhere."""
    return ops.maximum(x, 0.1 * x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent by the sigmoid, exact to 2e-6: the CPU's Tanh kernel is off by up to 1e-4."""
    return 2.0 * ops.sigmoid(2.0 * x) - 1.0


def clamp(x: Tensor, bound: float) -> Tensor:
    """x limited to [-bound, bound]."""
    return ops.clamp(x, -bound, bound)


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, padding: int = 1, groups: int = 1
) -> Tensor:
    """1x1, and on CPU 3x3, as matrix products; else Conv2D, which is channel-first, between two transposes."""
    o, _, kh, kw = weight.shape
    if kh == 1 and kw == 1 and stride == 1 and groups == 1:
        return linear(x, ops.reshape(weight, (o, -1)), bias)
    if _on_cpu and kh == 3 and kw == 3 and stride == 1 and padding == 1 and groups == 1:
        return _conv3x3(x, weight, bias)
    shape = x.shape
    h, w, c = shape[-3], shape[-2], shape[-1]
    y = ops.transpose(ops.reshape(x, (-1, h, w, c)), (0, 3, 1, 2))
    convolution = ops.Conv2D(o, (kh, kw), pad_mode="pad", pad=padding, stride=stride, group=groups)
    y = _wide(convolution(_narrow(y), _narrow(weight)))
    y = ops.transpose(ops.BiasAdd()(y, bias), (0, 2, 3, 1))
    return ops.reshape(y, shape[:-3] + y.shape[1:])


def _conv3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution as three matrix products, channel-last throughout: as fast as Conv2D on CPU, without its transposes.

    Rows are padded by one zero pixel each, which is both the right neighbour of a row's last pixel and the left one of the
    next row's first; so a shift by a pixel or a row is a slice of one long axis. Three horizontal neighbours are joined,
    and one product per row of the kernel sums them.
    """
    shape = x.shape
    h, w, i = shape[-3], shape[-2], shape[-1]
    o = weight.shape[0]
    x = ops.reshape(x, (-1, h, w, i))
    n = x.shape[0]
    row = w + 1
    count = h * row
    lines = ops.reshape(ops.cat((x, ops.zeros((n, h, 1, i), x.dtype)), 2), (n, count, i))
    border = ops.zeros((n, row + 1, i), x.dtype)
    lines = ops.cat((border, lines, border), 1)
    reach = count + 2 * row
    joined = _narrow(ops.cat((lines[:, :reach], lines[:, 1 : 1 + reach], lines[:, 2 : 2 + reach]), 2))
    kernel = _narrow(ops.transpose(weight, (2, 0, 3, 1)))
    product = ops.MatMul(transpose_b=True)
    y = product(ops.reshape(joined[:, :count], (-1, 3 * i)), ops.reshape(kernel[0], (o, 3 * i)))
    y = y + product(
        ops.reshape(joined[:, row : row + count], (-1, 3 * i)), ops.reshape(kernel[1], (o, 3 * i))
    )
    y = y + product(ops.reshape(joined[:, 2 * row :], (-1, 3 * i)), ops.reshape(kernel[2], (o, 3 * i)))
    y = ops.reshape(ops.BiasAdd()(_wide(y), bias), (n, h, row, o))[:, :, :w]
    return ops.reshape(y, shape[:-1] + (o,))


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """PyTorch's channel order (c, fy, fx), as a transposition."""
    shape = x.shape
    h, w = shape[-3], shape[-2]
    c = shape[-1] // (factor * factor)
    y = ops.transpose(ops.reshape(x, (-1, h, w, c, factor, factor)), (0, 1, 4, 2, 5, 3))
    return ops.reshape(y, shape[:-3] + (h * factor, w * factor, c))


def avg_pool2(x: Tensor) -> Tensor:
    """Mean of 2x2 pixels, as sums of slices."""
    b, h, w, c = x.shape
    rows = ops.reshape(x, (b, h // 2, 2, w, c))
    x = rows[:, :, 0] + rows[:, :, 1]
    columns = ops.reshape(x, (b, h // 2, w // 2, 2, c))
    return 0.25 * (columns[:, :, :, 0] + columns[:, :, :, 1])


def box_mean(x: Tensor, size: int) -> Tensor:
    """AvgPool between two transposes; its "same" padding does not count."""
    pool = ops.AvgPool(kernel_size=size, strides=1, pad_mode="same")
    return ops.transpose(pool(ops.transpose(x, (0, 3, 1, 2))), (0, 2, 3, 1))


@static
def _to_grid(h: int, w: int) -> Tensor:
    """Factors from pixels (x, y) to grid_sample's [-1, 1]."""
    return constant(np.array([2.0 / max(w - 1, 1), 2.0 / max(h - 1, 1)]))


def sample(x: Tensor, position: Tensor, border: bool = False) -> Tensor:
    """GridSampler2D between two transposes."""
    grid = position * _to_grid(x.shape[1], x.shape[2]) - 1.0
    mode = "border" if border else "zeros"
    y = ops.grid_sample(ops.transpose(x, (0, 3, 1, 2)), grid, "bilinear", mode, True)
    return ops.transpose(y, (0, 2, 3, 1))


def resize_bilinear(x: Tensor, height: int, width: int, align_corners: bool = False) -> Tensor:
    """ResizeBilinearV2 between two transposes."""
    y = ops.interpolate(
        ops.transpose(x, (0, 3, 1, 2)), size=(height, width), mode="bilinear", align_corners=align_corners
    )
    return ops.transpose(y, (0, 2, 3, 1))


@static
def _swapped_rows(batch: int, first: int, second: int) -> Tensor:
    """Rows of ``(batch, first, second, d)`` in the order of ``(batch, second, first, d)``."""
    return constant(np.arange(batch * first * second).reshape(batch, first, second).swapaxes(1, 2).ravel())


def _swap(x: Tensor) -> Tensor:
    """``(a, b, c, d)`` → ``(a, c, b, d)`` as one gather: each Transpose kernel of the CPU keeps eight bytes per value for good."""
    a, b, c, d = x.shape
    return ops.reshape(ops.gather(ops.reshape(x, (a * b * c, d)), _swapped_rows(a, b, c), 0), (a, c, b, d))


def window_attention(qkv: Tensor, heads: int, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """Batched matrix products over (window, head); queries, keys and values are separated by one gather of rows."""
    b, n, c3 = qkv.shape
    d = c3 // (3 * heads)
    split = _narrow(_swap(ops.reshape(qkv, (b, n, 3 * heads, d))))
    q, k, v = split[:, :heads], split[:, heads : 2 * heads], split[:, 2 * heads :]
    scores = _wide(ops.BatchMatMul(transpose_b=True)(q * d**-0.5, k))
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        windows = mask.shape[0]
        scores = ops.reshape(scores, (-1, windows, heads, n, n)) + ops.reshape(mask, (1, windows, 1, n, n))
        scores = ops.reshape(scores, (b, heads, n, n))
    y = _wide(ops.BatchMatMul()(_narrow(ops.softmax(scores, -1)), v))
    return ops.reshape(_swap(y), (b, n, c3 // 3))


_TILE = 4
"""Side of the query tiles of :func:`local_attention` in pixels."""


def _tiles(frames: int, h: int, w: int, reach: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (frame, y, x) of the tiles with ``reach`` pixels more on every side, ``(tiles, count)`` each."""
    ty, tx = np.meshgrid(np.arange(-(-h // _TILE)) * _TILE, np.arange(-(-w // _TILE)) * _TILE, indexing="ij")
    side = np.arange(-reach, _TILE + reach)
    f, y, x = (a.ravel() for a in np.meshgrid(np.arange(frames), side, side, indexing="ij"))
    return np.broadcast_to(f, (ty.size, f.size)), ty.reshape(-1, 1) + y, tx.reshape(-1, 1) + x


def _query_rows(t: int, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the queries in tile order, and which of them are real: a tile may reach over the map's end."""
    f, y, x = _tiles(t, h, w, 0)
    # Queries beyond the end repeat the last pixel and are dropped afterwards.
    return ((f * h + np.minimum(y, h - 1)) * w + np.minimum(x, w - 1)).ravel(), ((y < h) & (x < w)).ravel()


@static
def _tile_queries(t: int, h: int, w: int) -> Tensor:
    """Rows of the queries in tile order."""
    return constant(_query_rows(t, h, w)[0])


@static
def _tile_keys(s: int, h: int, w: int) -> Tensor:
    """Rows of the keys in tile order; row s·h·w is the zero that lies outside the map."""
    f, y, x = _tiles(s, h, w, 1)
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    return constant(np.where(inside, (f * h + y) * w + x, s * h * w).ravel())


def _neighbours(t: int, s: int) -> np.ndarray:
    """Which of the query's 9·s neighbours each key of a tile is, ``(queries, keys)``; 9·s where it is none."""
    (_, y, x), (f, ky, kx) = (tuple(a[0] for a in _tiles(n, _TILE, _TILE, r)) for n, r in ((t, 0), (s, 1)))
    dy, dx = ky - y[:, None] + 1, kx - x[:, None] + 1
    near = (dy >= 0) & (dy < 3) & (dx >= 0) & (dx < 3)
    return np.where(near, (f * 3 + dy) * 3 + dx, 9 * s)


@static
def _tile_mask(t: int, s: int) -> Tensor:
    """0 for the 3x3 pixels around a query in every frame, a large negative number for the tile's other keys."""
    return constant(np.where(_neighbours(t, s) < 9 * s, 0.0, _MASKED))


@static
def _tile_neighbours(t: int, s: int) -> Tensor:
    """:func:`_neighbours` as flat indices into a table of biases; those of the masked keys point anywhere."""
    return constant(np.minimum(_neighbours(t, s), 9 * s - 1).ravel())


@static
def _tile_inverse(t: int, h: int, w: int) -> Tensor:
    """Where each pixel's result lies in tile order."""
    queries, real = _query_rows(t, h, w)
    where = np.empty(t * h * w, np.int64)
    where[queries[real]] = np.flatnonzero(real)
    return constant(where)


def local_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Dense attention inside small tiles, masked to the 3x3 neighbourhoods.

    The 32 queries of a 4x4 tile in both frames share 72 keys, of which each uses 18. That is four times the arithmetic,
    but as batched matrix products: on CPU four times faster than 18 shifted products (and, unlike them, fit for
    Ascend's matrix unit), with a twentieth of the graph nodes to compile.
    """
    b, t, h, w, c = q.shape
    s, d = k.shape[1], c // heads
    zero = ops.zeros((b, 1, c), k.dtype)

    def tokens(x: Tensor, index: Tensor, count: int) -> Tensor:  # (b, rows, c) → (b·tiles, heads, count, d)
        return _narrow(_swap(ops.reshape(ops.gather(x, index, 1), (-1, count, heads, d))))

    queries, keys = t * _TILE * _TILE, s * (_TILE + 2) * (_TILE + 2)
    query = tokens(ops.reshape(q, (b, t * h * w, c)) * d**-0.5, _tile_queries(t, h, w), queries)
    key = tokens(ops.cat((ops.reshape(k, (b, s * h * w, c)), zero), 1), _tile_keys(s, h, w), keys)
    value = tokens(ops.cat((ops.reshape(v, (b, s * h * w, c)), zero), 1), _tile_keys(s, h, w), keys)
    scores = _wide(ops.BatchMatMul(transpose_b=True)(query, key)) + _tile_mask(t, s)
    if bias is not None:
        scores = scores + ops.reshape(ops.gather(bias, _tile_neighbours(t, s), 1), (heads, queries, keys))
    y = _wide(ops.BatchMatMul()(_narrow(ops.softmax(scores, -1)), value))
    y = ops.reshape(_swap(y), (b, -1, c))
    return ops.reshape(ops.gather(y, _tile_inverse(t, h, w), 1), (b, t, h, w, c))


@static
def _neighbourhood(h: int, w: int, axis: int) -> Tensor:
    """Coordinates (axis 0: y, 1: x) of the 3x3 pixels around every pixel, ``(9, h·w)``."""
    grid = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")[axis].reshape(1, -1)
    step = np.meshgrid(np.arange(-1, 2), np.arange(-1, 2), indexing="ij")[axis].reshape(-1, 1)
    return constant((grid + step).astype(np.float32))


def deformable_attention(q: Tensor, k: Tensor, v: Tensor, offset: Tensor, heads: int, groups: int) -> Tensor:
    """GridSampler2D and products with sums, all channel-first, so that the moved keys and values are never transposed."""
    b, t, h, w, c = q.shape
    half, d = groups // 2, c // heads
    # (bt, order, groups, 9, yx, hw)
    offset = ops.transpose(ops.reshape(offset, (b * t, h * w, 2 * groups * 18)), (0, 2, 1))
    offset = ops.reshape(offset, (b * t, 2, groups, 9, 2, h * w))
    y = (offset[:, :, :, :, 0] + _neighbourhood(h, w, 0)) * (2.0 / max(h - 1, 1)) - 1.0
    x = (offset[:, :, :, :, 1] + _neighbourhood(h, w, 1)) * (2.0 / max(w - 1, 1)) - 1.0
    grid = ops.stack((x, y), -1)

    def planes(source: Tensor) -> Tensor:  # (b, t, h, w, c) → (bt, c, hw)
        return ops.transpose(ops.reshape(source, (b * t, h * w, c)), (0, 2, 1))

    def moved(source: Tensor, at: Tensor) -> Tensor:  # → (bt, heads, d, 9, hw)
        maps = ops.reshape(planes(source), (b * t * half, c // half, h, w))
        where = ops.reshape(at, (b * t * half, 9 * h, w, 2))
        return ops.reshape(
            ops.grid_sample(maps, where, "bilinear", "zeros", True), (b * t, heads, d, 9, h * w)
        )

    query = ops.reshape(planes(q) * d**-0.5, (b * t, heads, d, 1, h * w))
    same = (query * moved(k, grid[:, 0, :half])).sum(2)
    other = (query * moved(flip(k, 1), grid[:, 1, :half])).sum(2)
    weights = ops.reshape(ops.softmax(ops.cat((same, other), 2), 2), (b * t, heads, 1, 18, h * w))
    y = (weights[:, :, :, :9] * moved(v, grid[:, 0, half:])).sum(3)
    y = y + (weights[:, :, :, 9:] * moved(flip(v, 1), grid[:, 1, half:])).sum(3)
    return ops.reshape(ops.transpose(ops.reshape(y, (b * t, c, h * w)), (0, 2, 1)), (b, t, h, w, c))


def concat(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Join along ``axis``."""
    return ops.cat(parts, axis)


def chunk(x: Tensor, count: int, axis: int) -> tuple[Tensor, ...]:
    """Cut into ``count`` equal parts along ``axis``."""
    return ops.split(x, x.shape[axis] // count, axis)


def stack(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Join along a new axis."""
    return ops.stack(parts, axis)


@static
def _backwards(count: int) -> Tensor:
    return constant(np.arange(count)[::-1])


def flip(x: Tensor, axis: int) -> Tensor:
    """Reverse along ``axis``, as a gather."""
    return ops.gather(x, _backwards(x.shape[axis]), axis)


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same values in another shape; one size may be -1."""
    return ops.reshape(x, tuple(shape))


def permute(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Reorder the axes."""
    return ops.transpose(x, tuple(axes))


@static
def _padded_index(size: int, count: int) -> Tensor:
    return constant(np.minimum(np.arange(size + count), size - 1))


def pad_end(x: Tensor, axis: int, count: int, replicate: bool = False) -> Tensor:
    """Concatenation with zeros, or a gather of repeated entries; the Pad kernel is slow on CPU."""
    if count == 0:
        return x
    if replicate:
        return ops.gather(x, _padded_index(x.shape[axis], count), axis)
    shape = x.shape
    return ops.cat((x, ops.zeros(shape[:axis] + (count,) + shape[axis + 1 :], x.dtype)), axis)


def take(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """Gather."""
    return ops.gather(x, index, axis)


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of the same shape and type."""
    return ops.zeros_like(x)
