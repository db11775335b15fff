"""What the ranks of a job and the process that started them know of each other: a folder, named by an environment variable."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rvrt_cli.system.files import translate_write_errors, write_bytes
from rvrt_cli.train.engine import RankInfo
from rvrt_cli.train.events import Event, event_to_json

JOB_VARIABLE = "RVRT_TRAIN_JOB"


def current_rank_info() -> RankInfo | None:
    """This process's rank in a job that torchrun or msrun started, or None where it was started alone."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return RankInfo(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_RANK"]))
    if env.get("MS_ROLE") == "MS_WORKER":
        return RankInfo(int(env["RANK_ID"]), int(env["MS_WORKER_NUM"]), int(env.get("DEVICE_ID", "0")))
    return None


def is_rank(environment: dict[str, str]) -> bool:
    """Whether a process with this environment is a rank."""
    return "TORCHELASTIC_RUN_ID" in environment or environment.get("MS_ROLE") == "MS_WORKER"


def is_scheduler() -> bool:
    """Whether this is the process with which msrun connects the others."""
    return os.environ.get("MS_ROLE") == "MS_SCHED"


@dataclass(frozen=True)
class JobFolder:
    """The logs of one start of a job on one machine."""

    path: Path

    @property
    def launcher_log(self) -> Path:
        """Output of torchrun or msrun."""
        return self.path / "launcher.log"

    @property
    def _view(self) -> Path:
        return self.path / "view.jsonl"

    @property
    def _stopped(self) -> Path:
        return self.path / "stopped.txt"

    @property
    def _starter(self) -> Path:
        return self.path / "started-by.txt"

    @classmethod
    def create(cls, logs: Path, node_rank: int) -> JobFolder:
        """A new folder under ``logs``; this process is the one that starts the job.

        Several machines may start at once and share a disk, so its name says which one it is.
        """
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-machine{node_rank}-{os.getpid()}"
        folder = cls(logs / name)
        with translate_write_errors(folder.path):
            folder.path.mkdir(parents=True)
            folder._view.touch()
            folder._starter.write_text(_identity(os.getpid()), encoding="utf-8")
        return folder

    @classmethod
    def current(cls) -> JobFolder | None:
        """That of the job to which this rank belongs; None where ``rvrt train`` did not start it."""
        path = os.environ.get(JOB_VARIABLE)
        return cls(Path(path)) if path else None

    def watch_starter(self) -> Callable[[], str]:
        """A function that says why to stop: that the process which started the job has ended, however that came about."""
        starter = self._starter.read_text(encoding="utf-8")
        pid = int(starter.split()[0])
        return lambda: "" if _identity(pid) == starter else "the end of the process that started it"

    def write_stopped(self, message: str) -> None:
        """A rank says that the job stopped on purpose, with everything saved."""
        write_bytes(self._stopped, message.encode())

    def read_stopped(self) -> str | None:
        """What :meth:`write_stopped` wrote, or None."""
        return self._stopped.read_text(encoding="utf-8") if self._stopped.exists() else None

    def open_view(self) -> TextIO:
        """The file that rank 0 adds events to."""
        return self._view.open("a", encoding="utf-8", buffering=1)

    def follow_events(self) -> LineFollower:
        """Read those events, one a line, as they come."""
        return LineFollower(self._view)

    def follow_launcher(self) -> LineFollower:
        """Read what torchrun or msrun says as it comes."""
        return LineFollower(self.launcher_log)


def announce(rank_info: RankInfo) -> None:
    """Write into the rank's log which process it is; :mod:`rvrt_cli.train.failure` looks for that."""
    sys.stderr.write(f"rank {rank_info.rank} of {rank_info.world}: process {os.getpid()}\n")


def write_event(view: TextIO, event: Event) -> None:
    """Add an event to an opened view.

    Errors: :class:`rvrt_cli.errors.DiskFullError`, :class:`rvrt_cli.errors.OutputError`.
    """
    with translate_write_errors(Path(view.name)):
        view.write(event_to_json(event) + "\n")


class LineFollower:
    """Reads lines that another process writes, each once: a log may be long, and is looked at several times a second."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""

    def new(self) -> Iterator[str]:
        """Those finished since the last call, without their ends."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _identity(pid: int) -> str:
    """A process, told apart from a later one of the same number; only the number where there is no such process."""
    import psutil

    try:
        return f"{pid} {psutil.Process(pid).create_time()}"
    except psutil.NoSuchProcess:
        return str(pid)
