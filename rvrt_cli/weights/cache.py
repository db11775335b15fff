"""The cache of published weight files: first download with a recorded SHA-256, checked on every use.

Beside ``FILE`` lie ``FILE.json`` (its record), ``FILE.lock``, and while it is downloaded ``FILE.part`` and ``FILE.part.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from rvrt_cli.errors import WeightsError
from rvrt_cli.system.cache_dir import user_cache
from rvrt_cli.system.files import explain_os_error, sync_directory, sync_file, write_json
from rvrt_cli.weights.download import Progress, download, state_path
from rvrt_cli.weights.files import load_weights
from rvrt_cli.weights.lock import locked
from rvrt_cli.weights.names import describe
from rvrt_cli.weights.raw import read_bytes
from rvrt_cli.weights.registry import PublishedWeights

MIRROR_VARIABLE = "RVRT_WEIGHTS_MIRROR"
"""Environment variable: an http(s) folder that serves the published files by their file names."""


@dataclass(frozen=True)
class Record:
    """What was noted when a file entered the cache. ``source``: the address or path it came from; ``fetched``: UTC, ISO 8601."""

    sha256: str
    size_bytes: int
    source: str
    fetched: str


@dataclass(frozen=True)
class Fetched:
    """A verified file in the cache; ``new`` when this call put it there."""

    path: Path
    record: Record
    new: bool


def cache_folder() -> Path:
    """Where fetched weights lie."""
    return user_cache("weights")


def cached(entry: PublishedWeights, folder: Path | None = None) -> Path | None:
    """The file in the cache, its hash checked; None when it was never fetched.

    Errors: :class:`WeightsError` when it is a symbolic link or differs from what was recorded.
    """
    path = (folder or cache_folder()) / entry.file_name
    _refuse_links(path)
    record = _read_record(path)
    if record is None or not path.exists():
        return None
    _check_hash(path, record)
    return path


def fetch(
    entry: PublishedWeights,
    *,
    folder: Path | None = None,
    mirror: str | None = None,
    source: Path | None = None,
    force: bool = False,
    announce: Callable[[PublishedWeights], None] | None = None,
    progress: Progress | None = None,
    waiting: Callable[[], None] | None = None,
) -> Fetched:
    """Bring a published file into the cache, or confirm that it is there unchanged.

    ``mirror``: an http(s) folder to use instead of the publisher's (default: environment variable ``RVRT_WEIGHTS_MIRROR``);
    ``source``: a local copy to use instead of a download; ``force``: fetch again and accept another hash than the recorded one.
    ``announce`` is called before the first byte is fetched, to show the licence, ``waiting`` when another process is fetching the
    same file, for which this one waits. Safe to call from several processes at once.

    Errors: NetworkError; :class:`WeightsError` when the file is not the published architecture or its hash changed.
    """
    folder = folder or cache_folder()
    path = folder / entry.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_links(path)
        with locked(_beside(path, ".lock"), waiting):
            return _fetch_locked(entry, path, mirror, source, force, announce, progress)
    except OSError as error:
        raise explain_os_error(error, path) from error


def _fetch_locked(
    entry: PublishedWeights,
    path: Path,
    mirror: str | None,
    source: Path | None,
    force: bool,
    announce: Callable[[PublishedWeights], None] | None,
    progress: Progress | None,
) -> Fetched:
    record = _read_record(path)
    if record is not None and path.exists() and not force and source is None:
        _check_hash(path, record)
        return Fetched(path, record, new=False)
    if announce is not None:
        announce(entry)
    part = _beside(path, ".part")
    if source is not None:
        origin = str(source)
        part.unlink(missing_ok=True)
        part.write_bytes(read_bytes(source))
        state_path(part).unlink(missing_ok=True)
    else:
        origin = address(entry, mirror)
        download(origin, part, progress)
    new = _verified_record(entry, part, origin)
    if record is not None and new.sha256 != record.sha256 and not force:
        part.unlink()
        raise WeightsError(
            f"{origin} is not the file that was fetched on {record.fetched[:10]}: its SHA-256 is {new.sha256} instead of "
            f"{record.sha256}; if the publisher really replaced it, use --force."
        )
    sync_file(part)
    # The record first: a file without a record is never trusted, a record without a file is only fetched again.
    write_json(_beside(path, ".json"), asdict(new), follow=False)
    os.replace(part, path)
    sync_directory(path.parent)
    return Fetched(path, new, new=True)


def address(entry: PublishedWeights, mirror: str | None = None) -> str:
    """Where the file is downloaded from: the mirror, the environment's mirror, or the publisher."""
    base = mirror or os.environ.get(MIRROR_VARIABLE) or entry.base_url
    return base.rstrip("/") + "/" + entry.file_name


def _verified_record(entry: PublishedWeights, part: Path, origin: str) -> Record:
    """Check the structure of a complete download; a file that fails is removed, so that it is not "continued"."""
    try:
        weights = load_weights(part)
    except WeightsError as error:
        part.unlink(missing_ok=True)
        raise WeightsError(f"{origin} did not give {entry.file_name}: {error}") from error
    if weights.config != entry.config:
        part.unlink(missing_ok=True)
        raise WeightsError(
            f"{origin} holds {describe(weights.config)} instead of {describe(entry.config)}; it was not kept."
        )
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Record(weights.sha256, part.stat().st_size, origin, now)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _refuse_links(path: Path) -> None:
    """A link in the cache could make us overwrite or read another file than the one we name."""
    for suffix in ("", ".json", ".lock", ".part", ".part.json"):
        entry = _beside(path, suffix)
        if entry.is_symlink() or (entry.exists() and not entry.is_file()):
            raise WeightsError(
                f"{entry} in the weights cache is a symbolic link or no regular file; remove it and fetch again."
            )


def _read_record(path: Path) -> Record | None:
    record = _beside(path, ".json")
    try:
        values = json.loads(record.read_bytes())
        result = Record(**values)
        if re.fullmatch(r"[0-9a-f]{64}", result.sha256):
            return result
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError):
        pass
    raise WeightsError(f"The record {record} is damaged; remove it and fetch the weights again.")


def _check_hash(path: Path, record: Record) -> None:
    found = hashlib.sha256(read_bytes(path)).hexdigest()
    if found != record.sha256:
        raise WeightsError(
            f"{path} has changed since it was fetched (SHA-256 {found} instead of {record.sha256}); "
            "remove it and run `rvrt weights fetch` again."
        )
