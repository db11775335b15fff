"""Graphs and compiled programs kept in the user's cache directory, each entry guarded by its own SHA-256.

An entry appears whole by a rename, so concurrent runs at worst compute the same entry twice. An entry that is damaged,
half-copied or of another version is ignored and replaced. A cache that cannot be written costs time, nothing else.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from rvrt_cli.atomic import write_bytes
from rvrt_cli.errors import RvrtError

DIGEST_BYTES = 32

LIMIT_BYTES = 2 << 30
"""Least recently used entries beyond this total are removed when one is added."""


def cache_folder() -> Path:
    """``RVRT_CACHE`` or the platform's cache directory, below it ``graphs``."""
    import platformdirs

    return Path(os.environ.get("RVRT_CACHE") or platformdirs.user_cache_dir("rvrt")) / "graphs"


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
        write_bytes(path, hashlib.sha256(data).digest() + data)
        _prune(path.parent, keep=path)
    except (OSError, RvrtError):
        return


def _prune(folder: Path, keep: Path) -> None:
    """Remove the least recently used entries beyond :data:`LIMIT_BYTES`; another run may remove them first."""
    entries = []
    for path in folder.iterdir():
        try:
            status = path.stat()
        except OSError:
            continue
        entries.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= LIMIT_BYTES:
            return
        if path != keep:
            path.unlink(missing_ok=True)
            total -= size
