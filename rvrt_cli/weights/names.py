"""Published weight files in our names: explicit tables, the preset a file belongs to, and the comparison with it.

Two naming schemes exist. The official PyTorch files (github.com/JingyunLiang/RVRT) name layers by their place in Python lists;
the MindSpore checkpoints (github.com/mindspore-lab/mindediting) keep those names but call a normalisation's parameters
``gamma`` and ``beta``. Our names (the left column) are those of ``rvrt_cli.model.rvrt.RVRT``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rvrt_cli.errors import WeightsError
from rvrt_cli.model.config import PRESETS, ModelConfig
from rvrt_cli.model.shapes import FLOW_LEVELS, FLOW_WIDTHS, parameter_shapes, relative_position_index

PYTORCH = "official PyTorch"
MINDSPORE = "MindSpore"

STAGE_ROWS = (("conv", "1"), ("norm_in", "3"), ("norm_out", "7"))
LAYER_ROWS = (
    ("norm1", "norm1"),
    ("attn.qkv", "attn.qkv_self"),
    ("attn.proj", "attn.proj"),
    ("norm2", "norm2"),
    ("mlp.fc1", "mlp.fc1"),
    ("mlp.fc2", "mlp.fc2"),
)
ALIGN_ROWS = (
    ("q", "proj_q.1"),
    ("k", "proj_k.1"),
    ("v", "proj_v.1"),
    ("proj", "proj.1"),
    ("mlp.fc1", "mlp.1.fc1"),
    ("mlp.fc2", "mlp.1.fc2"),
)
ENTRY_ROWS = (("entry.first", "feat_extract.1"), ("entry.second", "feat_extract.3"))
UPSAMPLER_ROWS = (
    ("upsampler.reduce", "conv_before_upsampler.0"),
    ("upsampler.up.0", "upsampler.0"),
    ("upsampler.up.1", "upsampler.5"),
    ("upsampler.conv", "upsampler.10"),
    ("upsampler.last", "conv_last"),
)
OFFSET_CONVS = 6
NORMS = ("norm1", "norm2", "norm_in", "norm_out")

IMAGE_STATISTICS = {"spynet.mean": (0.485, 0.456, 0.406), "spynet.std": (0.229, 0.224, 0.225)}
"""ImageNet's mean and standard deviation of RGB, which SPyNet's files carry along."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a published file: its shape there and what it becomes.

    ``canonical``: our name, or None for what is not stored: a constant with these ``values``, or (values None) a cache that
    MindSpore keeps of the bias table for training on Ascend and that inference does not read.
    """

    shape: tuple[int, ...]
    canonical: str | None
    values: np.ndarray | None = None


def _module_rows(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """(our name, official name) of every layer with parameters."""
    if config.alignment == "guided":
        for level in range(FLOW_LEVELS):
            for i in range(len(FLOW_WIDTHS) - 1):
                yield f"flow.levels.{level}.convs.{i}", f"spynet.basic_module.{level}.basic_module.{2 * i}"
    if config.upscale == 1:
        yield from ENTRY_ROWS
    for ours, theirs, blocks, _ in _stages(config):
        for row in STAGE_ROWS:
            yield f"{ours}.{row[0]}", f"{theirs}.{row[1]}"
        for block in range(blocks):
            for layer in range(config.depth):
                for row in LAYER_ROWS:
                    yield (
                        f"{ours}.blocks.{block}.layers.{layer}.{row[0]}",
                        f"{theirs}.5.{block}.residual_group.blocks.{layer}.{row[1]}",
                    )
            yield f"{ours}.blocks.{block}.linear", f"{theirs}.5.{block}.linear"
    for index, name in enumerate(config.pass_names):
        if config.alignment == "guided":
            for i in range(OFFSET_CONVS):
                yield f"passes.{index}.align.offset.{i}", f"deform_align.{name}.conv_offset.{2 * i}"
        for row in ALIGN_ROWS:
            yield f"passes.{index}.align.{row[0]}", f"deform_align.{name}.{row[1]}"
    yield from UPSAMPLER_ROWS


def _stages(config: ModelConfig) -> Iterator[tuple[str, str, int, tuple[int, int, int]]]:
    """(our prefix, official prefix, blocks, attention window) of each chain of RSTBs."""
    frame = (1, config.window[1], config.window[2])
    yield (
        "shallow",
        "feat_extract.6.main" if config.upscale == 1 else "feat_extract.main",
        config.num_blocks[0],
        frame,
    )
    for index, name in enumerate(config.pass_names):
        yield f"passes.{index}.refine", f"backbone.{name}.main", config.num_blocks[1], config.window
    yield "reconstruction", "reconstruction.main", config.num_blocks[2], frame


def published_tensors(config: ModelConfig, scheme: str) -> dict[str, Tensor]:
    """Every tensor of a published file of this configuration, by the file's own names.

    ``scheme``: :data:`PYTORCH` or :data:`MINDSPORE`. Errors: :class:`WeightsError` when the architecture was never published.
    """
    shapes = parameter_shapes(config)
    table: dict[str, Tensor] = {}
    for ours, theirs in _module_rows(config):
        is_norm = ours.rsplit(".", 1)[-1] in NORMS
        if f"{ours}.weight" not in shapes:
            raise WeightsError(
                f"does not match a published architecture: {describe(config)} has no layer {theirs!r}"
            )
        for part in ("weight", "bias"):
            shape = shapes.pop(f"{ours}.{part}")
            if len(shape) == 4 and not ours.startswith("flow."):
                shape = (*shape[:2], 1, *shape[2:])  # published as 3-d convolutions over one frame
            renamed = {"weight": "gamma", "bias": "beta"}[part] if is_norm and scheme == MINDSPORE else part
            table[f"{theirs}.{renamed}"] = Tensor(shape, f"{ours}.{part}")
    if config.position_bias:
        for ours, theirs, blocks, window in _stages(config):
            index = relative_position_index(window)
            for block in range(blocks):
                for layer in range(config.depth):
                    table_name = f"{ours}.blocks.{block}.layers.{layer}.attn.bias_table"
                    prefix = f"{theirs}.5.{block}.residual_group.blocks.{layer}.attn.relative_position"
                    table[f"{prefix}_bias_table"] = Tensor(shapes.pop(table_name), table_name)
                    table[f"{prefix}_index"] = Tensor(index.shape, None, index)
                    if scheme == MINDSPORE:
                        table[f"{prefix}_bias"] = Tensor((*index.shape, config.num_heads), None)
    if config.alignment == "guided":
        for name, values in IMAGE_STATISTICS.items():
            table[name] = Tensor((1, 3, 1, 1), None, np.array(values, np.float32).reshape(1, 3, 1, 1))
    if shapes:
        raise WeightsError(
            f"does not match a published architecture: {next(iter(shapes))!r} of {describe(config)} has no name there"
        )
    return table


def differences(config: ModelConfig, preset: str) -> dict[str, Any]:
    """The settings in which a configuration differs from a preset, with its own values."""
    return {
        key: getattr(config, key)
        for key, value in vars(PRESETS[preset]).items()
        if getattr(config, key) != value
    }


def related(config: ModelConfig, preset: str) -> bool:
    """Whether a configuration does what a preset does: the same scale and input, RVRT or Light alike."""

    def kind(network: ModelConfig) -> tuple[int, int, bool]:
        return network.upscale, network.in_channels, network.alignment == "guided"

    return kind(config) == kind(PRESETS[preset])


def nearest_preset(config: ModelConfig) -> str:
    """The related preset with the fewest differences."""
    return min(PRESETS, key=lambda name: (not related(config, name), len(differences(config, name))))


def describe(config: ModelConfig) -> str:
    """The nearest preset's name, with the settings that differ from it, e.g. ``rvrt (embed_dim 24)``."""
    name = nearest_preset(config)
    details = ", ".join(f"{key} {value}" for key, value in differences(config, name).items())
    return f"{name} ({details})" if details else name


