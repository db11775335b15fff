"""Clip-to-clip alignment: guided deformable attention (RVRT), plain 3x3 attention over the clip (Light), and the same after warping."""

from __future__ import annotations

from typing import Any

import numpy as np

from rvrt_cli.backend import active as B
from rvrt_cli.model.config import CLIP_SIZE, ModelConfig
from rvrt_cli.model.flow import warp
from rvrt_cli.model.layers import Conv, Linear, Mlp

Tensor = Any


def warp_clip(x: Tensor, flow: Tensor, border: bool = False) -> Tensor:
    """:func:`rvrt_cli.model.flow.warp` for each frame of a clip: ``(n, t, h, w, c)`` and ``(n, t, h, w, 2)``."""
    n, t, h, w, c = x.shape
    y = warp(B.reshape(x, (n * t, h, w, c)), B.reshape(flow, (n * t, h, w, 2)), border)
    return B.reshape(y, (n, t, h, w, c))


class LocalAlignment(B.Module):
    """RVRT Light: attention of each pixel to the 3x3 pixels around it in both frames of the neighbouring clip."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.align_heads
        self.q = Linear(config.embed_dim, config.align_dim)
        self.k = Linear(config.embed_dim, config.align_dim)
        self.v = Linear(config.embed_dim, config.align_dim)
        self.proj = Linear(config.align_dim, config.embed_dim)
        self.mlp = Mlp(config)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """``query`` (this clip), ``key`` and ``value`` (the neighbouring one): ``(n, 2, h, w, c)`` each → the same."""
        x = self.proj(B.local_attention(self.q(query), self.k(key), self.v(value), self.heads))
        return x + self.mlp(x)


class WarpedAlignment(LocalAlignment):
    """Light's attention, to the pixels that a flow leads to: what :class:`LocalAlignment` is for still or slow films.

    A learned bias per head and neighbour begins with the pixel to which the flow leads, so that the first training steps
    see aligned frames and not an average of 18 pixels.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.position = B.parameter(np.zeros((config.align_heads, 9 * CLIP_SIZE), np.float32))

    def forward(  # type: ignore[override] # flows come and go as with GuidedAlignment
        self, query: Tensor, key: Tensor, value: Tensor, flow_same: Tensor, flow_other: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Arguments and result as :meth:`GuidedAlignment.forward`; the flows are returned as they came."""
        n, t, h, w, c = query.shape
        both = B.concat([self.k(key), self.v(value)], 4)
        same = warp_clip(both, flow_same, True)
        other = warp_clip(B.flip(both, 1), flow_other, True)
        # Each query frame has its own two source frames: the one of its index, then the other one.
        sources = B.reshape(B.stack([same, other], 2), (n * t, CLIP_SIZE, h, w, both.shape[4]))
        keys, values = B.chunk(sources, 2, 4)
        q = self.q(query)
        q = B.reshape(q, (n * t, 1, h, w, q.shape[4]))
        x = B.local_attention(q, keys, values, self.heads, self.position)
        x = self.proj(B.reshape(x, (n, t, h, w, x.shape[4])))
        return x + self.mlp(x), flow_same, flow_other


class GuidedAlignment(B.Module):
    """Guided deformable attention (RVRT paper, section 3.3): flows give the positions, learned offsets refine them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.align_heads
        self.groups = config.deformable_groups
        self.max_residue = config.max_residue
        offsets = CLIP_SIZE * config.deformable_groups * 9 * 2
        self.offset = B.ModuleList(
            [Conv(3 * config.embed_dim + 2 * CLIP_SIZE, 64, kernel=1)]
            + [Conv(64, 64) for _ in range(4)]
            + [Conv(64, offsets, kernel=1)]
        )
        self.q = Linear(config.embed_dim, config.align_dim)
        self.k = Linear(config.embed_dim, config.align_dim)
        self.v = Linear(config.embed_dim, config.align_dim)
        self.proj = Linear(config.align_dim, config.embed_dim)
        self.mlp = Mlp(config)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, flow_same: Tensor, flow_other: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Align ``value`` (features of the neighbouring clip so far) to this clip.

        ``query, key, value (n, 2, h, w, c)``; ``flow_same``/``flow_other (n, 2, h, w, 2)``: from each frame of this clip
        to the frame of the same/the other index in the neighbouring one, in pixels, (x, y). → aligned features and
        the two flows refined by the mean offset.
        """
        n, t, h, w, c = query.shape
        warped_same = warp_clip(value, flow_same)
        warped_other = warp_clip(B.flip(value, 1), flow_other)
        x = B.concat([query, warped_same, warped_other, flow_same, flow_other], 4)
        i = 0
        for conv in self.offset:
            x = conv(x)
            if i < 5:
                x = B.leaky_relu(x)
            i += 1
        residue = self.max_residue * B.tanh(x)
        residue = B.reshape(residue, (n, t, h, w, CLIP_SIZE, self.groups, 9, 2))
        flows = B.flip(B.stack([flow_same, flow_other], 4), 5)  # (x, y) → (y, x)
        offset = residue + B.reshape(flows, (n, t, h, w, CLIP_SIZE, 1, 1, 2))
        x = B.deformable_attention(self.q(query), self.k(key), self.v(value), offset, self.heads, self.groups)
        x = self.proj(x)
        mean = B.flip(offset.mean((5, 6)), 5)
        return x + self.mlp(x), mean[:, :, :, :, 0], mean[:, :, :, :, 1]
