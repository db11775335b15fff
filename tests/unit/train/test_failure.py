"""How a failed job is explained from its logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvrt_cli.errors import DeviceError, ExitCode, RvrtError
from rvrt_cli.train.engine import LOST_PEER
from rvrt_cli.train.failure import explain_failure
from rvrt_cli.train.job import JobFolder


def _logs(run: Path, launcher: str, *ranks: str) -> RvrtError:
    """What is made of a job's logs in the folder of a run."""
    folder = run / "logs" / "job"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "launcher.log").write_text(launcher)
    for rank, text in enumerate(ranks):
        (folder / f"worker_{rank}.log").write_text(
            f"rank {rank} of {len(ranks)}: process {100 + rank}\n{text}"
        )
    return explain_failure(JobFolder(folder), 1)


def test_the_sentence_of_the_rank_that_failed_is_given_with_its_log(tmp_path: Path) -> None:
    error = _logs(
        tmp_path,
        "  [0]: rank: 0 exitcode  : 3 (pid: 100)\nfailed (exitcode: 3) local_rank: 1 (pid: 101)",
        f"rvrt: Rank 0 {LOST_PEER} (Connection closed by peer).\n",
        "rvrt: photo.jpg is damaged.\n",
    )
    assert str(error) == f"photo.jpg is damaged. (log: {tmp_path / 'logs' / 'job' / 'worker_1.log'})"
    assert error.exit_code == ExitCode.INPUT


@pytest.mark.parametrize(
    "launcher",
    [
        "failed (exitcode: -9) local_rank: 1 (pid: 101) of binary",
        "Worker process 101 exit with exception. Error code: -9.",
    ],
)
@pytest.mark.parametrize(
    "other", [f"Rank 0 {LOST_PEER}", "unexpected RuntimeError: Connection closed by peer"]
)
def test_a_rank_that_died_in_silence_is_named_with_its_log(tmp_path: Path, launcher: str, other: str) -> None:
    error = _logs(tmp_path, launcher, f"rvrt: {other}\n", "")
    assert isinstance(error, DeviceError)
    assert "Rank 1" in str(error)
    assert "exit code -9" in str(error)
    assert "nothing was saved yet: start again with --resume auto" in str(error)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint-00000002.safetensors").touch()
    error = _logs(tmp_path, launcher, f"rvrt: {other}\n", "")
    assert "the last checkpoint is intact: continue with --resume auto" in str(error)
    assert str(tmp_path / "logs" / "job" / "worker_1.log") in str(error)


def test_an_unexpected_error_of_a_rank_is_given(tmp_path: Path) -> None:
    error = _logs(
        tmp_path,
        "failed (exitcode: 1) local_rank: 0 (pid: 100)",
        f"rvrt: Rank 0 {LOST_PEER} (reset).\n",
        "rvrt: unexpected KeyError: 'x'; run again with --debug\n",
    )
    assert str(error).startswith("unexpected KeyError")
    assert error.exit_code == ExitCode.UNEXPECTED


def test_a_rank_that_only_lost_its_connection_is_not_blamed(tmp_path: Path) -> None:
    error = _logs(
        tmp_path, "failed (exitcode: 5) local_rank: 0 (pid: 100)", f"rvrt: Rank 0 {LOST_PEER} (reset).\n"
    )
    assert "another machine" in str(error)
    assert "--resume auto" in str(error)
    assert error.exit_code == ExitCode.DEVICE


def test_a_launcher_that_fails_by_itself_is_named(tmp_path: Path) -> None:
    assert "launcher.log" in str(_logs(tmp_path, "port in use"))