def detect(tensors: dict[str, np.ndarray]) -> tuple[ModelConfig, str]:
    """The configuration and naming scheme that a published file's names and shapes belong to.

    The preset follows from the presence of the downsampling entry, of SPyNet and of a fourth input channel; the width from
    the first convolution. Everything else is compared by :func:`canonical_tensors`.
    """
    scheme = MINDSPORE if any(name.endswith(".gamma") for name in tensors) else PYTORCH
    small_input = "feat_extract.1.weight" in tensors
    first = tensors.get("feat_extract.1.weight" if small_input else "feat_extract.main.1.weight")
    if first is None or first.ndim != 5:
        some = ", ".join(sorted(tensors)[:3])
        raise WeightsError(
            f"holds no RVRT: the first convolution feat_extract.main.1.weight is missing (it has {some or 'nothing'})"
        )
    if small_input:
        preset = "denoise" if first.shape[1] == 4 else "deblur"
    else:
        guided = any(name.startswith("spynet.") or ".conv_offset." in name for name in tensors)
        preset = "rvrt" if guided else "light"
    config = PRESETS[preset]
    if scheme == MINDSPORE:
        config = replace(config, **mindspore_arithmetic())
    if first.shape[0] != config.embed_dim:
        try:
            config = replace(config, embed_dim=int(first.shape[0]))
        except WeightsError as error:
            raise WeightsError(
                f"does not match preset {preset!r}: its width of {first.shape[0]} channels is impossible"
            ) from error
    return config, scheme


def mindspore_arithmetic() -> dict[str, Any]:
    """Settings in which MindSpore's layers, by their defaults, differ from PyTorch's: nn.GELU and nn.LayerNorm."""
    return {"activation": "gelu_tanh", "norm_epsilon": 1e-7}


def canonical_tensors(
    tensors: dict[str, np.ndarray], config: ModelConfig, scheme: str
) -> dict[str, np.ndarray]:
    """A published file's tensors under our names and in our shapes, each checked.

    Errors: :class:`WeightsError` that names a missing, extra or misshapen tensor and the preset (the end of a sentence).
    """
    expected = published_tensors(config, scheme)
    compare(tensors, {name: tensor.shape for name, tensor in expected.items()}, config)
    shapes = parameter_shapes(config)
    result: dict[str, np.ndarray] = {}
    for name, tensor in expected.items():
        if tensor.canonical is not None:
            result[tensor.canonical] = tensors[name].reshape(shapes[tensor.canonical])
        elif tensor.values is not None and not np.allclose(tensors[name], tensor.values, rtol=0, atol=1e-6):
            raise WeightsError(
                f"does not match preset {describe(config)}: the constant {name!r} has other values"
            )
    return {name: result[name] for name in shapes}


def compare(
    tensors: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]], config: ModelConfig
) -> None:
    """Refuse tensors that are missing, extra, misshapen or of an integer type where ``expected`` gives names and shapes."""
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    misshapen = [name for name, shape in expected.items() if name in tensors and tensors[name].shape != shape]
    faults = []
    if missing:
        faults.append(f"tensor {missing[0]!r} is missing{_more(missing)}")
    if extra:
        faults.append(f"tensor {extra[0][:120]!r} is not part of it{_more(extra)}")
    if misshapen:
        name = misshapen[0]
        faults.append(
            f"tensor {name!r} has shape {tensors[name].shape} instead of {expected[name]}{_more(misshapen)}"
        )
    if faults:
        raise WeightsError(f"does not match preset {describe(config)}: {'; '.join(faults)}")


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
