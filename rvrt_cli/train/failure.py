"""Why a job of several devices failed, from the logs of its ranks and of the framework's launcher."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rvrt_cli.errors import DeviceError, ExitCode, RvrtError
from rvrt_cli.train.checkpoint import list_checkpoints
from rvrt_cli.train.engine import LOST_PEER
from rvrt_cli.train.job import JobFolder

_DEATHS = (
    re.compile(r"\(exitcode: (?P<code>-?\d+)\) local_rank: \d+ \(pid: (?P<pid>\d+)\)"),  # torchrun
    re.compile(r"Worker process (?P<pid>\d+) exit with exception. Error code: (?P<code>-?\d+)"),  # msrun
)
_RANK = re.compile(r"^rank (?P<rank>\d+) of \d+: process (?P<pid>\d+)$", re.MULTILINE)
_SENTENCE = re.compile(r"^rvrt: (?P<text>.+)$", re.MULTILINE)


class RankError(RvrtError):
    """A rank's own sentence and exit code."""

    def __init__(self, message: str, code: int = int(ExitCode.UNEXPECTED)) -> None:
        super().__init__(message)
        known = {int(value) for value in ExitCode}
        self.exit_code = ExitCode(code) if code in known else ExitCode.UNEXPECTED


@dataclass(frozen=True)
class _Rank:
    """``code``: the exit code that the launcher saw first, None for the others; ``sentence``: the last one it wrote."""

    number: int
    log: Path
    sentence: str
    code: int | None


def find_deaths(launcher_output: str) -> dict[int, int]:
    """Process → exit code of the ranks whose end the launcher reports as a failure."""
    return {
        int(match["pid"]): int(match["code"])
        for pattern in _DEATHS
        for match in pattern.finditer(launcher_output)
    }


def explain_failure(job: JobFolder, code: int) -> RvrtError:
    """The sentence of the rank that failed, or which rank died without one; both name the log.

    When one rank fails the others lose their connection, and say so: they are not to blame. ``code``: the launcher's.
    """
    deaths = find_deaths(_read(job.launcher_log))
    saved = list_checkpoints(job.path.parents[1] / "checkpoints")
    again = (
        "the last checkpoint is intact: continue with" if saved else "nothing was saved yet: start again with"
    )
    ranks = [rank for path in sorted(job.path.rglob("*.log")) if (rank := _rank(path, deaths)) is not None]
    own = [rank for rank in ranks if rank.sentence and LOST_PEER not in rank.sentence]
    for rank in own:
        if not rank.sentence.startswith("unexpected"):
            return _said(rank, deaths)
    for rank in ranks:
        if rank.code is not None and not rank.sentence:
            return DeviceError(
                f"Rank {rank.number} of the job died (exit code {rank.code}) and ended it; its log is {rank.log}; {again} --resume auto."
            )
    for rank in own:
        return _said(rank, deaths)
    for rank in ranks:
        if rank.sentence:
            return DeviceError(
                f"A rank on another machine ended the job; the log on that machine says why (here: {rank.log}); {again} --resume auto."
            )
    return DeviceError(f"The launcher ended with exit code {code}; its log is {job.launcher_log}.")


def _rank(path: Path, deaths: dict[int, int]) -> _Rank | None:
    text = _read(path)
    announced = _RANK.search(text)
    sentences = _SENTENCE.findall(text)
    if announced is None and not sentences:
        return None
    number, pid = (int(announced["rank"]), int(announced["pid"])) if announced else (-1, -1)
    return _Rank(number, path, sentences[-1] if sentences else "", deaths.get(pid))


def _said(rank: _Rank, deaths: dict[int, int]) -> RankError:
    codes = [code for code in (rank.code, *deaths.values()) if code is not None and code > 0]
    return RankError(f"{rank.sentence} (log: {rank.log})", codes[0] if codes else int(ExitCode.UNEXPECTED))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
