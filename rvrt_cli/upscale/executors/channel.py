"""Bounded queues between the threads of a run, whose waits end when the run does."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

POLL_S = 0.05


class Aborted(Exception):  # noqa: N818 - it is a message between threads, not an error
    """Another thread failed or the run was stopped: leave quietly."""


STOP = object()
"""Nothing follows."""


class Channel:
    """A bounded queue whose waits end when the run is aborted."""

    def __init__(self, size: int, abort: threading.Event) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._abort = abort

    def put(self, item: Any) -> None:
        while not self._abort.is_set():
            try:
                return self._queue.put(item, timeout=POLL_S)
            except queue.Full:
                continue
        raise Aborted

    def wait(self, event: threading.Event) -> None:
        """Wait for what the other side sets."""
        while not event.wait(POLL_S):
            if self._abort.is_set():
                raise Aborted

    def __iter__(self) -> Iterator[Any]:
        while not self._abort.is_set():
            try:
                item = self._queue.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if item is STOP:
                return
            yield item
            del item  # it may be large, and the next one can be long in coming
        raise Aborted
