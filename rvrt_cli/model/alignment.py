"""Clip-to-clip alignment: guided deformable attention (RVRT) and plain 3x3 attention over the clip (Light)."""

from __future__ import annotations

from typing import Any

from rvrt_cli.backend import active as B
from rvrt_cli.model.config import CLIP_SIZE, ModelConfig
from rvrt_cli.model.flow import warp
from rvrt_cli.model.layers import Conv, Linear, Mlp

Tensor = Any


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
        warped_same = self._warp(value, flow_same)
        warped_other = self._warp(B.flip(value, 1), flow_other)
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

    def _warp(self, x: Tensor, flow: Tensor) -> Tensor:
        n, t, h, w, c = x.shape
        return B.reshape(
            warp(B.reshape(x, (n * t, h, w, c)), B.reshape(flow, (n * t, h, w, 2))), (n, t, h, w, c)
        )
