"""The primitives in PyTorch: training and inference on NVIDIA cards and CPUs (CUDA path untested where the README says so).

This file is also the reference for shapes; the other backends define the same functions. ``x`` is float32 (or the
autocast type) and channel-last unless said otherwise; sizes are in pixels or tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_device = torch.device("cpu")
_IMAGES = 16
"""See :func:`linear`."""


def set_device(device: str) -> None:
    """Put parameters and constants made from now on onto ``device`` ("cpu", "cuda:0")."""
    global _device
    _device = torch.device(device)


class Module(torch.nn.Module):
    """Base of all layers; subclasses define ``forward``."""


class ModuleList(torch.nn.ModuleList):
    """A list of layers whose parameters are named by index."""


def parameter(array: np.ndarray) -> torch.nn.Parameter:
    """A trainable tensor with the values of ``array`` (float32)."""
    return torch.nn.Parameter(torch.tensor(array, dtype=torch.float32, device=_device))


def static(function: Any) -> Any:
    """Decorate a function of plain numbers that returns :func:`constant` values; it runs once per set of arguments."""
    cached = functools.lru_cache(maxsize=256)(lambda device, *args: function(*args))
    return functools.wraps(function)(lambda *args: cached(_device, *args))


def constant(array: np.ndarray) -> Tensor:
    """A fixed tensor on the backend's device; integer arrays become indices."""
    # Not torch.tensor: torch.compile traces an array as a tensor and would warn of a copy at every constant.
    return torch.from_numpy(array.copy()).to(_device)


