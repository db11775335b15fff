"""Draws a training run: a live panel on a terminal, plain lines elsewhere, and the tables before and after it."""

from __future__ import annotations

import os

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from rvrt_cli.train.events import (
    Event,
    Finished,
    Noted,
    Saved,
    Skipped,
    Started,
    Stepped,
    Summary,
    Validated,
)
from rvrt_cli.train.logs import StepRow
from rvrt_cli.train.plan import Plan
from rvrt_cli.train.recipe import Recipe
from rvrt_cli.train.settings import RunSettings
from rvrt_cli.train.stopping import StopRequest
from rvrt_cli.upscale.formatting import format_time


class TrainView:
    """Receives a run's events; use as a context manager. ``stop``: the run's, so that a person sees that it was heard."""

    def __init__(
        self,
        settings: RunSettings,
        recipe: Recipe,
        console: Console | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        self._settings, self._recipe = settings, recipe
        self._stop = stop or StopRequest()
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._steps = recipe.steps
        self._now: Stepped | None = None
        self._row: StepRow | None = None
        self._validated: dict[str, tuple[float, float]] = {}
        self._best: float | None = None
        self._live: Live | None = None
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("step {task.completed:.0f} of {task.total:.0f}"), BarColumn(None), TaskProgressColumn(),
                console=self._console, expand=True,
            )  # fmt: skip
            self._task = self._progress.add_task("train", total=recipe.steps)
            self._live = Live(get_renderable=self.panel, console=self._console, refresh_per_second=4)

    def __enter__(self) -> TrainView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Draw one event."""
        if isinstance(event, Started):
            self._steps, self._best = event.steps, event.best
            if self._settings.backend_reason:
                self._line(_backend(self._settings))
            self._line(f"{event.engine}; data: {event.data}")
            self._line(f"step {event.step} of {event.steps}{_start(event)}")
            if event.step == 0 and self._settings.initial_label != "random":
                self._line(f"initial weights: {self._settings.initial_label}")
            for note in event.notes:
                self._line(note)
            compiles = self._settings.backend == "mindspore" or self._recipe.compile
            if compiles and event.step < event.steps:
                self._line(
                    "compiling the network, which takes a minute or more before the first step of each stage"
                )
            if self._live is not None:
                self._progress.update(self._task, total=event.steps, completed=event.step)
        elif isinstance(event, Stepped):
            self._stepped(event)
        elif isinstance(event, Validated):
            self._best = event.best
            for result in event.results:
                self._validated[result.name] = (result.psnr_y, result.bicubic)
                self._line(
                    f"step {event.step}  {result.name}: {result.psnr_y:.3f} dB, bicubic {result.bicubic:.3f} dB "
                    f"({result.psnr_y - result.bicubic:+.3f}); best mean {event.best:.3f} dB"
                )
        elif isinstance(event, Saved):
            self._line(f"saved {event.path}")
        elif isinstance(event, Skipped):
            self._line(f"step {event.step} skipped: its gradient was not finite ({event.total} so far)")
        elif isinstance(event, Noted):
            self._line(event.text)
        elif isinstance(event, Finished):
            self._finish(event.summary)

    def _stepped(self, event: Stepped) -> None:
        self._now = event
        self._row = event.row or self._row
        if self._live is not None:
            self._progress.update(self._task, completed=event.step)
        elif event.row is not None:
            row = event.row
            self._line(
                f"step {row.step}/{self._steps}  loss {row.loss:.5f}  lr {row.lr:.2e}  grad {row.grad_norm:.3f}  "
                f"{row.step_s:.2f} s/step  {row.samples_per_s:.1f} samples/s  data wait {row.data_wait:.1%}  "
                f"{row.memory_mib:.0f} MiB  ETA {format_time(event.left_s)}"
            )

    def panel(self) -> Table:
        """The live panel: the last step, the means of the last row, the last validation."""
        table = Table.grid(padding=(0, 2))
        if (now := self._now) is None:
            table.add_row("the first step is being made")
        else:
            table.add_row("loss", f"{now.loss:.5f}", "lr", f"{now.lr:.2e}", "s/step", f"{now.step_s:.2f}")
            table.add_row("ETA", format_time(now.left_s))
        if (row := self._row) is not None:
            table.add_row(
                "mean", f"{row.loss:.5f}", "gradient", f"{row.grad_norm:.3f}", "s/step", f"{row.step_s:.2f}"
            )
            table.add_row(
                "data wait", f"{row.data_wait:.1%}", "samples/s", f"{row.samples_per_s:.1f}", "memory",
                f"{row.memory_mib:.0f} MiB", "skipped", str(row.skipped),
            )  # fmt: skip
        for name, (psnr, bicubic) in dict(self._validated).items():  # drawn by a thread of Rich's
            table.add_row(name, f"{psnr:.3f} dB", "bicubic", f"{bicubic:.3f} dB")
        if self._best is not None:
            table.add_row("best mean", f"{self._best:.3f} dB")
        panel = Table.grid(expand=True)
        panel.add_row(self._progress)
        panel.add_row(table)
        if self._stop.reason:  # a step may take long
            panel.add_row(f"{self._stop.reason}: saving after this step (Ctrl+C once more stops at once)")
        return panel

    def _finish(self, summary: Summary) -> None:
        """The closing table, in the shape in which the published network reports its training."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        stage = self._recipe.stages[-1]
        sources = self._settings.sources
        rows = {
            "model": self._settings.model,
            "resources": _resources(summary),
            "data set": ", ".join(os.path.basename(os.path.normpath(spec.path)) for spec in sources),
            "batch size": str(stage.batch),
            "clips": f"{self._recipe.frames_of(stage)} frames of {stage.patch_gt_px}×{stage.patch_gt_px}",
            "optimizer": "Adam",
            "steps": str(summary.steps),
            "s/step": f"{summary.step_s:.3f}",
            "data wait": f"{summary.data_wait:.1%}",
            "peak memory": f"{summary.memory_mib:.0f} MiB",
            "time": format_time(summary.seconds),
            "best Y-PSNR": "-" if summary.best is None else f"{summary.best:.3f} dB",
            "weights": str(summary.weights),
        }
        self._console.print(_table("Training", rows))

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False)


def _start(event: Started) -> str:
    if event.step == event.steps:
        return ": the run is complete; give more --steps to go on"
    return ": going on" if event.step else ""


def _backend(settings: RunSettings) -> str:
    names = {"torch": "PyTorch", "mindspore": "MindSpore"}
    return f"backend: {names[settings.backend]}, {settings.backend_reason}"


def _resources(summary: Summary) -> str:
    devices = f"{summary.devices} × " if summary.devices > 1 else ""
    machines = f", on {summary.machines} machines" if summary.machines > 1 else ""
    return f"{devices}{summary.engine}{machines}"


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
        "steps per epoch": f"{plan.steps_per_epoch:.1f} ({plan.clips:,} clips without overlap)",
        "learning rate": f"{recipe.lr:g} to {recipe.lr_min:g}, cosine, {recipe.warmup} steps of warm-up",
    }
    if settings.backend_reason:
        console.print(_backend(settings), markup=False)
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
