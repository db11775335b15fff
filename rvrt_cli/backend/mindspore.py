"""The primitives in MindSpore 2.8: training and inference in PyNative and graph mode on CPU; written for Ascend and GPU too, untested there.

Shapes and meaning of every primitive are documented in :mod:`rvrt_cli.backend.torch`; here the docstrings say how
MindSpore computes it, and why so. Facts about its CPU kernels that shaped these files (measured, MindSpore 2.8.0): mint
operators, Roll and Conv2DExt are not registered; Pad and transposes of five or more axes cost ten times a copy, gathers
and concatenations little more than one; each Transpose in a graph keeps an index of eight bytes per value for good; Tanh is off by up to 1e-4, Sigmoid
by 1e-6; GeLU costs six times the same formula written with Sigmoid.

Here are structure, layers and pictures; ``mindspore_tensor`` says where and how precisely they are computed,
``mindspore_layout`` and ``mindspore_attention`` have the other primitives, which a backend must hold under its own name, too.
"""

# ruff: noqa: RUF005 - shapes are joined by +, which graph mode is known to compile
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from rvrt_cli.backend.mindspore_attention import deformable_attention as deformable_attention
from rvrt_cli.backend.mindspore_attention import local_attention as local_attention
from rvrt_cli.backend.mindspore_attention import window_attention as window_attention
from rvrt_cli.backend.mindspore_layout import chunk as chunk
from rvrt_cli.backend.mindspore_layout import concat as concat
from rvrt_cli.backend.mindspore_layout import flip as flip
from rvrt_cli.backend.mindspore_layout import pad_end as pad_end
from rvrt_cli.backend.mindspore_layout import permute as permute
from rvrt_cli.backend.mindspore_layout import reshape as reshape
from rvrt_cli.backend.mindspore_layout import stack as stack
from rvrt_cli.backend.mindspore_layout import take as take
from rvrt_cli.backend.mindspore_layout import zeros_like as zeros_like
from rvrt_cli.backend.mindspore_tensor import constant as constant
from rvrt_cli.backend.mindspore_tensor import from_numpy as from_numpy
from rvrt_cli.backend.mindspore_tensor import narrow, on_cpu, wide
from rvrt_cli.backend.mindspore_tensor import set_device as set_device
from rvrt_cli.backend.mindspore_tensor import set_mode as set_mode
from rvrt_cli.backend.mindspore_tensor import set_precision as set_precision
from rvrt_cli.backend.mindspore_tensor import static as static
from rvrt_cli.backend.mindspore_tensor import to_numpy as to_numpy
from rvrt_cli.errors import WeightsError


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
    :func:`rvrt_cli.inference.memory.translate_engine_errors` puts them into words.
    """
    if model.training:
        model.set_train(False)
    return to_numpy(model(from_numpy(x)))


def run_step(step: nn.Cell, inputs: Sequence[Any], half: Sequence[bool]) -> list[Tensor]:
    """A step of a network on arrays and results of other steps → its results, in float16 where ``half`` says so.

    Each step compiles when it first runs with inputs of a shape.
    """
    values = [from_numpy(x) if isinstance(x, np.ndarray) else ops.cast(x, ms.float32) for x in inputs]
    made = step(*values)
    made = made if isinstance(made, tuple) else (made,)
    return [ops.cast(y, ms.float16) if narrowed else y for y, narrowed in zip(made, half, strict=True)]


class Module(nn.Cell):
    """Base of all layers; subclasses define ``forward``."""

    def construct(self, *inputs: Any) -> Any:
        return self.forward(*inputs)


class ModuleList(nn.CellList):
    """A list of layers whose parameters are named by index."""


def parameter(array: np.ndarray) -> ms.Parameter:
    """A trainable tensor with the values of ``array`` (float32)."""
    return ms.Parameter(Tensor(np.ascontiguousarray(array, np.float32)))


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One matrix product over all tokens."""
    shape = x.shape
    y = wide(ops.MatMul(transpose_b=True)(narrow(ops.reshape(x, (-1, shape[-1]))), narrow(weight)))
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
    if on_cpu() and kh == 3 and kw == 3 and stride == 1 and padding == 1 and groups == 1:
        return _conv3x3(x, weight, bias)
    shape = x.shape
    h, w, c = shape[-3], shape[-2], shape[-1]
    y = ops.transpose(ops.reshape(x, (-1, h, w, c)), (0, 3, 1, 2))
    convolution = ops.Conv2D(o, (kh, kw), pad_mode="pad", pad=padding, stride=stride, group=groups)
    y = wide(convolution(narrow(y), narrow(weight)))
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
    joined = narrow(ops.cat((lines[:, :reach], lines[:, 1 : 1 + reach], lines[:, 2 : 2 + reach]), 2))
    kernel = narrow(ops.transpose(weight, (2, 0, 3, 1)))
    product = ops.MatMul(transpose_b=True)
    y = product(ops.reshape(joined[:, :count], (-1, 3 * i)), ops.reshape(kernel[0], (o, 3 * i)))
    y = y + product(
        ops.reshape(joined[:, row : row + count], (-1, 3 * i)), ops.reshape(kernel[1], (o, 3 * i))
    )
    y = y + product(ops.reshape(joined[:, 2 * row :], (-1, 3 * i)), ops.reshape(kernel[2], (o, 3 * i)))
    y = ops.reshape(ops.BiasAdd()(wide(y), bias), (n, h, row, o))[:, :, :w]
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
