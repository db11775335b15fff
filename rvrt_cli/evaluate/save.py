"""Write an evaluation's figures to a file."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path

from rvrt_cli.errors import OutputError, UsageError
from rvrt_cli.evaluate.report import EvalReport
from rvrt_cli.system.files import write_bytes, write_json

_CSV_COLUMNS = (
    "clip",
    "model",
    "psnr",
    "ssim",
    "seconds",
    "calls",
    "output_frames",
    "peak_rss_mib",
    "peak_device_mib",
    "warp_error",
    "gt_warp_error",
    "flicker",
    "tof_px",
    "vmaf",
    "vmaf_neg",
)


def check_metrics_path(path: Path) -> None:
    """Before a long run: can the figures be written there?

    Errors: :class:`UsageError` for another suffix, :class:`OutputError` for a folder that does not exist.
    """
    if path.suffix.lower() not in (".json", ".csv"):
        raise UsageError(f"--save-metrics {path}: the file must end in .json or .csv.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise OutputError(
            f"{path} cannot be written: {path.absolute().parent} is not a folder; make it first."
        )


def save_report(path: Path, report: EvalReport) -> None:
    """Write ``report`` atomically: everything as JSON, or one CSV row per clip and model and one per total."""
    if path.suffix.lower() == ".json":
        write_json(path, report.to_dict())
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV_COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for score in report.scores:
        writer.writerow(asdict(score))
    for total in report.totals:
        writer.writerow({"clip": "mean", **asdict(total)})
    write_bytes(path, text.getvalue().encode())
