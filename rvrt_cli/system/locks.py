"""Advisory locks on open files, which the operating system releases when their holder ends, however it ends."""

from __future__ import annotations

import errno
import os

FAR = 1 << 20
"""Where Windows locks a byte: far behind a file's text, which others may then still read."""


def try_lock(descriptor: int) -> bool:
    """Whether the lock on an open file could be had, now. Errors: OSError, as where a file system knows no locks."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(descriptor, FAR, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]  # Windows only
            finally:
                os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def try_lock_where_possible(descriptor: int) -> bool:
    """The same, and True on a file system that knows no locks: to work there without one beats not to work."""
    try:
        return try_lock(descriptor)
    except OSError:
        return True
