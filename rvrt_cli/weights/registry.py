"""The published weight files: where they are, which preset they belong to, and under which licence they come.

Their SHA-256 are not published; :mod:`rvrt_cli.weights.cache` records the hash of the first download and checks it ever after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rvrt_cli.errors import WeightsError
from rvrt_cli.model.config import PRESETS, ModelConfig
from rvrt_cli.weights.names import MINDSPORE, mindspore_arithmetic

OFFICIAL = "https://github.com/JingyunLiang/RVRT/releases/download/v0.0/"
MINDEDITING = "https://download.mindspore.cn/toolkits/mindediting/LLVT_opensource/RVRT/ckpt/trained/"

CC_BY_NC = """\
The official RVRT weights are by Jingyun Liang et al. (https://github.com/JingyunLiang/RVRT) and come under the
Creative Commons Attribution-NonCommercial 4.0 International licence (CC BY-NC 4.0):
  - you may use, share and adapt them if you give appropriate credit and say what you changed;
  - you may not use them, or what you make of them, primarily for commercial advantage or monetary compensation.
Full text: https://creativecommons.org/licenses/by-nc/4.0/legalcode"""

MINDEDITING_LICENCE = """\
These weights are published by MindSpore's MindEditing (https://github.com/mindspore-lab/mindediting), whose repository is under
the Apache License 2.0. They follow RVRT by Jingyun Liang et al., whose own code and weights are under CC BY-NC 4.0
(non-commercial use only): clear their use with both before you use them commercially."""


@dataclass(frozen=True)
class PublishedWeights:
    """One file on the internet. ``preset``: a key of ``PRESETS``; ``label``: what it was trained for, in words."""

    name: str
    file_name: str
    base_url: str
    preset: str
    label: str
    licence: str
    licence_text: str
    scheme: str = "official PyTorch"

    @property
    def url(self) -> str:
        """Where the publisher keeps the file."""
        return self.base_url + self.file_name

    @property
    def config(self) -> ModelConfig:
        """The configuration that the file must have."""
        config = PRESETS[self.preset]
        return replace(config, **mindspore_arithmetic()) if self.scheme == MINDSPORE else config


def _official(name: str, file_name: str, preset: str, label: str) -> PublishedWeights:
    return PublishedWeights(name, file_name, OFFICIAL, preset, label, "CC BY-NC 4.0", CC_BY_NC)


def _mindediting(name: str, file_name: str, preset: str, label: str) -> PublishedWeights:
    licence = "Apache-2.0 (MindEditing), after RVRT"
    return PublishedWeights(
        name, file_name, MINDEDITING, preset, label, licence, MINDEDITING_LICENCE, MINDSPORE
    )


PUBLISHED: tuple[PublishedWeights, ...] = (
    _official("rvrt-reds", "001_RVRT_videosr_bi_REDS_30frames.pth", "rvrt", "x4, bicubic, trained on REDS"),
    _official(
        "rvrt-vimeo", "002_RVRT_videosr_bi_Vimeo_14frames.pth", "rvrt", "x4, bicubic, trained on Vimeo-90K"
    ),
    _official(
        "rvrt-vimeo-bd",
        "003_RVRT_videosr_bd_Vimeo_14frames.pth",
        "rvrt",
        "x4, blur and subsampling, trained on Vimeo-90K",
    ),
    _official(
        "deblur-dvd", "004_RVRT_videodeblurring_DVD_16frames.pth", "deblur", "deblurring, trained on DVD"
    ),
    _official(
        "deblur-gopro",
        "005_RVRT_videodeblurring_GoPro_16frames.pth",
        "deblur",
        "deblurring, trained on GoPro",
    ),
    _official(
        "denoise-davis",
        "006_RVRT_videodenoising_DAVIS_16frames.pth",
        "denoise",
        "denoising (sigma 0-50), trained on DAVIS",
    ),
    _mindediting(
        "rvrt-mindspore",
        "iter_300000_rvrt_38.12.ckpt",
        "rvrt",
        "x4, bicubic, trained with MindSpore (38.12 dB)",
    ),
    _mindediting("light-mindspore", "rvrt_light_37.91.ckpt", "light", "x4, bicubic, RVRT Light (37.91 dB)"),
)

SHIPPED_LABELS: dict[str, str] = {
    "light-s": "x4, clean films, trained by this project",
    "light-s-x2": "x2, clean films, fast, trained by this project",
    "light-s-real": "x4, compressed and noisy films, trained by this project",
}
"""What the weights that ship with the tool are for; each has a model card beside it."""

PRESET_DEFAULTS: dict[str, str] = {
    "rvrt": "rvrt-reds",
    "light": "light-mindspore",
    "deblur": "deblur-gopro",
    "denoise": "denoise-davis",
}
"""The published file that a preset's name stands for where no file of that name ships with the tool."""


def published(name: str) -> PublishedWeights:
    """The registry's entry for a name, a preset or a file name. Errors: :class:`WeightsError` listing the known names."""
    wanted = PRESET_DEFAULTS.get(name, name)
    for entry in PUBLISHED:
        if wanted in (entry.name, entry.file_name):
            return entry
    known = ", ".join([*PRESET_DEFAULTS, *(entry.name for entry in PUBLISHED)])
    raise WeightsError(f"No published weights are called {name!r}; choose one of {known}.")
