"""Optical flow between neighbouring frames (SPyNet, arXiv 1611.00850), warping, and composition of flows."""

from __future__ import annotations

from typing import Any

import numpy as np

from rvrt_cli.backend import active as B
from rvrt_cli.model.layers import Conv
from rvrt_cli.model.shapes import FLOW_LEVELS, FLOW_WIDTHS

Tensor = Any


@B.static
def pixel_grid(h: int, w: int) -> Tensor:
    """Pixel positions ``(1, h, w, 2)`` float32 in (x, y) order."""
    y, x = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    return B.constant(np.stack([x, y], -1)[None].astype(np.float32))


@B.static
def image_statistics(part: int) -> Tensor:
    """Mean (0) and standard deviation (1) of ImageNet's RGB, with which SPyNet was trained."""
    values = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    return B.constant(np.array(values[part], np.float32))


@B.static
def flow_scale(sx: int, sy: int, unit: int) -> Tensor:
    """Factors (x, y) for a flow whose map is resized, given in 1/unit."""
    return B.constant(np.array([sx / unit, sy / unit], np.float32))


def warp(x: Tensor, flow: Tensor, border: bool = False) -> Tensor:
    """Backward warping: sample ``x (b, h, w, c)`` at each pixel plus ``flow (b, h, w, 2)``, in pixels, (x, y) order."""
    return B.sample(x, pixel_grid(x.shape[1], x.shape[2]) + flow, border)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The flow that applies ``second`` and then, where it leads, ``first``: ``(b, h, w, 2)`` each."""
    return second + warp(first, second)


class FlowLevel(B.Module):
    """Five 7x7 convolutions that predict the residual flow of one pyramid level from 8 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = B.ModuleList(
            [Conv(FLOW_WIDTHS[i], FLOW_WIDTHS[i + 1], kernel=7) for i in range(len(FLOW_WIDTHS) - 1)]
        )

    def forward(self, x: Tensor) -> Tensor:
        i = 0
        for conv in self.convs:
            x = conv(x)
            if i < 4:
                x = B.relu(x)
            i += 1
        return x


class SPyNet(B.Module):
    """Flow from ``reference`` to ``other`` in pixels, (x, y) order: ``(b, h, w, 3)`` each → ``(b, h, w, 2)``."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = B.ModuleList([FlowLevel() for _ in range(FLOW_LEVELS)])

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        h, w = reference.shape[1], reference.shape[2]
        ph, pw = -(-h // 32) * 32, -(-w // 32) * 32
        references = [self._prepare(reference, ph, pw)]
        others = [self._prepare(other, ph, pw)]
        for _ in range(FLOW_LEVELS - 1):
            references.append(B.avg_pool2(references[-1]))
            others.append(B.avg_pool2(others[-1]))
        # The coarsest flow starts at zero. (The published code enlarges a zero flow of half the size, which fails
        # below 33 px; the result is the same.)
        flow = B.zeros_like(references[FLOW_LEVELS - 1][:, :, :, :2])
        i = FLOW_LEVELS - 1
        for level in self.levels:
            if i < FLOW_LEVELS - 1:
                flow = B.resize_bilinear(flow, ph // 2**i, pw // 2**i, True) * 2.0
            parts = [references[i], warp(others[i], flow, True), flow]
            flow = flow + level(B.concat(parts, 3))
            i -= 1
        if ph == h and pw == w:
            return flow
        return B.resize_bilinear(flow, h, w) * flow_scale(w * ph, h * pw, pw * ph)

    def _prepare(self, x: Tensor, h: int, w: int) -> Tensor:
        x = (x - image_statistics(0)) / image_statistics(1)
        if x.shape[1] != h or x.shape[2] != w:
            x = B.resize_bilinear(x, h, w)
        return x


def quarter_size(x: Tensor) -> Tensor:
    """Bicubic (a = -0.75, no antialiasing) reduction of ``(b, h, w, c)`` to a quarter; h and w are multiples of 4.

    At exactly 1/4 with half-pixel centres every sample falls midway between pixels, so the four taps are the same
    everywhere. This is what ``torch.nn.functional.interpolate(mode="bicubic")`` computes.
    """
    b, h, w, c = x.shape
    outer, inner = -0.09375, 0.59375
    x = B.reshape(x, (b, h // 4, 4, w, c))
    x = outer * (x[:, :, 0] + x[:, :, 3]) + inner * (x[:, :, 1] + x[:, :, 2])
    x = B.reshape(x, (b, h // 4, w // 4, 4, c))
    return outer * (x[:, :, :, 0] + x[:, :, :, 3]) + inner * (x[:, :, :, 1] + x[:, :, :, 2])
