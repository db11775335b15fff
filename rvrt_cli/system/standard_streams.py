"""Standard input, output and error as they really are: closed, or with nobody at the other end any more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO

_DESCRIPTORS = {"stdin": 0, "stdout": 1, "stderr": 2}
_closed: set[str] = set()


def fill_closed() -> None:
    """Put the null device in the place of each standard stream that the process was started without (``>&-``, services).

    To be called before a file is opened that stays open: it would get the free descriptor, and what libraries and
    child processes print would be written into it.
    """
    for name, descriptor in _DESCRIPTORS.items():
        if getattr(sys, name) is not None:
            continue
        _closed.add(name)
        mode = "r" if name == "stdin" else "w"
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)
            stream = open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process lives
        else:  # something of Python's own took the descriptor before
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
        setattr(sys, name, stream)


def was_closed(name: str) -> bool:
    """Whether the process was started without this stream ("stdin", "stdout" or "stderr")."""
    return name in _closed


def tolerate_lost_stderr() -> None:
    """From now on, messages to a standard error that takes none (its reader left, its terminal or disk is gone) are dropped."""
    if not isinstance(sys.stderr, ToleratedStderr):
        sys.stderr = ToleratedStderr(sys.stderr)


class ToleratedStderr:
    """A text stream on which writing never fails: a run does not end because nobody reads about it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop, ``text``."""
        self._tolerated(self._stream.write, text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write, or drop, ``lines``."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, or drop, what was written."""
        self._tolerated(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _tolerated(self, action: Any, *arguments: str) -> None:
        try:
            action(*arguments)
        except OSError:
            # What else is written there, by libraries and at the end, goes nowhere too instead of failing.
            drop(self._stream)


def release_stdout() -> None:
    """Where standard output cannot take what is left for it, drop that: Python would fail on it once more at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        drop(sys.stdout)


def drop(stream: TextIO) -> None:
    """What is buffered for ``stream``, and all that follows, goes to the null device."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
