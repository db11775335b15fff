"""The shape of a network as data: :class:`ModelConfig` and the named presets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from rvrt_cli.errors import WeightsError

PASS_NAMES = ("backward_1", "forward_1", "backward_2", "forward_2")
"""The recurrent passes in the order in which they run (RVRT paper, section 3.1)."""

CLIP_SIZE = 2
"""Frames that are updated together. The published networks, and so the alignment code, use 2."""

BOUNDS: dict[str, tuple[float, float]] = {
    "embed_dim": (1, 1024),
    "num_blocks": (0, 16),
    "depth": (1, 16),
    "num_heads": (1, 64),
    # A table of all pairs of tokens of a window is made: 32 is 4 million pairs, 64 would be 67 million and gigabytes.
    "window": (1, 32),
    "mlp_ratio": (0, 16),
    "passes": (1, len(PASS_NAMES)),
    "align_heads": (1, 64),
    "align_ratio": (0, 4),
    "deformable_groups": (1, 64),
    "max_residue": (0, 1000),
    "conv_groups": (1, 64),
    "norm_epsilon": (0, 0.1),
}
"""Smallest and largest value of each number: far around every published network, and harmless to compute with."""

CHOICES: dict[str, tuple[object, ...]] = {
    "upscale": (1, 2, 3, 4),
    "in_channels": (3, 4),
    "alignment": ("guided", "local", "warped"),
    "upsampler": ("full", "direct"),
    "skip": ("bilinear", "bicubic"),
    "activation": ("gelu", "gelu_tanh", "leaky_relu"),
}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that determines the tensors and the arithmetic of a network.

    Sizes are in channels, tokens or LQ pixels; names follow the paper (arXiv 2206.02146) where it has one.
    """

    upscale: int = 4
    """Output size over input size: 4, 3 or 2 (super-resolution) or 1 (deblurring, denoising)."""
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
    """``full``: two pixel-shuffle x2 stages at 64 channels; ``direct``: one convolution and one pixel shuffle."""
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
        """Errors: :class:`WeightsError` for a value of the wrong kind, out of range or at odds with another one.

        The values may come from a hostile file, so each is bounded before anything is computed from it.
        """
        for field in fields(self):
            self._check_kind(field.name, field.default)
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if not low <= number <= high:  # NaN compares false
                    raise _damaged(
                        f"the setting {name} is out of range: {_shown(value)}, not from {low} to {high}"
                    )
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                words = ", ".join(map(str, choices))
                raise WeightsError(
                    f"the setting {name} is {_shown(getattr(self, name))}, none of {words}; update rvrt or check the file."
                )
        if self.window[0] != CLIP_SIZE or self.window[1] != self.window[2]:
            raise _damaged(
                f"the attention window {self.window} is not {CLIP_SIZE} frames of a square in pixels"
            )
        self._check_divisions()
        if self.upsampler == "full" and self.enlargement != 4:
            raise _damaged(f"a full upsampler enlarges features 4 times, not {self.enlargement} times")

    def _check_kind(self, name: str, default: Any) -> None:
        """Types as the default's, whole numbers as floating-point ones where those are wanted; tuples as long as it."""
        value = getattr(self, name)
        if isinstance(default, float) and type(value) is int and abs(value) < 1 << 53:
            object.__setattr__(self, name, float(value))
        elif type(value) is not type(default):
            raise _damaged(f"the setting {name} is {_shown(value)}, which is of the wrong kind")
        if isinstance(default, tuple) and (
            len(value) != len(default) or any(type(number) is not int for number in value)
        ):
            raise _damaged(f"the setting {name} is {_shown(value)}, not {len(default)} whole numbers")

    def _check_divisions(self) -> None:
        """Every layer can be made: channels divide by heads and groups, and none has zero channels."""
        if self.embed_dim % self.num_heads or self.align_dim % self.align_heads or not self.align_dim:
            raise _damaged("channels do not divide by attention heads")
        if not int(self.embed_dim * self.mlp_ratio):
            raise _damaged("the MLPs have no channels")
        guided = self.alignment == "guided"
        if guided and (self.deformable_groups % 2 or 2 * self.align_dim % self.deformable_groups):
            raise _damaged("channels do not divide by deformable groups")
        for name, inputs, groups in self._convolutions():
            if inputs % groups or self.embed_dim % groups:
                raise _damaged(f"channels do not divide by the groups of the {name}'s convolution")

    def _convolutions(self) -> list[tuple[str, int, int]]:
        """Stage, input channels and groups of each input convolution that exists."""
        c = self.embed_dim
        intra_clip = 1 if self.alignment == "warped" else 0
        first, *passes, last = self.conv_groups
        shallow = c if self.upscale == 1 else self.in_channels
        return [
            ("shallow extraction", shallow, first),
            *(
                (f"{name} pass", (2 + index + intra_clip) * c, passes[index])
                for index, name in enumerate(self.pass_names)
            ),
            ("reconstruction", (1 + self.passes) * c, last),
        ]

    @property
    def align_dim(self) -> int:
        """Channels of the alignment's queries, keys and values."""
        return int(self.embed_dim * self.align_ratio)

    @property
    def uses_flow(self) -> bool:
        """Whether optical flow guides the alignment."""
        return self.alignment != "local"

    def needs_own_flows(self, index: int) -> bool:
        """Whether pass ``index`` looks at flows between a clip's own frames, not only at those that an earlier pass refined."""
        return self.uses_flow and (index < 2 or self.alignment == "warped")

    @property
    def pass_names(self) -> tuple[str, ...]:
        """Names of the passes that run."""
        return PASS_NAMES[: self.passes]

    @property
    def reduction(self) -> int:
        """LQ pixels to a feature pixel, along each axis: x4 and x3 networks work at the input's size, x2 ones at half of it.

        So a x2 network costs about a quarter of a x4 one for the same input, and x1 ones (at a quarter) a sixteenth.
        """
        return {4: 1, 3: 1, 2: 2, 1: 4}[self.upscale]

    @property
    def enlargement(self) -> int:
        """Output pixels to a feature pixel, along each axis."""
        return self.upscale * self.reduction

    @property
    def size_multiple(self) -> int:
        """LQ height and width are padded to a multiple of this before they enter the network."""
        return self.window[1] * self.reduction

    @property
    def min_size(self) -> int:
        """Smallest LQ height and width in pixels: one attention window of features, and for flows 33 px or more."""
        smallest = 40 if self.alignment == "guided" else self.window[1]
        return smallest * self.reduction

    def to_json(self) -> str:
        """The configuration as one line of JSON, as stored in weight files under the key ``rvrt_config``."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Rebuild a configuration from :meth:`to_json`.

        Errors: :class:`WeightsError` naming an unknown field or a value that no network has.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise WeightsError(
                "The configuration in the weight file is not JSON; the file is damaged."
            ) from error
        if not isinstance(values, dict):
            raise WeightsError(
                "The configuration in the weight file is not a JSON object; the file is damaged."
            )
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise WeightsError(
                    f"The weight file has the unknown setting {name[:60]!r}; update rvrt to use it."
                )
        settings: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.items()
        }
        return cls(**settings)


def _shown(value: object) -> str:
    """A value from a file for a message, not longer than a line."""
    return repr(value)[:60]


def _damaged(what: str) -> WeightsError:
    return WeightsError(f"{what}; the weight file's configuration is damaged.")


_LIGHT_S = ModelConfig(
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
)

PRESETS: dict[str, ModelConfig] = {
    "rvrt": ModelConfig(),
    "light": ModelConfig(alignment="local", position_bias=False, activation="gelu_tanh", norm_epsilon=1e-7),
    "light-s": _LIGHT_S,
    "light-s-x2": replace(_LIGHT_S, upscale=2),
    "deblur": ModelConfig(upscale=1, embed_dim=192, conv_groups=(1, 3, 3, 3, 3, 3)),
    "denoise": ModelConfig(upscale=1, embed_dim=192, conv_groups=(1, 3, 4, 6, 8, 4), in_channels=4),
}
"""Published architectures (``rvrt``, ``light``, ``deblur``, ``denoise``) and this project's small ones (``light-s``, x4 and x2)."""
