"""How a run is asked to stop: by signals, which processes it starts must not take for themselves."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
"""A queue's or the system's, the keyboard's, and that of a terminal that goes away."""

STOPPED_AT_ONCE = (
    "Stopped at once; what came after the last checkpoint is lost: "
    "run the same command with --resume auto to continue."
)
"""Said after a second Ctrl+C."""


class StopRequest:
    """Holds the reason to stop, empty while there is none; a second Ctrl+C raises KeyboardInterrupt at once.

    ``watch``: asked as well, for a reason that comes without a signal.
    """

    def __init__(self, watch: Callable[[], str] = str) -> None:
        self.reason = ""
        self._watch = watch

    def asked(self) -> str:
        """Why to stop, or an empty string."""
        self.reason = self.reason or self._watch()
        return self.reason

    def take_signals(self) -> None:
        """Be told of stop signals from now on; call it again after a framework that may have taken them was loaded."""
        for number in STOP_SIGNALS:
            # nohup ignores SIGHUP, so that the run outlives its terminal.
            if number in (signal.SIGTERM, signal.SIGINT) or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._ask)
        if hasattr(
            signal, "pthread_sigmask"
        ):  # see signals_held: what came while this process started arrives now
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    @contextmanager
    def installed(self) -> Iterator[StopRequest]:
        """Take the signals while the block runs; afterwards they do what they did before."""
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        self.take_signals()
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, _: Any) -> None:
        if self.reason and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name


@contextmanager
def ended_by_interrupts() -> Iterator[None]:
    """Ctrl+C inside the block ends the process at once, as the system does it: for work that leaves nothing behind.

    Not as an exception: one that passes through the import of MindSpore (2.8) makes it abort with a traceback.
    """
    before = signal.getsignal(signal.SIGINT)
    if before != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold stop signals back while processes are started inside the block.

    A group of processes is often signalled as a whole (``timeout``, systemd, Slurm). The held-back signals are inherited:
    what is started here never sees them, unless it takes them (:meth:`StopRequest.take_signals`), and is ended by this
    process alone. Those that arrive meanwhile reach this process after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows signals no groups
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
