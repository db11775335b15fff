"""Finished clips of an evaluation, one JSON line each, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rvrt_cli.system.files import explain_os_error


class EvalJournal:
    """Lines of finished clips in ``folder``, in a file named after everything the figures depend on.

    ``identity``: JSON values; another identity is another file, so nothing stale is ever mixed in.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, resume: bool = True) -> None:
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
        self.path = folder / f"eval-{key}.jsonl"
        self.finished: dict[str, Any] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not resume:
                self.path.unlink(missing_ok=True)
            whole = self._read()
            # A line cut off by a kill must not run into the next one.
            if self.path.exists() and self.path.stat().st_size != whole:
                os.truncate(self.path, whole)
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def _read(self) -> int:
        """Fill ``finished``; the number of bytes in whole lines."""
        whole = 0
        if not self.path.exists():
            return 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                self.finished[record["clip"]] = record["value"]
            except (ValueError, KeyError, TypeError):
                break
            whole += len(line)
        return whole

    def add(self, clip: str, value: Any) -> None:
        """Record a clip durably."""
        try:
            with open(self.path, "ab") as file:
                file.write((json.dumps({"clip": clip, "value": value}) + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise explain_os_error(error, self.path) from error
        self.finished[clip] = value

    def remove(self) -> None:
        """The run is complete: nothing is left to go on with."""
        self.path.unlink(missing_ok=True)
