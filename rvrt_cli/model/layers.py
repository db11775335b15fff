"""The building blocks: linear, convolution, normalisation, MLP, Swin layers in window order, RSTBs, upsamplers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rvrt_cli.backend import active as B
from rvrt_cli.imaging.cubic import cubic
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.model.shapes import relative_position_index

Tensor = Any
"""A tensor of the active backend, channel-last."""


class Linear(B.Module):
    """``(..., i)`` → ``(..., o)``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = B.parameter(np.zeros((outputs, inputs), np.float32))
        self.bias = B.parameter(np.zeros(outputs, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return B.linear(x, self.weight, self.bias)


class Conv(B.Module):
    """Zero-padded square convolution on ``(..., h, w, i)``."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (kernel - 1) // 2
        self.groups = groups
        self.weight = B.parameter(np.zeros((outputs, inputs // groups, kernel, kernel), np.float32))
        self.bias = B.parameter(np.zeros(outputs, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return B.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.groups)


class LayerNorm(B.Module):
    """Normalisation over channels."""

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = B.parameter(np.ones(channels, np.float32))
        self.bias = B.parameter(np.zeros(channels, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return B.layer_norm(x, self.weight, self.bias, self.epsilon)


class Mlp(B.Module):
    """Linear, activation, linear."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = int(config.embed_dim * config.mlp_ratio)
        self.fc1 = Linear(config.embed_dim, hidden)
        self.fc2 = Linear(hidden, config.embed_dim)
        self.activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        if self.activation == "gelu":
            x = B.gelu(x)
        elif self.activation == "gelu_tanh":
            x = B.gelu_tanh(x)
        else:
            x = B.leaky_relu(x)
        return self.fc2(x)


def _window_order(
    t: int, h: int, w: int, window: tuple[int, int, int], shift: tuple[int, int, int]
) -> np.ndarray:
    """Raster indices of a ``(t, h, w)`` map in the order of its (cyclically shifted) windows, ``(windows, tokens)``."""
    index = np.roll(np.arange(t * h * w).reshape(t, h, w), tuple(-s for s in shift), (0, 1, 2))
    index = index.reshape(t // window[0], window[0], h // window[1], window[1], w // window[2], window[2])
    return index.transpose(0, 2, 4, 1, 3, 5).reshape(-1, int(np.prod(window)))


def _padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


@B.static
def window_index(t: int, h: int, w: int, wt: int, wh: int, ww: int, shifted: int, previous: int) -> Tensor:
    """Indices that bring tokens from one order into window order.

    ``previous`` -1: from raster order; 0 or 1: from the order of unshifted or shifted windows. ``shifted`` -1: back to raster.
    """
    window = (wt, wh, ww)
    raster = np.arange(t * h * w)
    source = (
        raster if previous < 0 else _window_order(t, h, w, window, shift_of(h, w, wh, ww, previous)).ravel()
    )
    target = (
        raster if shifted < 0 else _window_order(t, h, w, window, shift_of(h, w, wh, ww, shifted)).ravel()
    )
    where = np.empty_like(raster)
    where[source] = raster
    return B.constant(where[target])


def shift_of(h: int, w: int, wh: int, ww: int, shifted: int) -> tuple[int, int, int]:
    """Cyclic shift of a layer: half a window, but none along an axis that is one window long (as Swin does)."""
    return (0, wh // 2 if shifted and h > wh else 0, ww // 2 if shifted and w > ww else 0)


@B.static
def window_mask(t: int, h: int, w: int, wt: int, wh: int, ww: int) -> Tensor:
    """Additive mask of the shifted layer, ``(windows, n, n)`` float32: -100 between tokens that were not neighbours before the shift."""
    _, sy, sx = shift_of(h, w, wh, ww, 1)
    zone = np.zeros((t, h, w), np.int64)
    for size, block, step, axis in ((h, wh, sy, 1), (w, ww, sx, 2)):
        label = np.zeros(size, np.int64)
        if step:
            label[size - block :] = 1
            label[size - step :] = 2
        zone = zone * 3 + np.expand_dims(label, tuple(a for a in range(3) if a != axis))
    zones = zone.ravel()[_window_order(t, h, w, (wt, wh, ww), (0, 0, 0))]
    return B.constant(np.where(zones[:, :, None] == zones[:, None], 0.0, -100.0).astype(np.float32))


@B.static
def valid_tokens(t: int, h: int, w: int, ph: int, pw: int, wt: int, wh: int, ww: int, shifted: int) -> Tensor:
    """1 for real tokens, 0 for padding, in window order: ``(windows, n, 1)`` float32."""
    real = np.zeros((t, ph, pw), np.float32)
    real[:, :h, :w] = 1
    order = _window_order(t, ph, pw, (wt, wh, ww), shift_of(ph, pw, wh, ww, shifted))
    return B.constant(real.ravel()[order][..., None])


@B.static
def position_index(wt: int, wh: int, ww: int) -> Tensor:
    """:func:`relative_position_index`, flat, as a constant."""
    return B.constant(relative_position_index((wt, wh, ww)).ravel())


class WindowAttention(B.Module):
    """Self-attention of the tokens of each window."""

    def __init__(self, channels: int, heads: int, window: tuple[int, int, int], position_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.position_bias = position_bias
        self.qkv = Linear(channels, 3 * channels)
        self.proj = Linear(channels, channels)
        if position_bias:
            rows = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
            self.bias_table = B.parameter(np.zeros((rows, heads), np.float32))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        bias = None
        if self.position_bias:
            n = self.window[0] * self.window[1] * self.window[2]
            index = position_index(self.window[0], self.window[1], self.window[2])
            bias = B.permute(B.reshape(B.take(self.bias_table, index, 0), (n, n, self.heads)), (2, 0, 1))
        return self.proj(B.window_attention(self.qkv(x), self.heads, bias, mask))


class SwinLayer(B.Module):
    """Window attention and MLP, both residual, on tokens that are already in window order: ``(b, n, c)``."""

    def __init__(self, config: ModelConfig, window: tuple[int, int, int]) -> None:
        super().__init__()
        channels = config.embed_dim
        self.norm1 = LayerNorm(channels, config.norm_epsilon)
        self.attn = WindowAttention(channels, config.num_heads, window, config.position_bias)
        self.norm2 = LayerNorm(channels, config.norm_epsilon)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, mask: Tensor | None, valid: Tensor | None) -> Tensor:
        y = self.norm1(x)
        if valid is not None:
            # Padding enters the attention as zeros, as in the published network.
            count, n, c = y.shape
            y = B.reshape(B.reshape(y, (-1, valid.shape[0], n, c)) * valid, (count, n, c))
        x = x + self.attn(y, mask)
        return x + self.mlp(self.norm2(x))


class RSTB(B.Module):
    """Residual Swin Transformer block on ``(n, t, h, w, c)`` (SwinIR, arXiv 2108.10257).

    Tokens stay in window order between the layers: one gather per change of order instead of roll, partition and
    their inverses around each layer.
    """

    def __init__(self, config: ModelConfig, window: tuple[int, int, int]) -> None:
        super().__init__()
        self.window = window
        self.layers = B.ModuleList([SwinLayer(config, window) for _ in range(config.depth)])
        self.block_conv = config.block_conv
        if config.block_conv:
            self.conv = Conv(config.embed_dim, config.embed_dim)
        else:
            self.linear = Linear(config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        n, t, h, w, c = x.shape
        wt, wh, ww = self.window
        ph, pw = _padded(h, wh), _padded(w, ww)
        padded = ph != h or pw != w
        y = x
        if padded:
            y = B.pad_end(B.pad_end(y, 2, ph - h), 3, pw - w)
        y = B.reshape(y, (n, t * ph * pw, c))
        previous = -1
        shifts = ph > wh or pw > ww
        depth = 0
        for layer in self.layers:
            shifted = 1 if depth % 2 == 1 and shifts else 0
            if shifted != previous:
                y = B.reshape(y, (n, t * ph * pw, c))
                y = B.take(y, window_index(t, ph, pw, wt, wh, ww, shifted, previous), 1)
                y = B.reshape(y, (-1, wt * wh * ww, c))
            mask = None
            if shifted:
                mask = window_mask(t, ph, pw, wt, wh, ww)
            valid = None
            if padded:
                valid = valid_tokens(t, h, w, ph, pw, wt, wh, ww, shifted)
            y = layer(y, mask, valid)
            previous = shifted
            depth += 1
        y = B.take(B.reshape(y, (n, t * ph * pw, c)), window_index(t, ph, pw, wt, wh, ww, -1, previous), 1)
        y = B.reshape(y, (n, t, ph, pw, c))
        if padded:
            y = y[:, :, :h, :w]
        if self.block_conv:
            y = self.conv(y)
        else:
            y = self.linear(y)
        return x + y


class Stage(B.Module):
    """Input convolution and RSTBs, each followed by a normalisation: shallow extraction, each pass and reconstruction."""

    def __init__(
        self,
        config: ModelConfig,
        inputs: int,
        blocks: int,
        window: tuple[int, int, int],
        groups: int,
        reduction: int = 1,
    ) -> None:
        """``reduction`` 2: the input convolution halves the size, as a 3x3 one on blocks of 2x2 pixels does."""
        super().__init__()
        self.normalised = config.stage_norm
        self.conv = Conv(inputs, config.embed_dim, 3 * reduction, reduction, groups)
        if self.normalised:
            self.norm_in = LayerNorm(config.embed_dim, config.norm_epsilon)
        self.blocks = B.ModuleList([RSTB(config, window) for _ in range(blocks)])
        if self.normalised:
            self.norm_out = LayerNorm(config.embed_dim, config.norm_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.normalised:
            x = self.norm_in(x)
        for block in self.blocks:
            x = block(x)
        if self.normalised:
            x = self.norm_out(x)
        return x


class DownsampleEntry(B.Module):
    """Two stride-2 convolutions that bring a full-size input of a x1 model to a quarter of its size."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.first = Conv(config.in_channels, config.embed_dim, stride=2)
        self.second = Conv(config.embed_dim, config.embed_dim, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return B.leaky_relu(self.second(B.leaky_relu(self.first(x))))


class FullUpsampler(B.Module):
    """``(..., h, w, c)`` → ``(..., 4h, 4w, 3)`` through two pixel-shuffle stages at 64 channels."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.reduce = Conv(config.embed_dim, 64, kernel=1)
        self.up = B.ModuleList([Conv(64, 256), Conv(64, 256)])
        self.conv = Conv(64, 64)
        self.last = Conv(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = B.leaky_relu(self.reduce(x))
        for stage in self.up:
            x = B.leaky_relu(B.pixel_shuffle(stage(x), 2))
        return self.last(self.conv(x))


class DirectUpsampler(B.Module):
    """``(..., h, w, c)`` → ``(..., e·h, e·w, 3)`` (e: ``config.enlargement``) by one convolution and pixel shuffle, so nothing runs at full size."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.enlargement = config.enlargement
        self.last = Conv(config.embed_dim, 3 * config.enlargement**2)

    def forward(self, x: Tensor) -> Tensor:
        return B.pixel_shuffle(self.last(x), self.enlargement)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0.0)


@B.static
def enlarge_kernel(bicubic: int, upscale: int, reduction: int) -> Tensor:
    """Weights ``(3·e·e, 3, k, k)`` of a convolution whose pixel shuffle by e is the enlargement of an RGB image.

    Its stride is ``reduction``, and e is ``upscale`` times that.
    """
    reach = 2 if bicubic else 1
    taps = np.arange(-reach, reach + reduction)
    count = upscale * reduction
    phases = (np.arange(count) + 0.5) / upscale - 0.5
    distance = phases[:, None] - taps[None]
    line = cubic(distance) if bicubic else _triangle(distance)
    kernel = np.zeros((3, count, count, 3, taps.size, taps.size), np.float32)
    for channel in range(3):
        kernel[channel, :, :, channel] = np.einsum("pk,ql->pqkl", line, line)
    return B.constant(kernel.reshape(3 * count**2, 3, taps.size, taps.size))


@B.static
def symmetric_index(size: int, reach: int) -> Tensor:
    """Indices that extend an axis by ``reach`` mirrored entries (edge repeated) at both ends; Matlab's border rule."""
    index = np.arange(-reach, size + reach)
    index = np.where(index < 0, -1 - index, index)
    return B.constant(np.clip(np.where(index >= size, 2 * size - 1 - index, index), 0, size - 1))


@B.static
def zero_bias(count: int) -> Tensor:
    """``count`` zeros: the bias of a fixed convolution."""
    return B.constant(np.zeros(count, np.float32))


def enlarge_phases(x: Tensor, kind: str, upscale: int, reduction: int) -> Tensor:
    """The ``bilinear`` (half-pixel) or ``bicubic`` (Matlab) enlargement of ``(..., h, w, 3)`` before its pixel shuffle.

    → ``(..., h/reduction, w/reduction, 3·e·e)``; e, by which the pixel shuffle goes, is ``upscale`` times ``reduction``.
    """
    reach = 2 if kind == "bicubic" else 1
    axis = len(x.shape) - 3
    x = B.take(x, symmetric_index(x.shape[axis], reach), axis)
    x = B.take(x, symmetric_index(x.shape[axis + 1], reach), axis + 1)
    kernel = enlarge_kernel(1 if kind == "bicubic" else 0, upscale, reduction)
    return B.conv2d(x, kernel, zero_bias(3 * (upscale * reduction) ** 2), reduction, 0, 1)
