"""Temporary folders that do not outlive a killed process for long: the next one that needs a folder removes them.

They may hold copies of sound and subtitles. A lock tells the folders in use from those left behind: the operating system
releases it with the process, however that ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rvrt_cli.system.locks import try_lock

PREFIX = "rvrt-media-"
LOCK_NAME = "lock"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of the system's temporary place for as long as the block runs; removes what killed processes left there."""
    remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with suppress(OSError):  # where there are no locks, nobody removes the folder but this process
                if try_lock(descriptor):
                    os.write(descriptor, b"held")  # from now on a free lock means that the process has ended
            yield folder
        finally:
            os.close(descriptor)  # Windows removes no open file
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned() -> None:
    """Remove the folders in the system's temporary place whose process has ended without doing so."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Whether nobody holds the folder's lock; a folder without one is just being made, or is somebody else's."""
    if folder.is_symlink() or (os.name != "nt" and not _is_mine(folder)):
        return False
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR)
    except OSError:
        return False
    try:
        # A lock that is not taken yet belongs to a folder made this very moment: its file is empty until then.
        return os.fstat(descriptor).st_size > 0 and try_lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _is_mine(folder: Path) -> bool:
    try:
        return folder.lstat().st_uid == os.getuid()
    except OSError:
        return False
