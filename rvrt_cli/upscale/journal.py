"""The journal of a run: a map from segment to finished file, so that a killed run continues and ends in the same bytes.

A work directory holds ``journal.jsonl`` and the finished segments. The first line of the journal says what the run is
(version, input, options, weights); each further line is one finished segment, in any order, with its file's SHA-256 and the state
in which planning goes on behind it, or a new plan for the rest of the run; the last ones tell how far the output is. Lines are
appended, carry a check sum and are fsynced. A line that a crash cut off is ignored, and so is a segment whose file does not match:
that one alone is made again. What cannot be continued, because something has changed, is kept under another name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rvrt_cli.errors import OutputError
from rvrt_cli.system.files import (
    explain_os_error,
    fitting_name,
    hash_file,
    sync_directory,
    translate_write_errors,
)
from rvrt_cli.system.locks import try_lock_where_possible
from rvrt_cli.upscale.output_path import exists_already
from rvrt_cli.upscale.render import FinishedFile
from rvrt_cli.upscale.segments import PlannerState, Segment

JOURNAL_NAME = "journal.jsonl"
LOCK_NAME = "lock"
WORK_SUFFIX = ".rvrt-work"
FORMAT = 2
WHOLE_HASH_BYTES = 1 << 30
SAMPLES = 64
SAMPLE_BYTES = 1 << 20
LOCK_TRIES = 100
"""How often a work folder that another run removes at the same moment is made again."""


@dataclass(frozen=True)
class SegmentRecord:
    """A finished segment, its file in the work directory, and the state of planning behind it."""

    segment: Segment
    file: FinishedFile
    after: PlannerState

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "segment": self.segment.to_json(),
            "file": {"name": self.file.name, "sha256": self.file.sha256, "corrupt": self.file.corrupt},
            "after": self.after.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SegmentRecord:
        """The record of :meth:`to_json`. Errors: KeyError, TypeError for other fields."""
        return cls(
            Segment.from_json(values["segment"]),
            FinishedFile(**values["file"]),
            PlannerState.from_json(values["after"]),
        )


@dataclass(frozen=True)
class Gap:
    """A part of the film without finished segments: from ``state`` to frame ``until``, None for the end.

    ``like``: the segment that was made there once, or else the last one before it; None at the beginning. The gap is filled with the
    window, tiles and model of that one, as memory had allowed.
    """

    state: PlannerState
    until: int | None
    like: Segment | None


def identify_file(path: Path) -> dict[str, Any]:
    """What tells one input from another: its size and content.

    Of files above 1 GiB 64 samples of their content are taken, so that a run on a film of 50 GB does not start with minutes of
    reading. When a file was written is no part of it: copies and touched files are the same film.
    """
    size = path.stat().st_size
    if size <= WHOLE_HASH_BYTES:
        return {"size": size, "sha256": hash_file(path)}
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for i in range(SAMPLES):
            stream.seek((size - SAMPLE_BYTES) * i // (SAMPLES - 1))
            digest.update(stream.read(SAMPLE_BYTES))
    return {"size": size, "samples_sha256": digest.hexdigest()}


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
    """The work directory of one run, locked for this run until it is gone. Use as a context manager.

    ``identity`` (nested dict of JSON values) is what the output's bytes depend on. ``resolved`` is what was chosen for
    the run from the machine's state (tile and window of "auto"); on a continued run the earlier choice is kept until
    :meth:`amend` replaces it. After opening, ``records`` maps the index of each finished segment to its record; ``damaged``: indices
    of those that were finished once and whose files are no longer what they were; ``started_anew`` says in words why older work is
    not continued, and ``kept`` where that lies now; ``amended``: the choice was replaced after the last segment. ``placing``: the earlier run went as far
    as making the output; ``finished``: the file ``output`` is what it made, and only the work was left. ``overwrite`` False: where
    ``output`` exists and nothing is continued, nothing is touched.
    ``once``: the input cannot be read again, so that nobody will continue this run.
    Folders above the directory that the run, or the one it continues, had to make go with it once they are empty.
    Errors: :class:`OutputError` when another run holds the directory, it cannot be written, or the output exists.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        resolved: Mapping[str, Any],
        *,
        resume: bool = True,
        output: Path | None = None,
        overwrite: bool = True,
        once: bool = False,
    ) -> None:
        self.folder = folder
        self.identity = json.loads(json.dumps(identity))
        self.resolved: dict[str, Any] = json.loads(json.dumps(resolved))
        self.records: dict[int, SegmentRecord] = {}
        self._once_finished: dict[int, SegmentRecord] = {}  # those that are damaged now, too
        self.damaged: list[int] = []
        self.started_anew: str | None = None
        self.kept: Path | None = None
        self.amended = self.placing = self.finished = False
        self._resume = resume
        self._output = output
        self._overwrite = overwrite
        self._once = once
        self._worth_keeping = resume
        self._made: set[str] = set()
        self._file: IO[bytes] | None = None
        self._lock: IO[bytes] | None = None

    @property
    def path(self) -> Path:
        return self.folder / JOURNAL_NAME

    @property
    def frames_done(self) -> int:
        """Frames in finished segments."""
        return sum(record.segment.frames for record in self.records.values())

    def gaps(self) -> list[Gap]:
        """What has no finished segments, in the film's order."""
        gaps: list[Gap] = []
        state, before = PlannerState(), None
        for index, record in sorted(self._once_finished.items()):
            segment, known, whole = record.segment, index == state.index, index in self.records
            if not (known and whole):
                gaps.append(
                    Gap(state, segment.start if whole else segment.stop, segment if known else before)
                )
            state, before = record.after, segment
        return [*gaps, Gap(state, None, before)]

    def files(self) -> list[Path]:
        """The files (or folders) of the finished segments, in the film's order."""
        return [self.folder / self.records[index].file.name for index in sorted(self.records)]

    def __enter__(self) -> Journal:
        try:
            self._take_lock()
            self._made.update((_header(self.path) or {}).get("made", ()))
            good_bytes = self._read() if self._resume else 0
            if good_bytes == 0:
                self._start_anew()
            else:
                # A last line that a crash cut off: the next one must not be appended to it.
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
        self._write({"kind": "segment", **record.to_json()})
        self.records[record.segment.index] = self._once_finished[record.segment.index] = record
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
        """Remove the work directory, as the run is finished or its work is not wanted, and the empty folders made for it.

        The lock is held until the folder is gone. A run that begins meanwhile is refused, or finds no folder and makes its own.
        """
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
        # The journal last: who is killed here finds it when the same command is given again.
        for path in self._others():
            if stat.S_ISDIR(path.lstat().st_mode):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()
        if os.name == "nt":
            self.__exit__()  # Windows removes no open file
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            (self.folder / LOCK_NAME).unlink(missing_ok=True)
            self.folder.rmdir()
        self.__exit__()
        for above in self.folder.resolve().parents:
            if str(above) not in self._made:
                return
            try:
                above.rmdir()
            except OSError:  # something else lies in it
                return

    def _write(self, record: Mapping[str, Any]) -> None:
        assert self._file is not None
        with translate_write_errors(self.path):
            self._file.write(_line(record))
            self._file.flush()
            os.fsync(self._file.fileno())

    def _take_lock(self) -> None:
        """Make the folder where it is absent and lock it."""
        if self.folder.suffix != WORK_SUFFIX:
            raise ValueError(
                f"a work directory's name ends in {WORK_SUFFIX}, because everything else in it is removed: {self.folder}"
            )
        self._made |= {str(above) for above in self.folder.resolve().parents if not above.exists()}
        for _ in range(LOCK_TRIES):
            self.folder.mkdir(parents=True, exist_ok=True)
            sync_directory(self.folder.parent)
            try:
                lock = open(self.folder / LOCK_NAME, "ab")  # noqa: SIM115 - held until __exit__
            except FileNotFoundError:
                continue  # the run that held the folder has just removed it
            if not try_lock_where_possible(lock.fileno()):
                lock.close()
                break
            if _is_there(lock, self.folder / LOCK_NAME):
                self._lock = lock
                return
            lock.close()  # of a folder that was removed after it was opened
        raise OutputError(
            f"another run is working in {self.folder}; wait for it, or choose another --work-dir."
        )

    def _read(self) -> int:
        """Read the journal; return how many of its bytes are whole lines, 0 to start anew."""
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
        if header.get("once"):
            self._worth_keeping = False
            return 0
        changed = differences(header["identity"], self.identity)
        if changed:
            self.started_anew = "changed since the earlier run: " + ", ".join(changed)
            return 0
        self.resolved = header["resolved"]
        self.finished = self._output_is_made(_parse(lines[-1]))
        found: dict[int, SegmentRecord] = {}
        for record in filter(None, map(_parse, lines[1:])):
            kind = record.pop("kind")
            self.placing = kind in ("placing", "placed")
            if kind == "plan":
                self.resolved, self.amended = record["resolved"], True
            if kind == "segment":
                try:
                    segment = SegmentRecord.from_json(record)
                except (TypeError, KeyError):
                    self.started_anew = "the earlier run was made by another version of rvrt"
                    return 0
                found[segment.segment.index] = segment
                self.amended = False
        self._once_finished = found
        for index, segment in found.items():
            if self.finished or self._is_whole(segment.file):
                self.records[index] = segment
            else:
                self.damaged.append(index)
                self.placing = False  # the output cannot have been made of it
        return sum(len(line) for line in lines if line.endswith(b"\n"))

    def _is_whole(self, file: FinishedFile) -> bool:
        path = self.folder / file.name
        return path.name == file.name and path.exists() and hash_file(path) == file.sha256

    def _output_is_made(self, last: dict[str, Any] | None) -> bool:
        """Whether the last record says so, and the output is still that file."""
        if last is None or last["kind"] != "placed" or self._output is None or not self._output.is_file():
            return False
        stamp = _stamp(self._output)
        return all(last[name] == value for name, value in stamp.items())

    def _start_anew(self) -> None:
        """An empty journal. Work of an earlier run that cannot be continued is kept beside; with ``resume`` False it is not wanted."""
        self.records, self._once_finished = {}, {}
        self.amended, self.placing, self.finished = False, False, False
        if self._worth_keeping and any(
            re.fullmatch(r"\d{6}(\.\w+)?", path.name) for path in self.folder.iterdir()
        ):
            if self._output is not None and self._output.exists() and not self._overwrite:
                raise exists_already(self._output)
            self._keep_for_later()
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
                    "once": self._once,
                }
            )
            sync_directory(self.folder)
        except BaseException:
            self.remove()  # nothing can be continued from here
            raise

    def _keep_for_later(self) -> None:
        """Keep the folder under another name and go on in a new one."""
        stem, number = self.folder.name.removesuffix(WORK_SUFFIX), 1
        while (
            kept := self.folder.with_name(
                fitting_name(self.folder.parent, stem, f".kept-{number}{WORK_SUFFIX}")
            )
        ).exists():
            number += 1
        if os.name == "nt":
            self.__exit__()  # Windows renames no folder of open files
        os.replace(self.folder, kept)
        self.__exit__()
        self.kept = kept
        self._take_lock()

    def _others(self) -> list[Path]:
        """What lies in the folder beside journal and lock."""
        try:
            return [path for path in self.folder.iterdir() if path.name not in (JOURNAL_NAME, LOCK_NAME)]
        except OSError:
            return []

    def _remove_strays(self) -> None:
        """Remove half-written segments of a killed run."""
        keep = {record.file.name for record in self.records.values()}
        for path in self._others():
            if path.name in keep:
                continue
            if stat.S_ISDIR(path.lstat().st_mode):
                shutil.rmtree(path)
            else:
                path.unlink()


def _is_there(file: IO[bytes], path: Path) -> bool:
    """Whether ``path`` is still the open ``file``."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
