"""The journal of a run: which segments are finished, so that a killed run continues and ends in the same bytes.

A work directory holds ``journal.jsonl`` and the finished segments. The first line of the journal says what the run is
(version, input, options, weights); each further line is one finished segment with its SHA-256 and the state from which
planning continues, or a new plan for the rest of the run; the last ones tell how far the output is. Lines are appended,
carry a check sum and are fsynced; a line that a crash cut off is ignored, and so is a segment whose file does not match, with
everything after it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from rvrt_cli.errors import OutputError
from rvrt_cli.system.files import explain_os_error, explained_writing, sync_directory
from rvrt_cli.system.locks import try_lock_where_possible

JOURNAL_NAME = "journal.jsonl"
WORK_SUFFIX = ".rvrt-work"
FORMAT = 1
WHOLE_HASH_BYTES = 1 << 30
SAMPLES = 64
SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True)
class Restart:
    """From where planning continues after a segment: the window that made the segment's last frame.

    ``decode_from``: index of the first frame to decode for the detector and the window; ``rung``: the step of the
    out-of-memory ladder that worked.
    """

    decode_from: int
    shot_start: int
    origin: int
    window: int
    tile_px: int | None
    tile_overlap_px: int = 0
    rung: int = 0


@dataclass(frozen=True)
class SegmentRecord:
    """A finished segment: frames ``start`` to ``stop`` (exclusive) in the file ``name``."""

    index: int
    name: str
    start: int
    stop: int
    sha256: str
    restart: Restart
    shots: int = 0
    corrupt: int = 0


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


def identify_file(path: Path) -> dict[str, Any]:
    """What tells one input from another: its size and content.

    Files above 1 GiB are identified by 64 samples of their content and their modification time, so that a run on a
    film of 50 GB does not start with minutes of reading.
    """
    size = path.stat().st_size
    if size <= WHOLE_HASH_BYTES:
        return {"size": size, "sha256": hash_file(path)}
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for i in range(SAMPLES):
            stream.seek((size - SAMPLE_BYTES) * i // (SAMPLES - 1))
            digest.update(stream.read(SAMPLE_BYTES))
    return {"size": size, "samples_sha256": digest.hexdigest(), "mtime_ns": path.stat().st_mtime_ns}


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the entries in which two nested dicts differ, for the message that says why a run starts anew."""
    names = []
    for key in sorted(set(old) | set(new)):
        name = f"{prefix}{key}"
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            names += differences(before, after, f"{name}.")
        elif before != after:
            names.append(name)
    return names


