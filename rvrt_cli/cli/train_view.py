"""Draws a training run on stderr: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from rvrt_cli.train.engine import Place
from rvrt_cli.train.launch import VIEW_VARIABLE
from rvrt_cli.train.loop import Event, RunSettings, Saved, Skipped, Started, Stepped, Summary, Validated
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

    def __enter__(self) -> TrainView:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stderr.flush()
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
        elif isinstance(event, Stepped) and event.row is not None:
            row = event.row
            self._line(
                f"step {row.step}/{self._steps}  loss {row.loss:.5f}  lr {row.lr:.2e}  grad {row.grad_norm:.3f}  "
                f"{row.step_s:.2f} s/step  {row.samples_per_s:.1f} samples/s  data wait {row.data_wait:.1%}  "
                f"{row.memory_mib:.0f} MiB  ETA {_duration((self._steps - row.step) * row.step_s)}"
            )
        elif isinstance(event, Validated):
            for result in event.results:
                self._line(
                    f"step {event.step}  {result.name}: {result.psnr_y:.3f} dB, bicubic {result.bicubic:.3f} dB "
                    f"({result.psnr_y - result.bicubic:+.3f}); best mean {event.best:.3f} dB"
                )
        elif isinstance(event, Saved):
            self._line(f"saved {event.path}")
        elif isinstance(event, Skipped):
            self._line(f"step {event.step} skipped: its gradient was not finite ({event.total} so far)")

    def finish(self, summary: Summary, settings: RunSettings, recipe: Recipe) -> None:
        """The last line of a finished run."""
        self._line(f"trained {summary.steps} steps in {_duration(summary.seconds)}; weights: {summary.weights}")

    def _line(self, text: str) -> None:
        if self._quiet:
            return
        self._console.print(text, markup=False)


def _duration(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
