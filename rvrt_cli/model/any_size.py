"""A network with its padding inside, for graphs that other programs feed with frames of any size and number."""

from __future__ import annotations

from typing import Any

import numpy as np

from rvrt_cli.backend import active as B
from rvrt_cli.model.config import CLIP_SIZE, ModelConfig
from rvrt_cli.model.rvrt import RVRT

Tensor = Any


@B.static
def mirrored_index(size: int, padded: int) -> Tensor:
    """Indices that extend an axis of ``size`` entries at its end to ``padded`` by mirroring, as often as needed."""
    return B.constant(np.pad(np.arange(size), (0, padded - size), "reflect"))


@B.static
def repeated_index(size: int, padded: int) -> Tensor:
    """Indices that extend an axis of ``size`` entries at its end to ``padded`` by repeating the last one."""
    return B.constant(np.minimum(np.arange(padded), size - 1))


class AnySize(B.Module):
    """``(n, t, h, w, c)`` in [0, 1] → ``(n, t, s·h, s·w, 3)``, not clipped, for any t, h, w from 1 up.

    What the network cannot take is padded and cut off again: an odd number of frames by repeating the last one, sides
    below ``config.min_size`` or no multiple of ``config.reduction`` by mirroring.
    """

    def __init__(self, network: RVRT, config: ModelConfig) -> None:
        super().__init__()
        self.network = network
        self.scale = config.upscale
        self.smallest = config.min_size
        self.multiple = config.reduction

    def forward(self, lq: Tensor) -> Tensor:
        _, t, h, w, _ = lq.shape
        frames = -(-t // CLIP_SIZE) * CLIP_SIZE
        height = max(-(-h // self.multiple) * self.multiple, self.smallest)
        width = max(-(-w // self.multiple) * self.multiple, self.smallest)
        if frames != t:
            lq = B.take(lq, repeated_index(t, frames), 1)
        if height != h:
            lq = B.take(lq, mirrored_index(h, height), 2)
        if width != w:
            lq = B.take(lq, mirrored_index(w, width), 3)
        sr = self.network(lq)
        if frames != t:
            sr = sr[:, :t]
        if height != h or width != w:
            sr = sr[:, :, : h * self.scale, : w * self.scale]
        return sr