def _stamp(output: Path) -> dict[str, int]:
    """What tells an output from another file that took its place."""
    stat = output.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _line(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {text}\n".encode()


def _parse(line: bytes) -> dict[str, Any] | None:
    """The record of a whole line; None where it was cut off or damaged."""
    if not line.endswith(b"\n"):
        return None
    check, _, text = line[:-1].partition(b" ")
    if hashlib.sha256(text).hexdigest()[:16].encode() != check:
        return None
    return json.loads(text)


def find_work(folder: Path, moved: Path, identity: Mapping[str, Any]) -> Path:
    """``folder``; where it is absent and ``moved`` holds the work of this very run, that is renamed to ``folder`` first."""
    if folder.exists() or not (moved / JOURNAL_NAME).is_file():
        return folder
    header = _header(moved / JOURNAL_NAME)
    if header is not None and header.get("identity") == json.loads(json.dumps(identity)):
        os.replace(moved, folder)
    return folder


def _header(path: Path) -> dict[str, Any] | None:
    """The first record of the journal ``path``; None where there is none or it is damaged."""
    if not path.exists():
        return None
    with open(path, "rb") as file:
        return _parse(file.readline())


def ended_at_the_output(folder: Path) -> bool:
    """Whether the run of this work directory ended (was killed) while its output was made, or before the work was removed."""
    try:
        last = (folder / JOURNAL_NAME).read_bytes().splitlines(keepends=True)[-1:]
    except OSError:
        return False
    record = _parse(last[0]) if last else None
    return record is not None and record["kind"] in ("placing", "placed")


class Journal:
    """The work directory of one run, locked for this run. Use as a context manager.

    ``identity`` (nested dict of JSON values) is what the output's bytes depend on. ``resolved`` is what was chosen for
    the run from the machine's state (tile and window of "auto"); on a continued run the earlier choice is kept until
    :meth:`amend` replaces it. After opening, ``segments`` are the finished ones; ``started_anew`` says in words why older
    work was thrown away; ``amended``: the choice was replaced after the last segment. ``placing``: the earlier run went as far
    as making the output; ``finished``: the file ``output`` is what it made, and only the work was left.
    Folders above the directory that the run, or the one it continues, had to make go with it once they are empty.
    Errors: :class:`OutputError` when another run holds the directory or it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        resolved: Mapping[str, Any],
        *,
        resume: bool = True,
        output: Path | None = None,
    ) -> None:
        self.folder = folder
        self.identity = json.loads(json.dumps(identity))
        self.resolved: dict[str, Any] = json.loads(json.dumps(resolved))
        self.segments: list[SegmentRecord] = []
        self.started_anew: str | None = None
        self.amended = self.placing = self.finished = False
        self._resume = resume
        self._output = output
        self._made: set[str] = set()
        self._file: IO[bytes] | None = None
        self._lock: IO[bytes] | None = None

    @property
    def path(self) -> Path:
        return self.folder / JOURNAL_NAME

    def __enter__(self) -> Journal:
        try:
            self._prepare_folder()
            self._take_lock()
            self._made.update((_header(self.path) or {}).get("made", ()))
            good_bytes = self._read() if self._resume else 0
            if good_bytes == 0:
                self._start_anew()
            else:
                # What follows the last good line was cut off by a crash; the next line must not be appended to it.
                os.truncate(self.path, good_bytes)
                self._remove_strays()
                self._file = open(self.path, "ab")
        except OSError as error:
            self.__exit__()
            raise explain_os_error(error, self.folder) from error
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._file, self._lock):
            if file is not None:
                with suppress(OSError):  # a full disk refuses once more what it already refused
                    file.close()
        self._file = self._lock = None

    def append(self, record: SegmentRecord) -> None:
        """Record a finished segment whose file is already on the disk. Errors: :class:`OutputError`, :class:`DiskFullError`."""
        self._write({"kind": "segment", **asdict(record)})
        self.segments.append(record)
        self.amended = False

    def amend(self, resolved: Mapping[str, Any]) -> None:
        """Record another choice for the rest of the run; a run that continues later goes on with it."""
        self.resolved = json.loads(json.dumps(resolved))
        self._write({"kind": "plan", "resolved": self.resolved})
        self.amended = True

    def place(self) -> None:
        """Record that the output is made from now on: what lies there afterwards is this run's."""
        self._write({"kind": "placing"})
        self.placing = True

    def close_work(self, output: Path | None, *, keep: bool) -> None:
        """Record that the output is in its place, then remove the work directory unless it is to be kept."""
        if keep:
            self._write({"kind": "kept"})
            return
        if output is not None:
            self._write({"kind": "placed", **_stamp(output)})
        self.remove()

    def remove(self) -> None:
        """Remove the work directory, as the run is finished or its work is not wanted, and the empty folders made for it."""
        self.__exit__()
        # The journal last: who is killed here finds it when the same command is given again.
        with suppress(OSError):
            for path in self.folder.iterdir():
                if path.name != JOURNAL_NAME:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        for above in self.folder.resolve().parents:
            if str(above) not in self._made:
                return
            try:
                above.rmdir()
            except OSError:  # something else lies in it
                return

    def _write(self, record: Mapping[str, Any]) -> None:
        assert self._file is not None
        with explained_writing(self.path):
            self._file.write(_line(record))
            self._file.flush()
            os.fsync(self._file.fileno())

    def _prepare_folder(self) -> None:
        if self.folder.suffix != WORK_SUFFIX:
            raise ValueError(
                f"a work directory's name ends in {WORK_SUFFIX}, because everything else in it is removed: {self.folder}"
            )
        self._made = {str(above) for above in self.folder.resolve().parents if not above.exists()}
        self.folder.mkdir(parents=True, exist_ok=True)
        sync_directory(self.folder.parent)

    def _take_lock(self) -> None:
        lock = open(self.folder / "lock", "ab")  # noqa: SIM115 - held until __exit__
        if not try_lock_where_possible(lock.fileno()):
            lock.close()
            raise OutputError(
                f"another run is working in {self.folder}; wait for it, or choose another --work-dir."
            )
        self._lock = lock

    def _read(self) -> int:
        """Read the journal; return how many of its bytes are good, 0 to start anew."""
        if not self.path.exists():
            return 0
        with open(self.path, "rb") as file:
            lines = file.readlines()
        header = _parse(lines[0]) if lines else None
        if header is None:
            self.started_anew = "the journal of the earlier run is damaged"
            return 0
        if header.get("format") != FORMAT:
            self.started_anew = "the earlier run was made by another version of rvrt"
            return 0
        changed = differences(header["identity"], self.identity)
        if changed:
            self.started_anew = "changed since the earlier run: " + ", ".join(changed)
            return 0
        self.resolved = header["resolved"]
        self.finished = self._output_is_made(_parse(lines[-1]))
        good_bytes = len(lines[0])
        for line in lines[1:]:
            record = _parse(line)
            if record is None:
                break
            kind = record.pop("kind")
            if kind != "segment":
                if kind == "plan":
                    self.resolved, self.amended = record["resolved"], True
                self.placing = kind in ("placing", "placed")
                good_bytes += len(line)
                continue
            try:
                segment = SegmentRecord(**{**record, "restart": Restart(**record["restart"])})
            except (TypeError, KeyError):
                self.started_anew = "the earlier run was made by another version of rvrt"
                return 0
            file_path = self.folder / segment.name
            follows = segment.start == (self.segments[-1].stop if self.segments else 0)
            whole = self.finished or (file_path.exists() and hash_file(file_path) == segment.sha256)
            if not follows or not whole:
                self.started_anew = f"segment {segment.index} of the earlier run is damaged; continuing from the one before it"
                break
            self.segments.append(segment)
            self.amended = False
            good_bytes += len(line)
        return good_bytes

    def _output_is_made(self, last: dict[str, Any] | None) -> bool:
        """Whether the last record says so, and the output is still that file."""
        if last is None or last["kind"] != "placed" or self._output is None or not self._output.is_file():
            return False
        stamp = _stamp(self._output)
        return all(last[name] == value for name, value in stamp.items())

    def _start_anew(self) -> None:
        self.segments, self.amended, self.placing, self.finished = [], False, False, False
        self.path.unlink(missing_ok=True)
        self._remove_strays()
        try:
            self._file = open(self.path, "wb")  # noqa: SIM115 - closed in __exit__
            self._write(
                {
                    "kind": "run",
                    "format": FORMAT,
                    "identity": self.identity,
                    "resolved": self.resolved,
                    "made": sorted(self._made),
                }
            )
            sync_directory(self.folder)
        except BaseException:
            self.remove()  # nothing can be continued from here
            raise

    def _remove_strays(self) -> None:
        """Remove half-written segments of a killed run."""
        keep = {JOURNAL_NAME, "lock", *(segment.name for segment in self.segments)}
        for path in self.folder.iterdir():
            if path.name in keep:
                continue
            if stat.S_ISDIR(path.lstat().st_mode):
                shutil.rmtree(path)
            else:
                path.unlink()
