"""How the field compares pictures, by data set. Every figure this tool prints names its protocol."""

from __future__ import annotations

from dataclasses import dataclass

from rvrt_cli.errors import UsageError


@dataclass(frozen=True)
class Protocol:
    """Which frames are given to the model and how its output is compared with the ground truth."""

    name: str
    title: str
    y_channel: bool
    crop_px: int = 0
    mirror: bool = False
    """Frames 1…n are followed by n…1; only the first n outputs count."""
    centre_only: bool = False
    """Only the middle frame of the clip is compared."""
    clips: tuple[tuple[str, int], ...] = ()
    """Names and lengths of the clips of a fixed test set; empty where any will do."""
    full_size: int = 0
    """How many clips the whole test set has; published figures are for all of them."""

    @property
    def statement(self) -> str:
        """The protocol in one sentence."""
        frames = (
            "frames mirrored to twice their number, centre frame compared" if self.mirror else "all frames"
        )
        planes = "Y of BT.601 studio range" if self.y_channel else "RGB"
        crop = f"{self.crop_px} px border cropped" if self.crop_px else "no border crop"
        return f"{self.title}: {frames}, PSNR/SSIM on {planes}, {crop}."


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("vimeo90k", "Vimeo-90K-T", y_channel=True, mirror=True, centre_only=True, full_size=7824),
        Protocol(
            "vid4",
            "Vid4",
            y_channel=True,
            clips=(("calendar", 41), ("city", 34), ("foliage", 49), ("walk", 47)),
            full_size=4,
        ),
        Protocol("udm10", "UDM10", y_channel=True, full_size=10),
        Protocol(
            "reds4",
            "REDS4",
            y_channel=False,
            clips=(("000", 100), ("011", 100), ("015", 100), ("020", 100)),
            full_size=4,
        ),
        Protocol("davis", "DAVIS", y_channel=True),
        Protocol("folder", "Folder", y_channel=True),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol of a data set. Errors: :class:`UsageError` listing the known ones."""
    if name not in PROTOCOLS:
        raise UsageError(
            f"There is no evaluation protocol called {name!r}; choose one of {', '.join(PROTOCOLS)}."
        )
    return PROTOCOLS[name]


@dataclass(frozen=True)
class Published:
    """A figure from a paper or a repository, for one weights file on one whole test set."""

    weights: str
    dataset: str
    degradation: str
    psnr: float
    ssim: float | None
    source: str


_RVRT = "Liang et al. 2022 (RVRT)"
_MINDSPORE = "MindEditing's model page"
_BICUBIC = "Chan et al. 2021 (BasicVSR)"
PUBLISHED_FIGURES: tuple[Published, ...] = (
    Published("rvrt-reds", "reds4", "BI", 32.75, 0.9113, _RVRT),
    Published("rvrt-vimeo", "vimeo90k", "BI", 38.15, 0.9527, _RVRT),
    Published("rvrt-vimeo", "vid4", "BI", 27.99, 0.8462, _RVRT),
    Published("rvrt-vimeo-bd", "udm10", "BD", 40.90, 0.9729, _RVRT),
    Published("rvrt-vimeo-bd", "vimeo90k", "BD", 38.59, 0.9576, _RVRT),
    Published("rvrt-vimeo-bd", "vid4", "BD", 29.54, 0.8810, _RVRT),
    Published("rvrt-mindspore", "vimeo90k", "BI", 38.12, None, _MINDSPORE),
    Published("light-mindspore", "vimeo90k", "BI", 37.91, None, _MINDSPORE),
    Published("bicubic", "vid4", "BI", 23.78, 0.6347, _BICUBIC),
    Published("bicubic", "vimeo90k", "BI", 31.32, 0.8684, _BICUBIC),
)


def find_published(weights: str, protocol: Protocol, degradation: str, clips: int) -> Published | None:
    """The published figure for these weights on this data; None unless the whole test set was evaluated.

    ``weights``: a name of the registry of published weights (a preset's name stands for its default file) or "bicubic".
    """
    if not protocol.full_size or clips != protocol.full_size:
        return None
    for figure in PUBLISHED_FIGURES:
        if (figure.weights, figure.dataset, figure.degradation) == (weights, protocol.name, degradation):
            return figure
    return None