def from_numpy(array: np.ndarray) -> Tensor:
    """An input tensor on the backend's device."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(_device)


def to_numpy(x: Tensor) -> np.ndarray:
    """The values of ``x`` as float32 on the host."""
    return x.detach().float().cpu().numpy()


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x (..., i)``, ``weight (o, i)``, ``bias (o,)`` → ``(..., o)``.

    On CPUs a 1x1 convolution of 16 images: PyTorch gives those to oneDNN, which is twice as fast on AMD's processors as the
    MKL behind its matrix products (measured: 190 against 95 GFLOP/s on one core).
    """
    tokens = x.numel() // x.shape[-1]
    if x.device.type != "cpu" or tokens % _IMAGES:
        return F.linear(x, weight, bias)
    images = x.reshape(_IMAGES, 1, tokens // _IMAGES, x.shape[-1]).permute(0, 3, 1, 2)
    return F.conv2d(images, weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Normalise over the last axis."""
    return F.layer_norm(x, weight.shape, weight, bias, epsilon)


def gelu(x: Tensor) -> Tensor:
    """Exact GELU (with erf)."""
    return F.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation."""
    return F.gelu(x, approximate="tanh")


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return F.relu(x)


def leaky_relu(x: Tensor) -> Tensor:
    """x where positive, 0.1 x elsewhere."""
    return F.leaky_relu(x, 0.1)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(x)


def clamp(x: Tensor, bound: float) -> Tensor:
    """x limited to [-bound, bound]."""
    return torch.clamp(x, -bound, bound)


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, padding: int = 1, groups: int = 1
) -> Tensor:
    """``x (..., h, w, i)``, ``weight (o, i/groups, kh, kw)``, zero padding → ``(..., h', w', o)``."""
    lead = x.shape[:-3]
    y = F.conv2d(x.reshape(-1, *x.shape[-3:]).permute(0, 3, 1, 2), weight, bias, stride, padding, 1, groups)
    y = y.permute(0, 2, 3, 1)
    return y.reshape(*lead, *y.shape[1:])


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """``(..., h, w, c·f·f)`` → ``(..., h·f, w·f, c)`` with PyTorch's channel order (c, fy, fx)."""
    *lead, h, w, c = x.shape
    y = x.reshape(-1, h, w, c // factor**2, factor, factor).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(*lead, h * factor, w * factor, c // factor**2)


def avg_pool2(x: Tensor) -> Tensor:
    """Mean of 2x2 pixels: ``(b, h, w, c)`` → ``(b, h/2, w/2, c)``; h and w are even."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def box_mean(x: Tensor, size: int) -> Tensor:
    """Mean of the ``size`` x ``size`` pixels around each one (``size`` odd); those outside of ``x (b, h, w, c)`` do not count."""
    y = F.avg_pool2d(x.permute(0, 3, 1, 2), size, 1, size // 2, count_include_pad=False)
    return y.permute(0, 2, 3, 1)


def sample(x: Tensor, position: Tensor, border: bool = False) -> Tensor:
    """Bilinear samples of ``x (b, h, w, c)`` at ``position (b, h', w', 2)``, in pixels, (x, y) order → ``(b, h', w', c)``.

    Outside the map lie zeros, or with ``border`` the nearest pixel. Equals grid_sample with align_corners.
    """
    h, w = x.shape[1:3]
    size = torch.tensor([max(w - 1, 1), max(h - 1, 1)], dtype=position.dtype, device=position.device)
    y = F.grid_sample(
        x.permute(0, 3, 1, 2),
        position * (2.0 / size) - 1.0,
        "bilinear",
        "border" if border else "zeros",
        align_corners=True,
    )
    return y.permute(0, 2, 3, 1)


def resize_bilinear(x: Tensor, height: int, width: int, align_corners: bool = False) -> Tensor:
    """Bilinear resize of ``(b, h, w, c)`` without antialiasing, half-pixel centres unless ``align_corners``."""
    y = F.interpolate(x.permute(0, 3, 1, 2), (height, width), mode="bilinear", align_corners=align_corners)
    return y.permute(0, 2, 3, 1)


def window_attention(qkv: Tensor, heads: int, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """Multi-head self-attention inside windows.

    ``qkv (b, n, 3c)`` holds queries, keys, values of ``n`` tokens per window; ``bias (heads, n, n)`` is added to
    the scaled products, and so is ``mask (windows, n, n)``, where ``b`` is a multiple of ``windows``. → ``(b, n, c)``.
    """
    b, n, c3 = qkv.shape
    q, k, v = qkv.reshape(b, n, 3, heads, c3 // (3 * heads)).permute(2, 0, 3, 1, 4)
    extra = None
    if mask is not None:
        extra = mask[None, :, None].expand(b // mask.shape[0], -1, -1, -1, -1).reshape(b, 1, n, n)
    if bias is not None:
        extra = bias[None] if extra is None else extra + bias[None]
    if extra is not None:
        extra = extra.to(q.dtype)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=extra)
    return y.permute(0, 2, 1, 3).reshape(b, n, c3 // 3)


def local_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Each query pixel attends to the 3x3 pixels around it in every source frame (RVRT Light: both of the other clip).

    ``q (b, t, h, w, c)``, ``k, v (b, s, h, w, c)`` → ``(b, t, h, w, c)``. ``bias (heads, 9·s)`` is added to the scaled
    products, by source frame, row, column. Outside the map keys and values are zero (and still take part in the softmax,
    as in the published network).
    """
    b, t, h, w, c = q.shape
    d = c // heads

    def planes(x: Tensor) -> Tensor:
        return x.permute(0, 1, 4, 2, 3).reshape(b, x.shape[1], heads, d, h, w)

    def padded(x: Tensor) -> Tensor:  # two more zeros at the end: the last shifted run reaches there
        return F.pad(F.pad(planes(x), (1, 1, 1, 1)).reshape(b, -1, heads, d, (h + 2) * (w + 2)), (0, 2))

    # Rows as long as those of the padded maps turn a shift of the map into an offset into one long run of numbers.
    query = F.pad(planes(q) * d**-0.5, (0, 2)).reshape(b, t, heads, d, h * (w + 2))
    if bias is None:
        bias = query.new_zeros(heads, 9 * k.shape[1])
    y = _ShiftedAttention.apply(query, padded(k), padded(v), bias, w + 2)
    return y.reshape(b, t, c, h, w + 2)[..., :w].permute(0, 1, 3, 4, 2)


class _ShiftedAttention(torch.autograd.Function):
    """Attention of ``q (b, t, heads, d, n)`` to 3x3 shifts of flat maps ``k, v (b, s, heads, d, m)`` whose rows are ``pitch`` long.

    ``bias (heads, 9·s)``. Differentiated by hand: autograd would write a zero-filled map for each of the 36 shifts (4
    times slower on CPU).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, pitch: int) -> Tensor:
        shifts = _shifts(k, pitch)
        scores = torch.stack([(q * _run(k, q, shift)).sum(3) for shift in shifts])
        scores += bias.t()[:, None, None, :, None]
        weights = torch.softmax(scores, 0).to(q.dtype)
        total = torch.zeros_like(q)
        for weight, shift in zip(weights, shifts, strict=True):
            total.addcmul_(weight.unsqueeze(3), _run(v, q, shift))
        ctx.save_for_backward(q, k, v, weights)
        ctx.pitch = pitch
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        shifts = _shifts(k, ctx.pitch)
        grad = grad.contiguous()
        grad_q, grad_k, grad_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        grad_weights = torch.stack([(grad * _run(v, q, shift)).sum(3) for shift in shifts])
        grad_scores = weights * (grad_weights - (weights * grad_weights).sum(0))
        for i, shift in enumerate(shifts):
            weight, score = weights[i].unsqueeze(3), grad_scores[i].unsqueeze(3)
            grad_q.addcmul_(score, _run(k, q, shift))
            for frame in range(q.shape[1]):  # all query frames look at the same source frame
                _run(grad_v, q, shift)[:, 0].addcmul_(weight[:, frame], grad[:, frame])
                _run(grad_k, q, shift)[:, 0].addcmul_(score[:, frame], q[:, frame])
        return grad_q, grad_k, grad_v, grad_scores.sum((1, 2, 4)).t(), None


def _shifts(k: Tensor, pitch: int) -> list[tuple[int, int]]:
    """(source frame, offset) of the 3x3 neighbours in each frame."""
    return [(frame, dy * pitch + dx) for frame in range(k.shape[1]) for dy in range(3) for dx in range(3)]


def _run(x: Tensor, q: Tensor, shift: tuple[int, int]) -> Tensor:
    """The part of a flat map that lies under the queries after a shift, ``(b, 1, heads, d, n)``."""
    frame, offset = shift
    return x[:, frame : frame + 1, :, :, offset : offset + q.shape[-1]]


def deformable_attention(q: Tensor, k: Tensor, v: Tensor, offset: Tensor, heads: int, groups: int) -> Tensor:
    """Guided deformable attention over 2 frames × 3x3 moved positions (RVRT paper, section 3.3).

    ``q, k, v (b, 2, h, w, c)``; ``offset (b, 2, h, w, 2, groups, 9, 2)``: for each query frame first the offsets
    into the frame of the same index, then into the other one, as (y, x) pixels around the 3x3 grid. The first half of
    the groups moves channel groups of the keys, the second half those of the values. → ``(b, 2, h, w, c)``.
    """
    b, t, h, w, c = q.shape
    half, d = groups // 2, c // heads
    gy, gx = torch.meshgrid(torch.arange(h, device=q.device), torch.arange(w, device=q.device), indexing="ij")
    ky, kx = torch.meshgrid(
        torch.arange(-1, 2, device=q.device), torch.arange(-1, 2, device=q.device), indexing="ij"
    )
    base = torch.stack([gx, gy], -1)[:, :, None] + torch.stack([kx, ky], -1).reshape(9, 2)
    position = offset.flip(-1) + base[:, :, None, None].to(offset.dtype)

    def moved(x: Tensor, at: Tensor) -> Tensor:  # → (b·t·half, h, w, 9, d') for one source frame order
        maps = (
            x.reshape(b * t, h, w, half, c // half)
            .permute(0, 3, 1, 2, 4)
            .reshape(b * t * half, h, w, c // half)
        )
        where = at.permute(0, 1, 4, 2, 3, 5, 6).reshape(b * t * half, h, w * 9, 2)
        y = sample(maps, where).reshape(b * t, half, h, w, 9, c // half)
        return y.permute(0, 2, 3, 4, 1, 5).reshape(b * t, h, w, 9, c)

    keys, values = [], []
    for order in range(2):
        source_k, source_v = (k, v) if order == 0 else (k.flip(1), v.flip(1))
        keys.append(moved(source_k, position[:, :, :, :, order, :half]))
        values.append(moved(source_v, position[:, :, :, :, order, half:]))
    key = torch.cat(keys, 3).reshape(b * t, h, w, 18, heads, d)
    value = torch.cat(values, 3).reshape(b * t, h, w, 18, heads, d)
    query = q.reshape(b * t, h, w, 1, heads, d) * d**-0.5
    weights = torch.softmax((query * key).sum(-1, keepdim=True), 3)
    return (weights * value).sum(3).reshape(b, t, h, w, c)


def concat(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Join along ``axis``."""
    return torch.cat(list(parts), axis)


def chunk(x: Tensor, count: int, axis: int) -> list[Tensor]:
    """Cut into ``count`` equal parts along ``axis``."""
    return list(torch.chunk(x, count, axis))


def stack(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Join along a new axis."""
    return torch.stack(list(parts), axis)


def flip(x: Tensor, axis: int) -> Tensor:
    """Reverse along ``axis``."""
    return torch.flip(x, (axis,))


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same values in another shape; one size may be -1."""
    return x.reshape(tuple(shape))


def permute(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Reorder the axes."""
    return x.permute(tuple(axes))


def pad_end(x: Tensor, axis: int, count: int, replicate: bool = False) -> Tensor:
    """Append ``count`` zero entries (or copies of the last one) along ``axis``."""
    if count == 0:
        return x
    last = x.narrow(axis, x.shape[axis] - 1, 1)
    shape = list(x.shape)
    shape[axis] = count
    return torch.cat([x, last.expand(shape) if replicate else last.new_zeros(shape)], axis)


def take(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """Gather entries of ``x`` along ``axis`` in the order of ``index`` (1-D)."""
    return torch.index_select(x, axis, index)


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of the same shape and type."""
    return torch.zeros_like(x)
