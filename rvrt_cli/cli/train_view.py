"""Draws a training run: a live panel on a terminal, plain lines elsewhere, and the tables before and after it."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from rvrt_cli.train.engine import Place
from rvrt_cli.train.launch import VIEW_VARIABLE
from rvrt_cli.train.loop import Event, RunSettings, Saved, Skipped, Started, Stepped, Summary, Validated
from rvrt_cli.train.plan import Plan
from rvrt_cli.train.recipe import Recipe


class TrainView:
    """Receives the loop's events; use as a context manager."""

    def __init__(self, place: Place | None = None) -> None:
        """``place``: in a job of several devices; rank 0 reports to the launching process, the others are silent."""
        if place is not None:
            sys.stderr.write(f"rank {place.rank} of {place.world}: process {os.getpid()}\n")
        self._quiet = place is not None and place.rank > 0
        view = os.environ.get(VIEW_VARIABLE) if place is not None else None
        self._file = open(view, "a", encoding="utf-8", buffering=1) if view else None  # noqa: SIM115 - closed in __exit__
        self._console = Console(file=self._file, stderr=self._file is None, highlight=False, soft_wrap=True)
        self._steps = 0
        self._last: dict[str, tuple[float, float]] = {}
        self._best: float | None = None
        self._live: Live | None = None
        if self._console.is_terminal and not self._quiet:
            self._progress = Progress(
                TextColumn("step {task.completed:.0f} of {task.total:.0f}"), BarColumn(None), TaskProgressColumn(),
                console=self._console, expand=True,
            )  # fmt: skip
            self._task = self._progress.add_task("train", total=1)
            self._live = Live(self._progress, console=self._console, refresh_per_second=4)

    def __enter__(self) -> TrainView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        if self._file is not None:
            self._file.close()

    def show(self, event: Event) -> None:
        """Draw one event."""
        if isinstance(event, Started):
            self._steps = event.steps
            self._line(f"{event.engine}; data: {event.data}")
            self._line(f"step {event.step} of {event.steps}" + (": going on" if event.step else ""))
            for difference in event.differences:
                self._line(f"other settings than the checkpoint's: {difference}")
            if self._live is not None:
                self._progress.update(self._task, total=event.steps, completed=event.step)
        elif isinstance(event, Stepped):
            self._stepped(event)
        elif isinstance(event, Validated):
            self._best = event.best
            for result in event.results:
                self._last[result.name] = (result.psnr_y, result.bicubic)
                self._line(
                    f"step {event.step}  {result.name}: {result.psnr_y:.3f} dB, bicubic {result.bicubic:.3f} dB "
                    f"({result.psnr_y - result.bicubic:+.3f}); best mean {event.best:.3f} dB"
                )
        elif isinstance(event, Saved):
            self._line(f"saved {event.path}")
        elif isinstance(event, Skipped):
            self._line(f"step {event.step} skipped: its gradient was not finite ({event.total} so far)")

    def _stepped(self, event: Stepped) -> None:
        row = event.row
        if self._live is not None:
            self._progress.update(self._task, completed=event.step)
        if row is None:
            return
        left = _duration((self._steps - row.step) * row.step_s)
        if self._live is None:
            self._line(
                f"step {row.step}/{self._steps}  loss {row.loss:.5f}  lr {row.lr:.2e}  grad {row.grad_norm:.3f}  "
                f"{row.step_s:.2f} s/step  {row.samples_per_s:.1f} samples/s  data wait {row.data_wait:.1%}  "
                f"{row.memory_mib:.0f} MiB  ETA {left}"
            )
            return
        table = Table.grid(padding=(0, 2))
        table.add_row("loss", f"{row.loss:.5f}", "lr", f"{row.lr:.2e}", "gradient", f"{row.grad_norm:.3f}")
        table.add_row(
            "speed",
            f"{row.step_s:.2f} s/step",
            "",
            f"{row.samples_per_s:.1f} samples/s",
            "data wait",
            f"{row.data_wait:.1%}",
        )
        table.add_row("memory", f"{row.memory_mib:.0f} MiB", "ETA", left, "skipped", str(row.skipped))
        for name, (psnr, bicubic) in self._last.items():
            best = f"{self._best:.3f} dB" if self._best is not None else "-"
            table.add_row(name, f"{psnr:.3f} dB", "bicubic", f"{bicubic:.3f} dB", "best mean", best)
        panel = Table.grid(expand=True)
        panel.add_row(self._progress)
        panel.add_row(table)
        self._live.update(panel)

    def finish(self, summary: Summary, settings: RunSettings, recipe: Recipe) -> None:
        """The closing table, in the shape in which the published network reports its training."""
        if self._quiet:
            return
        stage = recipe.stages[-1]
        rows = {
            "model": settings.model,
            "resources": summary.engine,
            "data set": ", ".join(os.path.basename(os.path.normpath(spec.path)) for spec in settings.sources),
            "batch size": str(stage.batch),
            "clips": f"{recipe.frames_of(stage)} frames of {stage.patch_gt_px}×{stage.patch_gt_px}",
            "optimizer": "Adam",
            "steps": str(summary.steps),
            "s/step": f"{summary.step_s:.3f}",
            "data wait": f"{summary.data_wait:.1%}",
            "peak memory": f"{summary.memory_mib:.0f} MiB",
            "time": _duration(summary.seconds),
            "best Y-PSNR": "-" if summary.best is None else f"{summary.best:.3f} dB",
            "weights": str(summary.weights),
        }
        # The launching process relays lines, after the live view has ended.
        view = os.environ.get(VIEW_VARIABLE)
        with open(view, "a", encoding="utf-8") if view else _Stderr() as file:
            Console(file=file, highlight=False, soft_wrap=True).print(_table("Training", rows))

    def _line(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, markup=False)


class _Stderr:
    """``sys.stderr`` as a context manager that leaves it open."""

    def __enter__(self) -> Any:
        return sys.stderr

    def __exit__(self, *_: object) -> None:
        sys.stderr.flush()


def show_plan(plan: Plan, settings: RunSettings, recipe: Recipe, data: str, world: int) -> None:
    """Print what a run would do (``--dry-run``), on stdout."""
    console = Console(highlight=False, soft_wrap=True)
    rows = {
        "model": settings.model,
        "parameters": f"{plan.parameters:,}",
        "FLOPs per LQ pixel and frame": f"{plan.forward_flops_per_px / 1e6:.2f} M (forward)",
        "data": data,
        "devices": f"{world} ({settings.backend}, {recipe.precision})",
        "steps": f"{plan.steps:,}",
        "steps per epoch": f"{plan.steps_per_epoch:.1f} ({plan.sequences:,} sequences)",
        "learning rate": f"{recipe.lr:g} to {recipe.lr_min:g}, cosine, {recipe.warmup} steps of warm-up",
    }
    console.print(_table("Plan", rows))
    stages = Table(title="Stages")
    for title in (
        "steps",
        "batch",
        "frames",
        "GT patch",
        "LQ patch",
        "FLOPs/step",
        "memory per device (estimate)",
    ):
        stages.add_column(title, justify="right")
    for part in plan.stages:
        stages.add_row(
            f"{part.stage.steps:,}", str(part.stage.batch), str(part.frames), f"{part.stage.patch_gt_px} px",
            f"{part.lq_px} px", f"{part.step_flops / 1e12:.3f} T", f"{part.memory_mib:,.0f} MiB",
        )  # fmt: skip
    console.print(stages)


def _table(title: str, rows: dict[str, str]) -> Table:
    table = Table(title=title, show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _duration(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
