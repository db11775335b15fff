"""One run per folder: a lock that ends with the process that holds it, however it ends."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from rvrt_cli.errors import OutputError
from rvrt_cli.system.files import translate_write_errors
from rvrt_cli.system.locks import try_lock_where_possible

LOCK_NAME = ".lock"


@contextlib.contextmanager
def run_lock(out: Path) -> Iterator[None]:
    """Hold the folder of a run while the block runs.

    Errors: :class:`OutputError` naming the process that holds it already, or where the folder cannot be written.
    """
    path = out / LOCK_NAME
    with translate_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not try_lock_where_possible(descriptor):
            holder = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "a process"
            raise OutputError(
                f"Another rvrt train ({holder}) is writing into {out}; wait for it, stop it, or choose another --out."
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield  # the file stays: to remove it would take it from under another process that has opened it
    finally:
        os.close(descriptor)
