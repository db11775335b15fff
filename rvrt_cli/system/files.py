"""Files appear whole or not at all: write beside the target, fsync, rename."""

from __future__ import annotations

import errno
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rvrt_cli.errors import DiskFullError, OutputError


def sync_directory(folder: Path) -> None:
    """Make a rename in ``folder`` durable; a no-op where directories cannot be opened (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush the content of ``path`` to the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _short(stem: str) -> str:
    """At most 80 bytes of ``stem``: a temporary name is longer than its target's, and names have 255 bytes at most."""
    return stem.encode("utf-8", "surrogateescape")[:80].decode("utf-8", "ignore")


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` (same suffix); on success it replaces ``target``, on error it is removed.

    Errors: :class:`DiskFullError` when the disk is full, :class:`OutputError` when the folder cannot be written.
    """
    target = Path(target)
    temporary = target.with_name(f".{_short(target.stem)}.{uuid.uuid4().hex[:8]}.part{target.suffix}")
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, target)
        sync_directory(target.parent)
    except OSError as error:
        raise explain_os_error(error, target) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(target: Path) -> None:
    """Remove the temporary files that killed processes left beside ``target``; call it only while no other writes there."""
    target = Path(target)
    _remove_matching(target.parent, re.escape(_short(target.stem)), re.escape(target.suffix))


def remove_all_leftovers(folder: Path) -> None:
    """The same for whatever was being written directly in ``folder``, which holds the files of one run alone."""
    if folder.is_dir():
        _remove_matching(folder, ".+", r"\.\w+")


def _remove_matching(folder: Path, stem: str, suffix: str) -> None:
    pattern = re.compile(rf"\.{stem}\.[0-9a-f]{{8}}\.part{suffix}", re.DOTALL)
    for path in folder.iterdir():
        if pattern.fullmatch(path.name):
            path.unlink(missing_ok=True)


def explain_os_error(error: OSError, target: Path) -> OutputError | DiskFullError:
    """Turn an operating-system error met while writing ``target`` into the error a user should read."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"The disk is full: {target} could not be written; free some space and run the same command again."
        )
    return OutputError(
        f"{target} could not be written: {error.strerror or error}; choose another place or fix its permissions."
    )


@contextmanager
def explained_writing(target: Path) -> Iterator[None]:
    """Reword the operating system's errors met while writing ``target`` (:func:`explain_os_error`)."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, target) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` to ``path`` as indented UTF-8 JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
