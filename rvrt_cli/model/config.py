"""The shape of a network as data: :class:`ModelConfig` and the named presets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from rvrt_cli.errors import WeightsError

PASS_NAMES = ("backward_1", "forward_1", "backward_2", "forward_2")
"""The recurrent passes in the order in which they run (RVRT paper, section 3.1)."""

CLIP_SIZE = 2
"""Frames that are updated together. The published networks, and so the alignment code, use 2."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that determines the tensors and the arithmetic of a network.

    Sizes are in channels, tokens or LQ pixels; names follow the paper (arXiv 2206.02146) where it has one.
    """

    upscale: int = 4
    """Output size over input size: 4 (super-resolution) or 1 (deblurring, denoising)."""
    in_channels: int = 3
    """3 for RGB, 4 when the last channel holds the noise level sigma in [0, 1]."""
    embed_dim: int = 144
    num_blocks: tuple[int, int, int] = (1, 2, 1)
    """RSTBs in the shallow extraction, in each pass, in the reconstruction."""
    depth: int = 2
    """Swin layers per RSTB."""
    num_heads: int = 6
    window: tuple[int, int, int] = (2, 8, 8)
    """Attention window (frames, height, width); shallow extraction and reconstruction use one frame."""
    mlp_ratio: float = 2.0
    position_bias: bool = True
    """Whether window attention has a learned relative position bias."""
    passes: int = 4
    """How many of :data:`PASS_NAMES` run."""
    alignment: str = "guided"
    """``guided``: guided deformable attention with SPyNet flows (RVRT); ``local``: 3x3 attention over the clip (Light);
    ``warped``: the same where Lucas-Kanade flows lead, and the other frame of the clip beside each frame."""
    align_heads: int = 12
    align_ratio: float = 2.0
    """Channels of the alignment's queries, keys and values over ``embed_dim``."""
    deformable_groups: int = 12
    max_residue: float = 10.0
    """Bound of the learned offset around the flow, in feature pixels."""
    conv_groups: tuple[int, ...] = (1, 1, 1, 1, 1, 1)
    """Groups of the input convolutions: shallow extraction, each pass, reconstruction."""
    upsampler: str = "full"
    """``full``: two pixel-shuffle x2 stages at 64 channels; ``direct``: one convolution and pixel shuffle x4."""
    skip: str = "bilinear"
    """What the network's output is added to: the ``bilinear`` or ``bicubic`` enlargement of the input."""
    activation: str = "gelu"
    """Of the MLPs: ``gelu`` (exact), ``gelu_tanh`` (its approximation, MindSpore's default) or ``leaky_relu``."""
    norm_epsilon: float = 1e-5
    """Of the layer normalisations (1e-7 is MindSpore's default)."""
    stage_norm: bool = True
    """Normalise the features after each stage's input convolution and at its end, as RVRT does. Without it the local
    contrast reaches the reconstruction unchanged, which a small network learns from much sooner."""
    block_conv: bool = False
    """Close each RSTB with a 3x3 convolution (as SwinIR does) instead of a linear layer (as RVRT does)."""

    def __post_init__(self) -> None:
        if self.upscale not in (1, 4):
            raise WeightsError(
                f"upscale must be 1 or 4, not {self.upscale}; the weight file is not an rvrt model."
            )
        if self.alignment not in ("guided", "local", "warped"):
            raise WeightsError(
                f"alignment must be 'guided', 'local' or 'warped', not {self.alignment!r}; update rvrt or check the file."
            )
        if self.upsampler not in ("full", "direct") or self.skip not in ("bilinear", "bicubic"):
            raise WeightsError(
                f"unknown upsampler {self.upsampler!r} or skip {self.skip!r}; update rvrt or check the file."
            )
        if self.activation not in ("gelu", "gelu_tanh", "leaky_relu"):
            raise WeightsError(f"unknown activation {self.activation!r}; update rvrt or check the file.")
        if self.embed_dim % self.num_heads or self.align_dim % self.align_heads:
            raise WeightsError(
                "channels must divide by attention heads; the weight file's configuration is damaged."
            )
        if (
            not 1 <= self.passes <= len(PASS_NAMES)
            or len(self.conv_groups) != 6
            or self.window[0] != CLIP_SIZE
        ):
            raise WeightsError(
                "passes, conv_groups or window are out of range; the weight file's configuration is damaged."
            )

    @property
    def align_dim(self) -> int:
        """Channels of the alignment's queries, keys and values."""
        return int(self.embed_dim * self.align_ratio)

    @property
    def uses_flow(self) -> bool:
        """Whether optical flow guides the alignment."""
        return self.alignment != "local"

    @property
    def pass_names(self) -> tuple[str, ...]:
        """Names of the passes that run."""
        return PASS_NAMES[: self.passes]

    @property
    def size_multiple(self) -> int:
        """LQ height and width are padded to a multiple of this before they enter the network."""
        return self.window[1] * (1 if self.upscale == 4 else 4)

    @property
    def min_size(self) -> int:
        """Smallest LQ height and width in pixels: one attention window of features, and for flows 33 px or more."""
        smallest = 40 if self.alignment == "guided" else self.window[1]
        return smallest * (1 if self.upscale == 4 else 4)

    def to_json(self) -> str:
        """The configuration as one line of JSON, as stored in weight files under the key ``rvrt_config``."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Rebuild a configuration from :meth:`to_json`.

        Errors: :class:`WeightsError` naming an unknown field or a value of the wrong kind.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise WeightsError(
                "The configuration in the weight file is not JSON; the file is damaged."
            ) from error
        if not isinstance(values, dict):
            raise WeightsError(
                "The configuration in the weight file is not a JSON object; the file is damaged."
            )
        kinds = {field.name: type(field.default) for field in fields(cls)}
        for name, value in values.items():
            if name not in kinds:
                raise WeightsError(
                    f"The weight file has the unknown setting {name!r}; update rvrt to use it."
                )
            expected = (
                (list, tuple)
                if kinds[name] is tuple
                else (int, float)
                if kinds[name] is float
                else (kinds[name],)
            )
            if not isinstance(value, expected):
                raise WeightsError(
                    f"The weight file's setting {name!r} is {value!r}, which is of the wrong kind."
                )
        settings: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.items()
        }
        return cls(**settings)


PRESETS: dict[str, ModelConfig] = {
    "rvrt": ModelConfig(),
    "light": ModelConfig(alignment="local", position_bias=False, activation="gelu_tanh", norm_epsilon=1e-7),
    "light-s": ModelConfig(
        alignment="warped",
        position_bias=False,
        embed_dim=48,
        num_blocks=(1, 2, 1),
        depth=1,
        num_heads=2,
        window=(2, 4, 4),
        passes=2,
        align_heads=4,
        align_ratio=1.0,
        upsampler="direct",
        skip="bicubic",
        activation="leaky_relu",
        stage_norm=False,
        block_conv=True,
    ),
    "deblur": ModelConfig(upscale=1, embed_dim=192, conv_groups=(1, 3, 3, 3, 3, 3)),
    "denoise": ModelConfig(upscale=1, embed_dim=192, conv_groups=(1, 3, 4, 6, 8, 4), in_channels=4),
}
"""Published architectures (``rvrt``, ``light``, ``deblur``, ``denoise``) and this project's small one (``light-s``)."""
