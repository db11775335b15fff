"""Standard input that can be given up while the program at its other end pauses."""

from __future__ import annotations

import queue
import select
import sys
import threading
from typing import Any, BinaryIO

from rvrt_cli.errors import InterruptedRun

BLOCK_BYTES = 1 << 20
BLOCKS_AHEAD = 4
POLL_S = 0.1


class StandardInput:
    """A binary stream that a thread of its own reads, so that nobody else ever waits inside the operating system.

    The thread reads the unbuffered stream: a buffered one is locked while it waits, and Python aborts at its end (signal 6)
    when it cannot have that lock.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._raw: Any = getattr(stream, "raw", stream)
        self._blocks: queue.Queue[bytes | OSError] = queue.Queue(BLOCKS_AHEAD)
        self._rest = memoryview(b"")
        self._given_up = threading.Event()
        self.ended = False
        threading.Thread(target=self._pump, name="standard input", daemon=True).start()

    def read(self, count: int) -> bytes:
        """``count`` bytes, fewer only at the end. Errors: :class:`InterruptedRun` after :meth:`give_up`; OSError."""
        parts: list[memoryview] = []
        missing = count
        while missing > 0 and (self._rest or self._fill()):
            part, self._rest = self._rest[:missing], self._rest[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def give_up(self) -> None:
        """Whoever reads, now or later, gets :class:`InterruptedRun`."""
        self._given_up.set()

    def _fill(self) -> bool:
        """Wait for the next block; False at the end of the stream."""
        while not self.ended:
            if self._given_up.is_set():
                raise InterruptedRun(
                    "Interrupted; frames from standard input cannot be read again, so nothing is kept."
                )
            try:
                block = self._blocks.get(timeout=POLL_S)
            except queue.Empty:
                continue
            self.ended = not block
            if isinstance(block, OSError):
                self.ended = True
                raise block
            self._rest = memoryview(block)
            return bool(block)
        return False

    def _pump(self) -> None:
        while True:
            try:
                block = self._raw.read(BLOCK_BYTES)
            except OSError as error:
                self._blocks.put(error)
                return
            if block is None:  # the program at the other end made the pipe non-blocking
                select.select([self._raw], [], [])
                continue
            self._blocks.put(block)
            if not block:
                return


_opened: tuple[Any, StandardInput] | None = None


def standard_input() -> StandardInput:
    """The process's standard input; who asks again goes on where the last one stopped reading."""
    global _opened
    if _opened is None or _opened[0] is not sys.stdin:
        _opened = sys.stdin, StandardInput(sys.stdin.buffer)
    return _opened[1]


def give_up_standard_input() -> bool:
    """End the wait of whoever reads standard input; → whether it is being read: begun, and not at its end."""
    if _opened is None or _opened[1].ended:
        return False
    _opened[1].give_up()
    return True
