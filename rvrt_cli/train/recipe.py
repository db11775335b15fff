"""What a training run does, as data: :class:`Recipe` and its :class:`Stage` list, and the learning rate at a step.

The defaults are the published recipe for Vimeo-90K (RVRT paper, section 4.1, and its training options): 7 frames
mirrored to 14, 256×256 GT patches, batch 8, Charbonnier loss, Adam (0.9, 0.99), cosine from 2e-4 to 1e-7, SPyNet at
a quarter of the rate and frozen for the first 5,000 steps.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace

from rvrt_cli.data.degrade import DEGRADATIONS
from rvrt_cli.errors import UsageError
from rvrt_cli.model.config import CLIP_SIZE, ModelConfig

PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Stage:
    """A stretch of the run with one batch shape."""

    steps: int = 300_000
    batch: int = 8
    """Clips per step over all devices together."""
    frames: int = 7
    """Frames that are sampled; mirrored to twice as many where :attr:`Recipe.mirror` says so."""
    patch_gt_px: int = 256
    """Height and width of a GT patch."""

    def __str__(self) -> str:
        """As ``--stage`` takes it."""
        return f"steps={self.steps},frames={self.frames},patch={self.patch_gt_px},batch={self.batch}"


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights besides the network, its initial values and the data."""

    stages: tuple[Stage, ...] = (Stage(),)
    seed: int = 0
    lr: float = 2e-4
    lr_min: float = 1e-7
    warmup: int = 0
    """Steps of linear growth from 0 to the cosine's value."""
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8
    clip_grad: float = 0.0
    """Largest norm of the whole gradient; 0 for no limit."""
    ema: float = 0.999
    """Decay of the moving average of the weights per step, less at first (:func:`rvrt_cli.train.engine.ema_decay`); 0 for none."""
    charbonnier_epsilon: float = 1e-9
    """Added to the squared difference, in [0, 1] units (the published training option)."""
    flow_lr_factor: float = 0.25
    """Rate of the optical-flow network relative to the others'."""
    flow_freeze_steps: int = 5000
    mirror: bool | None = None
    """Append the clip's mirror image in time; None: where ``frames`` is odd, as the published 7 → 14."""
    accumulate: int = 1
    """Parts into which a device's share of the batch is cut; their gradients are summed."""
    precision: str = "fp32"
    recompute: bool = False
    """Compute activations a second time in the backward pass instead of keeping them."""
    compile: bool = False
    """``torch.compile`` the network."""
    degradation: str = "BI"
    augment: bool = True

    def __post_init__(self) -> None:
        if not self.stages:
            raise UsageError("A training run needs at least one stage; give --steps or --stage.")
        for stage in self.stages:
            if min(stage.steps, stage.batch, stage.frames, stage.patch_gt_px) < 1:
                raise UsageError("Steps, batch, frames and patch must be 1 or more; correct --stage.")
            if self.frames_of(stage) % CLIP_SIZE:
                raise UsageError(
                    f"{stage.frames} frames cannot be cut into clips of {CLIP_SIZE}; "
                    "give an even number of --frames or mirror them."
                )
        if not (self.lr > 0 and 0 <= self.lr_min <= self.lr and math.isfinite(self.lr)):
            raise UsageError(
                f"The learning rate must fall from --lr to --lr-min, not {self.lr:g} to {self.lr_min:g}."
            )
        # Comparisons with NaN are false, so each is written to be true for what is allowed.
        if not 0 <= self.ema < 1:
            raise UsageError(f"--ema is a decay below 1 (0 for none), not {self.ema:g}.")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise UsageError(
                f"--beta1 and --beta2 are decays below 1, not {self.beta1:g} and {self.beta2:g}."
            )
        if not (0 < self.epsilon < math.inf and 0 < self.charbonnier_epsilon < math.inf):
            raise UsageError("--epsilon and --charbonnier-epsilon must be above 0.")
        for option, value in (("--clip-grad", self.clip_grad), ("--flow-lr-factor", self.flow_lr_factor)):
            if not 0 <= value < math.inf:
                raise UsageError(f"{option} must not be negative, and a number, not {value:g}.")
        if self.warmup < 0 or self.accumulate < 1 or self.flow_freeze_steps < 0:
            raise UsageError("--warmup and --flow-freeze must not be negative, --accumulate at least 1.")
        if self.degradation not in DEGRADATIONS:
            raise UsageError(
                f"There is no degradation called {self.degradation!r}; choose one of {', '.join(DEGRADATIONS)}."
            )
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"There is no precision called {self.precision!r}; choose one of {', '.join(PRECISIONS)}."
            )

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        """The stage of the step with this index (0-based)."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]

    def is_mirrored(self, stage: Stage) -> bool:
        """Whether the stage's clips are mirrored in time."""
        return stage.frames % 2 == 1 if self.mirror is None else self.mirror

    def frames_of(self, stage: Stage) -> int:
        """Frames that the network sees per clip."""
        return stage.frames * (2 if self.is_mirrored(stage) else 1)

    def lr_at(self, step: int) -> float:
        """The learning rate of the step with this index: one cosine over the whole run, times the warm-up."""
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(step, self.steps) / self.steps))
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return warm * (self.lr_min + (self.lr - self.lr_min) * cosine)

    def flow_lr_at(self, step: int) -> float:
        """The learning rate of the optical-flow network; 0 while it is frozen."""
        return 0.0 if step < self.flow_freeze_steps else self.flow_lr_factor * self.lr_at(step)

    def check(self, config: ModelConfig, world: int) -> None:
        """Raise :class:`UsageError` where the recipe does not fit the network or the number of devices."""
        for stage in self.stages:
            if stage.batch % (world * self.accumulate):
                parts = f" in {self.accumulate} parts each" if self.accumulate > 1 else ""
                raise UsageError(
                    f"A batch of {stage.batch} clips cannot be shared equally by {world} device{'s' * (world > 1)}{parts}; "
                    f"make --batch a multiple of {world * self.accumulate}."
                )
            lq_px = stage.patch_gt_px // config.upscale
            if stage.patch_gt_px % config.enlargement or lq_px < config.min_size:
                raise UsageError(
                    f"A patch of {stage.patch_gt_px} GT pixels does not suit this network; give a multiple of "
                    f"{config.enlargement} from {config.min_size * config.upscale}."
                )

    def to_json(self) -> str:
        """The recipe as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Rebuild a recipe; settings that this version does not know are left out."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in json.loads(text).items() if name in known}
        values["stages"] = tuple(Stage(**stage) for stage in values["stages"])
        return cls(**values)

    def differences(self, other: Recipe) -> list[str]:
        """Settings that differ, as "lr 0.001 instead of 0.0002"."""

        def words(value: object) -> str:
            return " then ".join(map(str, value)) if isinstance(value, tuple) else str(value)

        pairs = [(f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return [
            f"{name} {words(mine)} instead of {words(theirs)}"
            for name, mine, theirs in pairs
            if mine != theirs
        ]


def parse_stage(text: str, base: Stage) -> Stage:
    """Read ``steps=4000,frames=2,patch=128,batch=16``; what is left out comes from ``base``. ``patch`` is in GT pixels.

    Errors: :class:`UsageError` naming the part that is wrong.
    """
    names = {"steps": "steps", "frames": "frames", "patch": "patch_gt_px", "batch": "batch"}
    values = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name.strip() not in names or not value.strip().isdigit():
            raise UsageError(
                f"--stage {text!r}: {part!r} is not understood; write for example steps=4000,frames=6,patch=128,batch=4."
            )
        values[names[name.strip()]] = int(value)
    return replace(base, **values)
