"""Names, shapes and indices of a network's parameters, from its configuration alone: no framework, no backend choice.

The weight readers match files against this table before any network exists. ``tests/unit/backend`` holds it to the
parameters that the network itself makes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rvrt_cli.model.config import CLIP_SIZE, ModelConfig

Shape = tuple[int, ...]

FLOW_WIDTHS = (8, 32, 64, 32, 16, 2)
FLOW_LEVELS = 6
"""Pyramid levels of SPyNet; frames are resized to a multiple of 2**5. Each has 7x7 convolutions of :data:`FLOW_WIDTHS`."""


def parameter_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Canonical parameter name → shape, in the order in which the network declares them."""
    return dict(_network(config))


def relative_position_index(window: tuple[int, int, int]) -> np.ndarray:
    """Rows of the bias table for each pair of tokens of a window, ``(n, n)`` int64 (Video Swin Transformer, arXiv 2106.13230)."""
    place = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij"), -1).reshape(-1, 3)
    difference = place[:, None] - place[None] + np.array(window) - 1
    return difference @ np.array([(2 * window[1] - 1) * (2 * window[2] - 1), 2 * window[2] - 1, 1])


def _layer(name: str, *weight: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def _mlp(name: str, config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    hidden = int(config.embed_dim * config.mlp_ratio)
    yield from _layer(f"{name}.fc1", hidden, config.embed_dim)
    yield from _layer(f"{name}.fc2", config.embed_dim, hidden)


def _stage(
    name: str, config: ModelConfig, inputs: int, blocks: int, frames: int, groups: int, reduction: int = 1
) -> Iterator[tuple[str, Shape]]:
    c = config.embed_dim
    yield from _layer(f"{name}.conv", c, inputs // groups, 3 * reduction, 3 * reduction)
    if config.stage_norm:
        yield from _layer(f"{name}.norm_in", c)
    for block in range(blocks):
        for index in range(config.depth):
            layer = f"{name}.blocks.{block}.layers.{index}"
            yield from _layer(f"{layer}.norm1", c)
            if config.position_bias:
                rows = (2 * frames - 1) * (2 * config.window[1] - 1) * (2 * config.window[2] - 1)
                yield f"{layer}.attn.bias_table", (rows, config.num_heads)
            yield from _layer(f"{layer}.attn.qkv", 3 * c, c)
            yield from _layer(f"{layer}.attn.proj", c, c)
            yield from _layer(f"{layer}.norm2", c)
            yield from _mlp(f"{layer}.mlp", config)
        if config.block_conv:
            yield from _layer(f"{name}.blocks.{block}.conv", c, c, 3, 3)
        else:
            yield from _layer(f"{name}.blocks.{block}.linear", c, c)
    if config.stage_norm:
        yield from _layer(f"{name}.norm_out", c)


def _alignment(name: str, config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    c, a = config.embed_dim, config.align_dim
    if config.alignment == "guided":
        yield from _layer(f"{name}.offset.0", 64, 3 * c + 2 * CLIP_SIZE, 1, 1)
        for index in range(1, 5):
            yield from _layer(f"{name}.offset.{index}", 64, 64, 3, 3)
        yield from _layer(f"{name}.offset.5", CLIP_SIZE * config.deformable_groups * 9 * 2, 64, 1, 1)
    if config.alignment == "warped":
        yield f"{name}.position", (config.align_heads, 9 * CLIP_SIZE)
    for part in "qkv":
        yield from _layer(f"{name}.{part}", a, c)
    yield from _layer(f"{name}.proj", c, a)
    yield from _mlp(f"{name}.mlp", config)


def _network(config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    c = config.embed_dim
    if config.alignment == "guided":
        for level in range(FLOW_LEVELS):
            for index in range(len(FLOW_WIDTHS) - 1):
                yield from _layer(
                    f"flow.levels.{level}.convs.{index}", FLOW_WIDTHS[index + 1], FLOW_WIDTHS[index], 7, 7
                )
    if config.upscale == 1:
        yield from _layer("entry.first", c, config.in_channels, 3, 3)
        yield from _layer("entry.second", c, c, 3, 3)
    inputs, reduction = (c, 1) if config.upscale == 1 else (config.in_channels, config.reduction)
    yield from _stage("shallow", config, inputs, config.num_blocks[0], 1, config.conv_groups[0], reduction)
    intra_clip = 1 if config.alignment == "warped" else 0
    for index in range(config.passes):
        yield from _alignment(f"passes.{index}.align", config)
        yield from _stage(
            f"passes.{index}.refine", config, (2 + index + intra_clip) * c, config.num_blocks[1], config.window[0],
            config.conv_groups[index + 1],
        )  # fmt: skip
    stages = (1 + config.passes) * c
    yield from _stage("reconstruction", config, stages, config.num_blocks[2], 1, config.conv_groups[5])
    if config.upsampler == "direct":
        yield from _layer("upsampler.last", 3 * config.enlargement**2, c, 3, 3)
    else:
        yield from _layer("upsampler.reduce", 64, c, 1, 1)
        yield from _layer("upsampler.up.0", 256, 64, 3, 3)
        yield from _layer("upsampler.up.1", 256, 64, 3, 3)
        yield from _layer("upsampler.conv", 64, 64, 3, 3)
        yield from _layer("upsampler.last", 3, 64, 3, 3)
