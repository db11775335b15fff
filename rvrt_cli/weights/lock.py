"""One process at a time: an advisory lock on a file, released by the operating system even when its holder is killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rvrt_cli.system.locks import try_lock

PAUSE_S = 0.1
"""Between two looks at a lock that another process holds."""

NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
"""Makes ``os.open`` fail on a symbolic link, where the system can (not on Windows)."""


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock ``path`` (created empty, never removed); waits until it is free. Errors: OSError.

    ``waiting`` is called once when another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o644)
    try:
        if not try_lock(descriptor):
            if waiting is not None:
                waiting()
            while not try_lock(descriptor):
                time.sleep(PAUSE_S)
        yield
    finally:
        os.close(descriptor)
