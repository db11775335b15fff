"""Bounded queues between the threads of a run, whose waits end when the run does."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

POLL_S = 0.05


class Aborted(Exception):  # noqa: N818 - it is a message between threads, not an error
    """Another thread failed or the run was stopped: leave quietly."""


END = object()
"""Nothing follows."""
NOTHING = object()
"""Taken when the item before is done with."""


class Channel:
    """A bounded queue whose waits end when the run is aborted."""

    def __init__(self, size: int, abort: threading.Event) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._taken = threading.Semaphore(0)
        self._abort = abort

    def put(self, item: Any) -> None:
        while not self._abort.is_set():
            try:
                return self._queue.put(item, timeout=POLL_S)
            except queue.Full:
                continue
        raise Aborted

    def get(self) -> Any:
        while not self._abort.is_set():
            try:
                item = self._queue.get(timeout=POLL_S)
            except queue.Empty:
                continue
            self._taken.release()
            return item
        raise Aborted

    def hand_over(self, item: Any) -> None:
        """Put ``item`` and wait until the other side has taken it, which it does when it is done with the item before."""
        self.put(item)
        while not self._abort.is_set():
            if self._taken.acquire(timeout=POLL_S):
                return
        raise Aborted

    def __iter__(self) -> Iterator[Any]:
        while (item := self.get()) is not END:
            if item is not NOTHING:
                yield item
            del item  # it may be large, and the next one can be long in coming
