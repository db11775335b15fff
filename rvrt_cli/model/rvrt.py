"""The network: shallow features → recurrent passes over 2-frame clips → reconstruction (RVRT paper, section 3)."""

from __future__ import annotations

from typing import Any

from rvrt_cli.backend import active as B
from rvrt_cli.model.alignment import GuidedAlignment, LocalAlignment, WarpedAlignment, warp_clip
from rvrt_cli.model.config import CLIP_SIZE, ModelConfig
from rvrt_cli.model.flow import SPyNet, compose, quarter_size
from rvrt_cli.model.layers import DirectUpsampler, DownsampleEntry, FullUpsampler, Stage, enlarge_phases
from rvrt_cli.model.lucas_kanade import LucasKanade

Tensor = Any


ALIGNMENTS: dict[str, Any] = {"guided": GuidedAlignment, "local": LocalAlignment, "warped": WarpedAlignment}
"""Modules by :attr:`ModelConfig.alignment`."""


class Pass(B.Module):
    """One recurrent pass, always forward in time: the caller reverses the frames of a backward pass.

    Each clip is refined from the features of all earlier stages and from the previous clip's result, aligned to it.
    """

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.uses_flow = config.uses_flow
        self.intra_clip = config.alignment == "warped"
        self.align = ALIGNMENTS[config.alignment](config)
        self.refine = Stage(
            config,
            (2 + index + (1 if self.intra_clip else 0)) * config.embed_dim,
            config.num_blocks[1],
            config.window,
            config.conv_groups[index + 1],
        )

    def forward(
        self, clips: list[list[Tensor]], flows: list[Tensor], ahead: list[Tensor], refined: list[Tensor]
    ) -> tuple[list, list]:
        """Refine a sequence of clips: :meth:`update` of each, with what :meth:`reach` brings from the one before.

        ``clips[i]`` holds the features of clip i from each earlier stage, ``(n, 2, h, w, c)`` each, oldest stage first.
        ``flows`` (unless the alignment is local): from frame i+1 to frame i, ``(n, h, w, 2)`` each, and ``ahead`` from frame i
        to frame i+1; ``refined``: the flows that the first pass in this direction returned, or an empty list. → features
        per clip, refined flows (two per clip but the first).
        """
        out = []
        new_flows = []
        propagated = B.zeros_like(clips[0][0])
        for i in range(len(clips)):
            if i > 0:
                query = clips[i][-1]
                key = clips[i - 1][-1]
                if self.uses_flow:
                    if len(refined) > 0:
                        same, other = refined[2 * i - 2], refined[2 * i - 1]
                    else:
                        same, other = clip_flows(flows[2 * i - 2], flows[2 * i - 1], flows[2 * i])
                    propagated, same, other = self.align(query, key, propagated, same, other)
                    new_flows.append(same)
                    new_flows.append(other)
                else:
                    propagated = self.align(query, key, propagated)
            inside = []
            if self.intra_clip:
                inside = [ahead[2 * i], flows[2 * i]]
            propagated = self.update(clips[i], propagated, inside)
            out.append(propagated)
        return out, new_flows

    def update(self, stages: list[Tensor], aligned: Tensor, inside: list[Tensor]) -> Tensor:
        """One clip: its features of each earlier stage and the previous clip's result, aligned to it → its result.

        ``(n, 2, h, w, c)`` each. ``inside``: for ``warped`` alignment the flows of its two frames to each other, ``(n, h, w, 2)``.
        """
        inputs = stages + [aligned]  # noqa: RUF005 - MindSpore compiles this function, and it knows no stars
        if self.intra_clip:
            # A frame's nearest neighbour may be the other one of its own clip, which alignment does not see.
            inputs.append(warp_clip(B.flip(stages[-1], 1), B.stack(inside, 1), True))
        return aligned + self.refine(B.concat(inputs, 4))


def clip_flows(flow_10: Tensor, flow_21: Tensor, flow_32: Tensor) -> tuple[Tensor, Tensor]:
    """Flows from a clip (frames 2, 3) to frames (0, 1) and to frames (1, 0) of the previous one, from those between neighbours.

    ``flow_ij`` leads from frame i to frame j, ``(n, h, w, 2)``. → two of ``(n, 2, h, w, 2)``.
    """
    flow_20 = compose(flow_10, flow_21)
    flow_31 = compose(flow_21, flow_32)
    flow_30 = compose(flow_20, flow_32)
    return B.stack([flow_20, flow_31], 1), B.stack([flow_21, flow_30], 1)


