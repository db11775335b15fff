"""Draws a run's events: a live bar on a terminal, plain lines in a pipe or log, JSON lines on request.

Everything a person reads goes to stderr, so that stdout stays free for y4m and JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from rvrt_cli.errors import OutputError, RvrtError
from rvrt_cli.system.files import explain_os_error
from rvrt_cli.upscale.events import (
    Event,
    Finishing,
    MemoryReduced,
    Notice,
    Progress,
    Report,
    SegmentDone,
    Started,
    counted,
    event_to_dict,
)
from rvrt_cli.upscale.formatting import format_fps, format_size, format_time

PLAIN_INTERVAL_S = 10.0
JSON_INTERVAL_S = 1.0
NARROW_COLUMNS = 60
MIB = 1 << 20


def shares_line(stages: dict[str, float]) -> str:
    """``decode 3 %, model 96 %, encode 12 %``: where the time goes."""
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in stages.items())


def describe_progress(event: Progress) -> str:
    """One plain line about a moment of the run."""
    if event.doing is not None:
        doing = event.doing[0].upper() + event.doing[1:]
        if event.doing_share is None:
            return f"{doing} ({format_time(event.elapsed_s)})"
        left_s = event.elapsed_s * (1 / event.doing_share - 1) if event.doing_share > 0 else None
        return f"{doing}: {100 * event.doing_share:.0f} %, {format_time(left_s)} to go ({format_time(event.elapsed_s)})"
    share = f" ({100 * event.frames_done / event.frames_total:.0f} %)" if event.frames_total else ""
    total = f"/{event.frames_total}" if event.frames_total else ""
    return (
        f"{event.frames_done}{total} frames{share}, {format_fps(event.fps)} fps, elapsed {format_time(event.elapsed_s)}, "
        f"ETA {format_time(event.eta_s)}; {shares_line(event.stages)}"
    )


def describe_start(event: Started) -> list[str]:
    """What is going to be done, in two lines."""
    frames = f"{counted(event.frames_total, 'frame')}, " if event.frames_total else ""
    reason = f": {event.reason}" if event.reason else ""
    return [
        f"{event.input}: {frames}{event.width}x{event.height} -> {event.output_width}x{event.output_height}",
        f"Model {event.model} ({event.engine}{reason}); windows of {event.window} frames, {event.overlap} of context; {event.tiles}.",
    ]


def describe_memory(event: Started) -> str:
    """How memory was planned, in a line."""
    planned = ""
    if event.memory_bytes is not None and event.memory_limit_bytes is not None:
        planned = f"Memory: about {event.memory_bytes // MIB} MiB planned, limit {event.memory_limit_bytes // MIB} MiB; "
    return f"{planned}segments of {counted(event.segment_frames, 'frame')}."


def describe_report(report: Report) -> list[str]:
    """The result, in a few lines."""
    size = f", {format_size(report.output_bytes)}" if report.output_bytes is not None else ""
    verified = ", verified" if report.verified else ""
    lines = [
        f"{report.output}: {counted(report.frames, 'frame')}, {report.output_width}x{report.output_height}{size}{verified}."
    ]
    fresh = report.frames - report.frames_resumed
    resumed = f"{counted(report.frames_resumed, 'frame')} done before" if report.frames_resumed else ""
    if report.skipped_s >= 1:
        resumed += f", skipped in {format_time(report.skipped_s)}"
    resumed = f" ({resumed})" if resumed else ""
    one = report.frames == 1  # its speed says nothing, and it cannot be in two shots
    facts = [
        f"{counted(fresh, 'frame')} in {format_time(report.elapsed_s)}{resumed}"
        + ("" if one else f", {format_fps(report.fps)} fps"),
        shares_line(report.stages),
        "" if one else counted(report.shots, "shot"),
        f"peak memory {report.peak_rss_mib:.0f} MiB",
    ]
    lines.append("; ".join(filter(None, facts)) + ".")
    if report.corrupt_frames:
        lines.append(
            "1 damaged frame or packet was concealed by the decoder or gave no picture."
            if report.corrupt_frames == 1
            else f"{report.corrupt_frames} damaged frames or packets were concealed by the decoder or gave no picture."
        )
    lines.extend(report.notes)
    return lines


class View:
    """Listens to events. Use as a context manager; ``quiet`` shows nothing, ``as_json`` writes every event to ``out``."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        as_json: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._verbose = verbose
        self._json = as_json
        self._live = not quiet and self._err.isatty()
        # With --json and no terminal, nobody reads stderr but for errors.
        self._plain = not quiet and not self._live and not as_json
        self._bar: _Bar | None = None
        self._last_plain = 0.0
        self._last_json = -JSON_INTERVAL_S
        self._started: Started | None = None
        self._frames_done = 0
        self._skipping = False

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_bar()

    def __call__(self, event: Event) -> None:
        if self._json:
            self._write_json(event)
        for kind, show in self._handlers.items():
            if isinstance(event, kind):
                show(self, event)

    def say(self, text: str) -> None:
        """Show a line to a person, above the bar where there is one; what its encoding lacks becomes a question mark."""
        encoding = getattr(self._err, "encoding", None) or "utf-8"
        text = text.encode(encoding, "replace").decode(encoding)
        if self._bar is not None:
            self._bar.print(text)
        elif self._live or self._plain:
            self._err.write(text + "\n")
            self._err.flush()

    def tell_stopping(self) -> None:
        """Say what a stop waits for: the end of the segment in hand, nothing while a continued run skips, or where a pipe is read."""
        if self._skipping or (self._started is not None and not self._started.can_continue):
            self.say("Stopping.")
        elif self._started is None:
            self.say("Stopping; press Ctrl+C again to stop at once.")
        else:
            size, total = self._started.segment_frames, self._started.frames_total
            end = (self._frames_done // size + 1) * size
            self.say(
                f"Stopping after frame {end if total is None else min(end, total)}, when the current segment is finished; "
                "press Ctrl+C again to stop at once and lose it."
            )

    def tell_error(self, error: RvrtError) -> None:
        """End the JSON events with the error; a person reads it on stderr, at the boundary."""
        if self._json:
            record = {"event": "error", "exit_code": int(error.exit_code), "message": str(error)}
            with suppress(RvrtError):  # where standard output is what failed, stderr says so
                self._write_out(json.dumps(record))

    def _write_json(self, event: Event) -> None:
        if isinstance(event, Progress):
            if event.elapsed_s - self._last_json < JSON_INTERVAL_S:
                return
            self._last_json = event.elapsed_s
        self._write_out(json.dumps(event_to_dict(event)))

    def _write_out(self, text: str) -> None:
        """Write a line to ``out``. Errors: :class:`OutputError`, :class:`DiskFullError` where its reader left or its disk is full."""
        try:
            self._out.write(text + "\n")
            self._out.flush()
        except BrokenPipeError as error:
            raise OutputError("the program reading standard output stopped before the end.") from error
        except OSError as error:
            raise explain_os_error(error, Path("standard output")) from error

    def _on_started(self, event: Started) -> None:
        for line in describe_start(event):
            self.say(line)
        if self._verbose:
            self.say(describe_memory(event))
        self._started, self._frames_done = event, event.frames_done
        self._last_plain, self._last_json = 0.0, -JSON_INTERVAL_S
        if self._live:
            self._stop_bar()
            self._bar = _Bar(self._err)

    def _on_progress(self, event: Progress) -> None:
        self._frames_done, self._skipping = event.frames_done, event.doing_share is not None
        if self._bar is not None:
            self._bar.update(event)
        elif self._plain and event.elapsed_s - self._last_plain >= PLAIN_INTERVAL_S:
            self._last_plain = event.elapsed_s
            self.say(describe_progress(event))

    def _on_notice(self, event: Notice) -> None:
        self.say(f"Warning: {event.message}" if event.level == "warning" else event.message)

    def _on_segment(self, event: SegmentDone) -> None:
        if self._verbose:
            self.say(
                f"Segment {event.index} is finished: a run killed now continues after frame {event.frames_done}."
            )

    def _on_memory(self, event: MemoryReduced) -> None:
        self.say(
            f"Warning: memory ran out; trying the same frames with {event.tiles}, windows of {event.window} frames, {event.engine}."
        )

    def _on_finishing(self, event: Finishing) -> None:
        self._stop_bar()
        self._started = None
        if self._verbose or self._live:
            self.say(event.doing[0].upper() + event.doing[1:] + " ...")

    def _on_report(self, event: Report) -> None:
        self._stop_bar()
        for line in describe_report(event):
            self.say(line)

    def show_lines(self, event: Event, lines: list[str]) -> None:
        """Show the result of a command that is its answer: on stdout, or as JSON there."""
        if self._json:
            self._write_json(event)
        else:
            self._write_out("\n".join(lines))

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    _handlers: dict[type[Event], Callable[[View, Any], None]] = {  # noqa: RUF012 - filled once, never changed
        Started: _on_started,
        Progress: _on_progress,
        Notice: _on_notice,
        SegmentDone: _on_segment,
        MemoryReduced: _on_memory,
        Finishing: _on_finishing,
        Report: _on_report,
    }


class _Bar:
    """Two live lines: a bar with frames, fps, elapsed and ETA, and where the time goes."""

    def __init__(self, file: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=file, highlight=False)
        self._event: Progress | None = None
        self._live = Live(
            get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True
        )
        self._live.start()

    def update(self, event: Progress) -> None:
        self._event = event

    def print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def stop(self) -> None:
        self._live.stop()

    def _render(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        event = self._event
        if event is None:
            return Text("Starting ...")
        if event.doing is not None:
            return Text(
                describe_progress(event)
            )  # in two lines where it must be, for the time stands at its end
        total = f"/{event.frames_total}" if event.frames_total else ""
        frames = f"{event.frames_done}{total}"
        rate, eta = f"{format_fps(event.fps)} fps", f"ETA {format_time(event.eta_s)}"
        stages = Text(shares_line(event.stages), no_wrap=True, overflow="crop", style="dim")
        if self._console.width < NARROW_COLUMNS:
            share = f"{100 * event.frames_done / event.frames_total:.0f} % " if event.frames_total else ""
            lines = (f"{share}{frames} {eta}", f"{rate}, {format_time(event.elapsed_s)}")
            return Group(*(Text(line, no_wrap=True, overflow="crop") for line in lines), stages)
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(ratio=1)
        for _ in range(4):
            row.add_column(no_wrap=True)
        bar = ProgressBar(
            total=event.frames_total, completed=event.frames_done, pulse=event.frames_total is None
        )
        row.add_row(bar, frames, rate, format_time(event.elapsed_s), eta)
        return Group(row, Text("time: ", style="dim", no_wrap=True, overflow="crop").append_text(stages))
