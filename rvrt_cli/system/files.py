"""Files appear whole or not at all: write beside the target, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import FILE_ATTRIBUTE_HIDDEN

from rvrt_cli.errors import DiskFullError, OutputError

NAME_MAX_BYTES = 255
"""What a file name may have at most where the file system does not say."""
_DIGEST_DIGITS = 8
_LONGEST_FORMAT_SUFFIX = 16
"""A suffix that names a format is shorter; what is longer is part of a name with a full stop in it."""


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


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal; of a folder: of the names and contents of its files."""
    digest = hashlib.sha256()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.name.encode() + b"\0")
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def is_hidden(path: Path) -> bool:
    """Whether ``path`` is a file that its owner does not see: ``._film.mp4`` of a Mac, ``.Trash-1000``, hidden on Windows."""
    if path.name.startswith("."):
        return True
    attributes = getattr(path.stat(), "st_file_attributes", 0) if os.name == "nt" else 0
    return bool(attributes & FILE_ATTRIBUTE_HIDDEN)


def visible(folder: Path) -> list[Path]:
    """What lies directly in ``folder``, sorted by name, without what is hidden. Errors: OSError."""
    return sorted(path for path in folder.iterdir() if not is_hidden(path))


def visible_folders(root: Path) -> list[Path]:
    """``root`` and the folders below it, sorted, without hidden ones, what lies in them, and what this user may not read.

    A link to a folder counts, what lies deeper in it does not: it could lead back.
    """
    found = [root]
    waiting = [root]
    while waiting:
        with suppress(PermissionError):
            below = [path for path in visible(waiting.pop()) if path.is_dir() and os.access(path, os.R_OK)]
            found.extend(below)
            waiting.extend(path for path in below if not path.is_symlink())
    return sorted(found)


def longest_name(folder: Path) -> int:
    """How many bytes the name of a file in ``folder``, which may not exist yet, can have."""
    existing = next((place for place in [folder, *folder.absolute().parents] if place.is_dir()), Path())
    try:
        return os.pathconf(existing, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return NAME_MAX_BYTES


def fitting_name(folder: Path, stem: str, suffix: str) -> str:
    """``stem + suffix``; where that is too long for a name in ``folder``, the beginning of ``stem`` and a hash of all of it."""
    limit = longest_name(folder)
    coded = os.fsencode(stem)
    if len(coded) + len(os.fsencode(suffix)) <= limit:
        return stem + suffix
    digest = hashlib.sha256(coded).hexdigest()[:_DIGEST_DIGITS]
    room = limit - len(os.fsencode(suffix)) - len(digest) - 1
    return f"{coded[:room].decode('utf-8', 'ignore')}.{digest}{suffix}"


def written_through(target: Path) -> Path:
    """The file that ``target`` stands for: where it is a link, what it points to, which need not exist.

    Errors: :class:`OutputError` for a link that leads back to itself.
    """
    if not target.is_symlink():
        return target
    try:
        os.stat(target)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise explain_os_error(error, target) from error
    return Path(os.path.realpath(target))


def _parts(target: Path) -> tuple[str, str]:
    """The stem, cut so that a temporary name fits, and the suffix that names the format; together they need not be the name."""
    suffix = target.suffix if len(target.suffix) <= _LONGEST_FORMAT_SUFFIX else ""
    return os.fsencode(target.stem)[:80].decode("utf-8", "ignore"), suffix


def temporary_beside(target: Path) -> Path:
    """A new name beside ``target`` with its suffix, under which it can be made before it is put into its place."""
    stem, suffix = _parts(target)
    return target.with_name(f".{stem}.{uuid.uuid4().hex[:8]}.part{suffix}")


@contextmanager
def atomic_path(target: Path, *, follow: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` (same suffix); on success it replaces ``target``, on error it is removed.

    A link is written through, the file it points to is replaced; ``follow`` False: the link itself is.
    Errors: :class:`DiskFullError` when the disk is full, :class:`OutputError` when the folder cannot be written.
    """
    target = written_through(Path(target)) if follow else Path(target)
    temporary = temporary_beside(target)
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
    target = written_through(Path(target))
    stem, suffix = _parts(target)
    _remove_matching(target.parent, re.escape(stem), re.escape(suffix))


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
def translate_write_errors(target: Path) -> Iterator[None]:
    """Reword the operating system's errors met while writing ``target`` (:func:`explain_os_error`)."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, target) from error


def write_bytes(path: Path, data: bytes, *, follow: bool = True) -> None:
    """Write ``data`` to ``path`` atomically; ``follow`` as in :func:`atomic_path`."""
    with atomic_path(path, follow=follow) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: object, *, follow: bool = True) -> None:
    """Write ``value`` to ``path`` as indented UTF-8 JSON, atomically; ``follow`` as in :func:`atomic_path`."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(), follow=follow)
