"""The figures of one film against its ground truth, frame by frame, as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rvrt_cli.errors import UsageError
from rvrt_cli.evaluate.metrics import psnr, ssim
from rvrt_cli.evaluate.vmaf import BT601, VMAF_MODELS, VmafMeter


@dataclass(frozen=True)
class Metric:
    """How a figure is shown. ``digits``: after the point."""

    title: str
    unit: str
    digits: int


METRICS = {
    "psnr": Metric("PSNR-Y", "dB", 2),
    "ssim": Metric("SSIM-Y", "", 4),
    "vmaf": Metric("VMAF", "", 2),
    "vmaf-neg": Metric("VMAF-NEG", "", 2),
}
"""Every figure this package measures per frame; higher is better in all of them."""
LUMA_STATEMENT = "PSNR and SSIM on Y of BT.601 studio range, 8 bits, no border crop"
VMAF_STATEMENT = "VMAF by libvmaf on luma, 8 bits, models vmaf_v0.6.1 and vmaf_v0.6.1neg (made for 1080p); a first frame has no motion to go by"


def parse_metrics(text: str) -> tuple[str, ...]:
    """``psnr,vmaf-neg`` → names of :data:`METRICS`, each once. Errors: :class:`UsageError` listing the known ones."""
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in METRICS:
            raise UsageError(f"--metrics takes {', '.join(METRICS)}, separated by commas; got {name!r}.")
    return tuple(dict.fromkeys(names))


class FrameMeter:
    """Figures of a film's frames; a context manager. ``metrics``, ``matrix``: as in :class:`VmafMeter`, names of all kinds."""

    def __init__(self, metrics: Sequence[str], matrix: int = BT601) -> None:
        self._plain = [name for name in metrics if name not in VMAF_MODELS]
        self._vmaf_names = [name for name in metrics if name in VMAF_MODELS]
        self._matrix = matrix
        self._vmaf: VmafMeter | None = None
        self._figures: dict[str, list[float]] = {name: [] for name in metrics}

    def __enter__(self) -> FrameMeter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._vmaf is not None:
            self._vmaf.close()

    def add(self, sr: np.ndarray, gt: np.ndarray, sr_y: np.ndarray, gt_y: np.ndarray) -> None:
        """Measure (h, w, 3) uint8 ``sr`` against ``gt``; ``…_y``: their :func:`~rvrt_cli.evaluate.metrics.rgb_to_y`. Errors: those of the meters."""
        for name in self._plain:
            self._figures[name].append(psnr(sr_y, gt_y) if name == "psnr" else ssim(sr_y, gt_y))
        if self._vmaf_names:
            if self._vmaf is None:
                self._vmaf = VmafMeter(gt.shape[0], gt.shape[1], self._vmaf_names, self._matrix)
            self._vmaf.add(sr, gt)

    def finish(self) -> dict[str, list[float]]:
        """Figures of every frame by name."""
        if self._vmaf is not None:
            self._figures.update(self._vmaf.finish())
        return self._figures
