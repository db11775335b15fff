"""What a run will cost, computed from its configuration before anything is built: ``--dry-run``."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from rvrt_cli.model.config import CLIP_SIZE, ModelConfig
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.train.recipe import Recipe, Stage

_BACKWARD = 3.0
"""A training step over a forward pass: the backward pass costs two more."""
_NEIGHBOURS = 9 * CLIP_SIZE
_FLOW_PAIRS = 2
"""Flows per frame: to the one before and to the one after."""


@dataclass(frozen=True)
class StagePlan:
    """One stage: its shape, what a step computes and what a device must hold."""

    stage: Stage
    frames: int
    """Seen by the network, after mirroring."""
    lq_px: int
    step_flops: float
    memory_mib: float
    """Estimated: weights, gradients, Adam, average, and the activations that the backward pass needs."""


@dataclass(frozen=True)
class Plan:
    """A run on paper."""

    parameters: int
    forward_flops_per_px: float
    """FLOPs (two per multiply-add) per LQ pixel of one frame."""
    stages: tuple[StagePlan, ...]
    steps: int
    clips: int
    """Clips of the first stage's length that the training data holds without sharing a frame."""
    steps_per_epoch: float
    """Steps of the first stage in which as many clips are drawn."""


def plan_training(config: ModelConfig, recipe: Recipe, clips: int, world: int = 1) -> Plan:
    """Estimate a run on ``world`` devices; ``clips``: see :attr:`Plan.clips`."""
    shapes = parameter_shapes(config)
    parameters = sum(prod(shape) for shape in shapes.values())
    macs = forward_macs_per_px(config)
    state_mib = parameters * 4 * (5 if recipe.ema else 4) / 2**20
    stages = []
    for stage in recipe.stages:
        frames = recipe.frames_of(stage)
        lq_px = stage.patch_gt_px // config.upscale
        pixels = stage.batch * frames * lq_px**2
        held = pixels / world / recipe.accumulate * activation_floats_per_px(config, recipe.recompute)
        bytes_each = 4 if recipe.precision == "fp32" else 2.5  # normalisations and sums stay in float32
        flops = 2 * macs * pixels * (_BACKWARD + (1.0 if recipe.recompute else 0.0))
        stages.append(StagePlan(stage, frames, lq_px, flops, state_mib + held * bytes_each / 2**20))
    return Plan(
        parameters,
        2 * macs,
        tuple(stages),
        recipe.steps,
        clips,
        clips / recipe.stages[0].batch,
    )


def forward_macs_per_px(config: ModelConfig) -> float:
    """Multiply-adds per LQ pixel of one frame: every weight is used once per pixel of the size at which its layer runs.

    Layers run at the size of the features, ``config.reduction`` times smaller than the input along each axis.
    """
    total = 0.0
    for name, shape in parameter_shapes(config).items():
        if len(shape) < 2 or not name.endswith("weight"):
            continue
        total += prod(shape) * _pixels_per_px(name, config)
    c, (wt, wh, ww) = config.embed_dim, config.window
    layers = config.depth * config.num_blocks[1] * config.passes
    frame_layers = config.depth * (config.num_blocks[0] + config.num_blocks[2])
    total += 2 * c * (layers * wt * wh * ww + frame_layers * wh * ww)
    total += config.passes * 2 * _NEIGHBOURS * config.align_dim
    taps = (4 if config.skip == "bicubic" else 2) + config.reduction
    total += 3 * config.enlargement**2 * 3 * taps**2
    return total / config.reduction**2


def _pixels_per_px(name: str, config: ModelConfig) -> float:
    """Pixels at which a layer runs, per feature pixel."""
    if name.startswith("flow.levels."):
        return _FLOW_PAIRS / 4.0 ** (5 - int(name.split(".")[2]))
    if name.startswith("upsampler.up.1"):
        return 4.0
    if name.startswith(("upsampler.conv", "upsampler.last")) and config.upsampler == "full":
        return 16.0
    return 1.0


def activation_floats_per_px(config: ModelConfig, recompute: bool = False) -> float:
    """Numbers that the backward pass needs per LQ pixel of one frame (PyTorch; checked against it in the tests).

    A Swin layer keeps its input, both normalised inputs, queries, keys, values, the attention's output (as it is and
    in the order of tokens) and the MLP's two hidden maps; a position bias that learns makes PyTorch keep the attention's
    weights as well. With ``recompute`` a stage keeps its input only, and one stage is computed at a time. The first clip
    of a pass is not aligned, so that short sequences need a little less.
    """
    c, d = config.embed_dim, config.align_dim
    layer = 9.0 * c + 2.0 * config.mlp_ratio * c
    if config.position_bias:
        layer += config.num_heads * prod(config.window)
    intra_clip = 1 if config.alignment == "warped" else 0
    inputs = (
        [3 * config.reduction**2]
        + [(2 + index + intra_clip) * c for index in range(config.passes)]
        + [(1 + config.passes) * c]
    )
    blocks = [config.num_blocks[0]] + [config.num_blocks[1]] * config.passes + [config.num_blocks[2]]
    norms = 2.0 * c if config.stage_norm else 0.0
    bodies = [norms + count * (config.depth * layer + c) for count in blocks]
    held = sum(inputs) + (max(bodies) if recompute else sum(bodies))
    scores = float(_NEIGHBOURS * config.align_heads)
    if config.alignment == "local":
        align = 5.0 * d + 7.0 * c + scores
    elif config.alignment == "warped":  # keys and values before and after warping, from two frames each
        align = 10.0 * d + 5.0 * c + scores
    else:
        offsets = CLIP_SIZE * config.deformable_groups * 9 * 2
        align = 7.0 * c + 5 * 64 + 8.0 * offsets + 2.0 * _NEIGHBOURS * d
    held += config.passes * align
    if config.upsampler == "full":
        held += 2 * 64 + 3 * 256 + 2 * 4 * 256 + 2 * 16 * 64
    return (held + c + 3 * config.enlargement**2 * 3) / config.reduction**2
