"""One run per folder: a lock that ends with the process that holds it, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from rvrt_cli.atomic import explained_writing
from rvrt_cli.errors import OutputError

LOCK_NAME = ".lock"


@contextlib.contextmanager
def run_lock(out: Path) -> Iterator[None]:
    """Hold the folder of a run while the block runs.

    Errors: :class:`OutputError` naming the process that holds it already, or where the folder cannot be written.
    """
    path = out / LOCK_NAME
    with explained_writing(out):
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _lock(descriptor):
            holder = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "a process"
            raise OutputError(
                f"Another rvrt train ({holder}) is writing into {out}; wait for it, stop it, or choose another --out."
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield  # the file stays: to remove it would take it from under another process that has opened it
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether the lock could be had; True as well on a file system that knows no locks."""
    if sys.platform == "win32":
        import msvcrt

        try:
            # Far behind the text, which the others read.
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)
    return True
