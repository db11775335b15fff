"""One process at a time: an advisory lock on a file, released by the operating system even when its holder is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
"""Makes ``os.open`` fail on a symbolic link, where the system can (not on Windows)."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock ``path`` (created empty, never removed); waits until it is free. Errors: OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o644)
    try:
        if os.name == "nt":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
                    break
                except OSError:
                    continue  # LK_LOCK gives up after ten tries of a second each
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
