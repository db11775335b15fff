"""The rows of an evaluation's table, and their form in JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ClipScore:
    """One model on one clip. PSNR in dB and SSIM are means over the compared frames, whose figures are in ``frame_…``.

    ``seconds`` and ``calls``: of the model alone; ``output_frames``: frames it was given. ``peak_rss_mib``: of the
    process so far. ``peak_device_mib``: of the accelerator, where there is one.
    """

    clip: str
    model: str
    psnr: float
    ssim: float
    frame_psnr: tuple[float, ...]
    frame_ssim: tuple[float, ...]
    seconds: float
    calls: int
    output_frames: int
    peak_rss_mib: float
    peak_device_mib: float | None = None
    warp_error: float | None = None
    gt_warp_error: float | None = None
    flicker: float | None = None
    tof_px: float | None = None
    vmaf: float | None = None
    vmaf_neg: float | None = None
    frame_vmaf: tuple[float, ...] = ()
    frame_vmaf_neg: tuple[float, ...] = ()

    @property
    def seconds_per_call(self) -> float:
        return self.seconds / max(1, self.calls)

    @property
    def fps(self) -> float:
        return self.output_frames / self.seconds if self.seconds > 0 else math.inf


@dataclass(frozen=True)
class Total:
    """The mean of a model over all clips (every clip counts alike), with its published figure where one exists."""

    model: str
    engine: str
    psnr: float
    ssim: float
    seconds_per_call: float
    fps: float
    peak_rss_mib: float
    peak_device_mib: float | None
    warp_error: float | None
    gt_warp_error: float | None
    flicker: float | None
    tof_px: float | None
    published_psnr: float | None
    published_ssim: float | None
    published_source: str | None
    vmaf: float | None = None
    vmaf_neg: float | None = None


@dataclass(frozen=True)
class EvalReport:
    """The whole table."""

    dataset: str
    protocol: str
    low_quality: str
    feeding: str
    clips: int
    resumed_clips: int
    scores: tuple[ClipScore, ...]
    totals: tuple[Total, ...]

    def score(self, clip: str, model: str) -> ClipScore:
        """The row of a model on a clip."""
        return next(score for score in self.scores if (score.clip, score.model) == (clip, model))

    def to_dict(self) -> dict[str, Any]:
        """For JSON: infinite PSNR (equal pictures) becomes the string "inf"."""
        return jsonable(asdict(self))


def jsonable(value: Any) -> Any:
    """``value`` as JSON can hold it: tuples as lists, infinity as the string "inf"."""
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value


def score_from_dict(value: Mapping[str, Any]) -> ClipScore:
    """The row that :func:`jsonable` was given as a dict."""
    fields: dict[str, Any] = {key: float("inf") if item == "inf" else item for key, item in value.items()}
    for key in ("frame_psnr", "frame_ssim", "frame_vmaf", "frame_vmaf_neg"):
        fields[key] = tuple(float(item) for item in fields[key])
    return ClipScore(**fields)
