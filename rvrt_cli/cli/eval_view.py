"""Draws an evaluation: progress while it runs, the table at its end."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rvrt_cli.cli.bar import counting_bar

if TYPE_CHECKING:
    from rvrt_cli.evaluate.report import ClipScore, EvalReport, Total

_PLAIN_INTERVAL_S = 10.0
_MAX_ROWS = 60
"""Longer tables show this many clips, those with the lowest PSNR first; --save-metrics has all."""


class EvalView:
    """A bar with ETA on a terminal, a line now and then elsewhere; nothing when ``silent``."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent
        self._bar: Any = None
        self._task: Any = None
        self._last = time.monotonic()

    def __enter__(self) -> EvalView:
        if not self._silent and sys.stderr.isatty():
            self._bar = counting_bar()
            self._bar.start()
            self._task = self._bar.add_task("", total=None, note="loading")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show_engine(self, label: str, engine: str) -> None:
        """Say what a model runs on, and why."""
        if self._silent:
            return
        line = f"{label}: {engine}"
        if self._bar is not None:
            self._bar.console.print(line, soft_wrap=True, markup=False, highlight=False)
        else:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def show_clip(self, done: int, total: int, scores: Sequence[ClipScore]) -> None:
        """Report a finished clip (or, with no scores, clips of an earlier run)."""
        note = f"{done} clips were finished before"
        if scores:
            note = f"{scores[0].clip}: " + ", ".join(f"{score.model} {score.psnr:.2f} dB" for score in scores)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)
        elif not self._silent and (not scores or time.monotonic() - self._last >= _PLAIN_INTERVAL_S):
            self._last = time.monotonic()
            sys.stderr.write(f"{done}/{total} {note}\n")
            sys.stderr.flush()


def print_report(report: EvalReport) -> None:
    """Print the table and what it means on stdout."""
    from rich.table import Table

    from rvrt_cli.cli.console import stdout_console

    console = stdout_console()
    models = [total.model for total in report.totals]
    two = len(models) == 2
    table = Table(title=f"{report.dataset}, {report.clips} clip{'s' if report.clips != 1 else ''}")
    table.add_column("Clip", no_wrap=True)
    for model in models:
        table.add_column(f"{model}\nPSNR", justify="right")
        table.add_column("\nSSIM", justify="right")
    if two:
        table.add_column("difference\nPSNR", justify="right")
        table.add_column("\nSSIM", justify="right")
    temporal = any(total.warp_error is not None for total in report.totals)
    if temporal:
        for model in models:
            table.add_column(f"{model}\nwarp err.", justify="right")
            table.add_column("\nflicker", justify="right")
            table.add_column("\ntOF px", justify="right")
    vmaf = [name for name in ("vmaf", "vmaf_neg") if getattr(report.totals[0], name) is not None]
    for name in vmaf:
        for model in models:
            table.add_column(f"{model}\n{name.upper().replace('_', '-')}", justify="right")
    table.add_column(f"{models[0]}\ns/call", justify="right")
    table.add_column("\nframes/s", justify="right")
    table.add_column("peak\nMiB", justify="right")

    clips = list(dict.fromkeys(score.clip for score in report.scores))
    hidden = len(clips) - _MAX_ROWS
    by_key = {(score.clip, score.model): score for score in report.scores}
    if hidden > 0:
        clips = sorted(clips, key=lambda clip: by_key[clip, models[0]].psnr)[:_MAX_ROWS]
    for clip in clips:
        table.add_row(clip, *_cells([by_key[clip, model] for model in models], temporal, vmaf))
    table.add_section()
    table.add_row("mean", *_cells(report.totals, temporal, vmaf), style="bold")
    if any(total.published_psnr is not None for total in report.totals):
        cells = []
        for total in report.totals:
            cells += [_number(total.published_psnr, 2), _number(total.published_ssim, 4)]
        table.add_row("published", *cells)
    console.print(table)
    if hidden > 0:
        console.print(
            f"The {_MAX_ROWS} clips with the lowest PSNR are shown; {hidden} more are in the mean (--save-metrics has all)."
        )
    for line in describe_report(report):
        console.print(line, markup=False, soft_wrap=True)


def describe_report(report: EvalReport) -> list[str]:
    """What the table says and how it was measured."""
    lines = [
        f"Protocol: {report.protocol} Low quality: {report.low_quality}. Fed as {report.feeding}. Times include compiling at the first call of a size."
    ]
    for total in report.totals:
        line = f"{total.model}: {total.engine}; {total.seconds_per_call:.3f} s per call, {total.fps:.2f} output frames per second"
        line += f", peak {total.peak_rss_mib:.0f} MiB"
        if total.peak_device_mib is not None:
            line += f" and {total.peak_device_mib:.0f} MiB on the device"
        if total.warp_error is not None:
            line += f"; warping error {total.warp_error:.2f} levels (ground truth {total.gt_warp_error:.2f}), flicker of the error {total.flicker:.2f} levels, tOF {total.tof_px:.3f} px"
        if total.vmaf is not None:
            line += f"; VMAF {total.vmaf:.2f}"
        if total.vmaf_neg is not None:
            line += f"; VMAF-NEG {total.vmaf_neg:.2f}"
        if total.published_psnr is not None:
            ssim = f"/{total.published_ssim:.4f}" if total.published_ssim is not None else ""
            line += f"; published {total.published_psnr:.2f}{ssim} ({total.published_source})"
        lines.append(line + ".")
    if report.resumed_clips:
        lines.append(f"{report.resumed_clips} clips were finished by an earlier run.")
    return lines


def _cells(rows: Sequence[ClipScore] | Sequence[Total], temporal: bool, vmaf: Sequence[str]) -> list[str]:
    cells = []
    for row in rows:
        cells += [_number(row.psnr, 2), _number(row.ssim, 4)]
    if len(rows) == 2:
        cells += [
            _number(rows[0].psnr - rows[1].psnr, 2, sign=True),
            _number(rows[0].ssim - rows[1].ssim, 4, sign=True),
        ]
    if temporal:
        for row in rows:
            cells += [_number(row.warp_error, 2), _number(row.flicker, 2), _number(row.tof_px, 3)]
    cells += [_number(getattr(row, name), 2) for name in vmaf for row in rows]
    first = rows[0]
    return [*cells, _number(first.seconds_per_call, 3), _number(first.fps, 2), _number(first.peak_rss_mib, 0)]


def _number(value: float | None, digits: int, sign: bool = False) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:{'+' if sign else ''}.{digits}f}"
