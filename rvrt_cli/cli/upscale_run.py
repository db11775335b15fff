"""What ``rvrt upscale`` does once its options are read, and how it stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rvrt_cli.cli.progress import View
from rvrt_cli.cli.stopping import ending_signals, signals_as_interrupt
from rvrt_cli.errors import InterruptedRun, OutOfMemoryError_, RvrtError
from rvrt_cli.system.standard_input import give_up_standard_input
from rvrt_cli.system.standard_streams import release_stdout
from rvrt_cli.upscale.options import UpscaleOptions


def run(
    input_path: str,
    output: str | None,
    options: UpscaleOptions,
    view: View,
    *,
    estimate: bool,
    frame_s: float | None,
) -> None:
    """Measure and show a plan, or upscale a folder, a film, or its frame at ``frame_s`` seconds; ``view`` gets the events."""
    if estimate:
        from rvrt_cli.upscale.estimate import describe_estimate, estimate_run

        with signals_as_interrupt():
            plan = estimate_run(input_path, output, options, say=view.say, on_event=view)
        view.show_lines(plan, describe_estimate(plan))
        return
    assert output is not None
    if frame_s is not None:
        from rvrt_cli.upscale.one_frame import upscale_frame

        with signals_as_interrupt():
            view(upscale_frame(input_path, output, frame_s, options, on_event=view))
        return
    from rvrt_cli.upscale.batch import is_batch, upscale_folder
    from rvrt_cli.upscale.run import upscale

    with stop_on_signals(view) as stop:
        if is_batch(input_path):
            upscale_folder(Path(input_path), Path(output), options, on_event=view, stop=stop)
        else:
            view(upscale(input_path, output, options, on_event=view, stop=stop))


@contextmanager
def errors_as_events(view: View) -> Iterator[None]:
    """Let a reader of ``--json`` see the error too, and explain what the command-line library would swallow."""
    try:
        yield
    except RvrtError as error:
        view.tell_error(error)
        release_stdout()
        raise
    except KeyboardInterrupt as error:
        interrupted = InterruptedRun("Interrupted; nothing was written.")
        view.tell_error(interrupted)
        raise interrupted from error
    except MemoryError as error:
        short = OutOfMemoryError_(
            "memory ran out; give --memory-limit a smaller size, or upscale a smaller video."
        )
        view.tell_error(short)
        raise short from error


@contextmanager
def stop_on_signals(view: View) -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl+C (or :func:`ending_signals`) sets; the second one raises KeyboardInterrupt.

    What comes through standard input cannot be read again, so nothing of it is worth finishing: the first one ends such a run,
    also while it waits for its input.
    """
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if give_up_standard_input():
            view.say("Stopping.")
        else:
            view.tell_stopping()

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, *ending_signals())}
    try:
        yield stop
    except KeyboardInterrupt as error:
        raise InterruptedRun(
            "Interrupted; run the same command again to continue after the last finished segment."
        ) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
