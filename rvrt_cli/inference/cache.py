"""Graphs and compiled programs kept in the user's cache directory, each entry guarded by its own SHA-256.

An entry appears whole by a rename, so concurrent runs at worst compute the same entry twice. An entry that is damaged,
half-copied or of another version is ignored and replaced. A cache that cannot be written costs time, nothing else.
Where a runtime keeps its results itself (TensorRT, CoreML), an entry is a folder that belongs to one program.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from rvrt_cli.errors import RvrtError
from rvrt_cli.system.cache_dir import user_cache
from rvrt_cli.system.files import write_bytes

DIGEST_BYTES = 32

LIMIT_BYTES = 2 << 30
"""Least recently used entries beyond this total are removed when one is added."""


def cache_folder() -> Path:
    """Where graphs and compiled programs lie."""
    return user_cache("graphs")


def entry_path(suffix: str, *parts: object, folder: Path | None = None) -> Path:
    """Where the entry for ``parts`` (weights, shape, precision, versions) lies; any change of a part is another entry."""
    key = hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()[:32]
    return (folder or cache_folder()) / f"{key}.{suffix}"


def read_entry(path: Path) -> bytes | None:
    """The content of an entry, or None where it is absent or damaged (a damaged one is removed)."""
    try:
        raw = path.read_bytes()
        if hashlib.sha256(raw[DIGEST_BYTES:]).digest() == raw[:DIGEST_BYTES]:
            os.utime(path)  # marks it as used
            return raw[DIGEST_BYTES:]
        path.unlink(missing_ok=True)
    except OSError:
        return None
    return None


def write_entry(path: Path, data: bytes) -> None:
    """Store an entry; failing to (a full disk, a read-only home) is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, hashlib.sha256(data).digest() + data, follow=False)
        _prune(path.parent, keep=path)
    except (OSError, RvrtError):
        return


class CachedBytes:
    """An entry that is made when it is absent or damaged, and made again when its reader cannot use it.

    ``make`` gives the content. ``remembered``: whether the content came from the disk, so that it may be at fault.
    """

    def __init__(self, path: Path, make: Callable[[], bytes]) -> None:
        self._path, self._make = path, make
        self.remembered = False

    def read(self) -> bytes:
        """The content."""
        data = read_entry(self._path)
        self.remembered = data is not None
        if data is None:
            data = self._make()
            write_entry(self._path, data)
        return data

    def drop(self) -> None:
        """Forget the stored content; the next :meth:`read` makes it."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return


def open_folder(path: Path) -> bool:
    """Make the folder of one program, mark it as used and make room for it; → whether something lies in it.

    A folder that cannot be made is no error here: the runtime that should fill it compiles without it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        os.utime(path)
        _prune(path.parent, keep=path)
        return any(path.iterdir())
    except OSError:
        return False


def _prune(folder: Path, keep: Path) -> None:
    """Remove the least recently used entries beyond :data:`LIMIT_BYTES`; another run may remove them first."""
    entries = []
    for path in folder.iterdir():
        try:
            entries.append((path.stat().st_mtime, _size(path), path))
        except OSError:
            continue
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= LIMIT_BYTES:
            return
        if path != keep:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            total -= size


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