class RVRT(B.Module):
    """RVRT or RVRT Light: ``(n, t, h, w, c_in)`` in [0, 1] → ``(n, t, s·h, s·w, 3)``, not clipped.

    t is even; h and w are at least ``config.min_size`` and multiples of ``config.reduction``. Sizes that are no multiple of
    the attention window are padded inside as in the published network.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.upscale = config.upscale
        self.reduction = config.reduction
        self.uses_flow = config.uses_flow
        self.skip = config.skip
        self.direct = config.upsampler == "direct"
        if self.uses_flow:
            self.flow = SPyNet() if config.alignment == "guided" else LucasKanade()
        if config.upscale == 1:
            self.entry = DownsampleEntry(config)
        frame_window = (1, config.window[1], config.window[2])
        inputs, reduction = config.in_channels, config.reduction
        if config.upscale == 1:
            inputs, reduction = config.embed_dim, 1  # the entry has reduced it
        self.shallow = Stage(
            config, inputs, config.num_blocks[0], frame_window, config.conv_groups[0], reduction
        )
        self.passes = B.ModuleList([Pass(config, index) for index in range(config.passes)])
        stages = (1 + config.passes) * config.embed_dim
        self.reconstruction = Stage(config, stages, config.num_blocks[2], frame_window, config.conv_groups[5])
        self.upsampler = DirectUpsampler(config) if self.direct else FullUpsampler(config)

    def forward(self, lq: Tensor) -> Tensor:
        t = lq.shape[1]
        rgb = lq[:, :, :, :, :3]
        shallow = self.features(lq)
        backward_flows: list[Tensor] = []
        forward_flows: list[Tensor] = []
        reverse_backward: list[Tensor] = []
        reverse_forward: list[Tensor] = []
        if self.uses_flow:
            backward_flows, forward_flows = self.flows(rgb)
            reverse_backward, reverse_forward = backward_flows[::-1], forward_flows[::-1]
        clips = [[clip] for clip in B.chunk(shallow, t // CLIP_SIZE, 1)]
        refined_backward: list[Tensor] = []
        refined_forward: list[Tensor] = []
        index = 0
        for recurrent in self.passes:
            if index % 2 == 0:
                # A backward pass is a forward pass over reversed time.
                reverse = [[B.flip(x, 1) for x in stages] for stages in clips[::-1]]
                out, refined_backward = recurrent(
                    reverse, reverse_backward, reverse_forward, refined_backward
                )
                out = [B.flip(x, 1) for x in out[::-1]]
            else:
                out, refined_forward = recurrent(clips, forward_flows, backward_flows, refined_forward)
            clips = [clips[i] + [out[i]] for i in range(len(out))]
            index += 1
        return self.reconstruct(B.concat([B.concat(stages, 4) for stages in clips], 1), rgb)

    def features(self, lq: Tensor) -> Tensor:
        """Shallow features of frames, each by itself: ``(n, t, h, w, c_in)`` → ``(n, t, h', w', c)``."""
        small = self.entry(lq) if self.upscale == 1 else lq
        return self.shallow(small)

    def reconstruct(self, stages: Tensor, rgb: Tensor) -> Tensor:
        """Full-size frames, each by itself, from their features of all stages ``(n, t, h', w', stages·c)`` and ``rgb (n, t, h, w, 3)``."""
        return self.enlarge(self.reconstruction(stages), rgb)

    def flows(self, rgb: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Flows at feature size between neighbouring frames.

        → (backward: from frame i to i+1, forward: from frame i+1 to i), each a list of t-1 maps ``(n, h, w, 2)``.
        """
        n, t, h, w, c = rgb.shape
        if self.upscale == 1:
            rgb = B.reshape(quarter_size(B.reshape(rgb, (n * t, h, w, c))), (n, t, h // 4, w // 4, c))
            h, w = h // 4, w // 4
        elif self.reduction == 2:
            rgb = B.reshape(B.avg_pool2(B.reshape(rgb, (n * t, h, w, c))), (n, t, h // 2, w // 2, c))
            h, w = h // 2, w // 2
        earlier = B.reshape(rgb[:, :-1], (n * (t - 1), h, w, c))
        later = B.reshape(rgb[:, 1:], (n * (t - 1), h, w, c))
        backward = B.reshape(self.flow(earlier, later), (n, t - 1, h, w, 2))
        forward = B.reshape(self.flow(later, earlier), (n, t - 1, h, w, 2))
        return [backward[:, i] for i in range(t - 1)], [forward[:, i] for i in range(t - 1)]

    def enlarge(self, features: Tensor, rgb: Tensor) -> Tensor:
        """Full-size frames from the reconstruction's features and the input's enlargement."""
        if self.upscale == 1:
            return self.upsampler(features) + rgb
        base = enlarge_phases(rgb, self.skip, self.upscale, self.reduction)
        enlargement = self.upscale * self.reduction
        if self.direct:
            return B.pixel_shuffle(self.upsampler.last(features) + base, enlargement)
        return self.upsampler(features) + B.pixel_shuffle(base, enlargement)
