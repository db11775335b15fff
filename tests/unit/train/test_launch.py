"""Jobs of several devices: places, impossible clusters, and how a failed job is explained."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rvrt_cli.errors import DeviceError, ExitCode, RvrtError, UsageError
from rvrt_cli.train import launch
from rvrt_cli.train.engine import Place
from rvrt_cli.train.launch import Cluster, current_place


def test_places_come_from_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "MS_ROLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "3")  # set by other tools, too
    assert current_place() is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert current_place() == Place(3, 4, 1)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    for name, value in {
        "MS_ROLE": "MS_WORKER",
        "RANK_ID": "5",
        "MS_WORKER_NUM": "8",
        "DEVICE_ID": "5",
    }.items():
        monkeypatch.setenv(name, value)
    assert current_place() == Place(5, 8, 5)
    assert not launch.is_scheduler()
    monkeypatch.setenv("MS_ROLE", "MS_SCHED")
    assert launch.is_scheduler()


def test_impossible_clusters_are_refused() -> None:
    Cluster(1, 2, 1, "head:29500").check()
    with pytest.raises(UsageError, match="--master"):
        Cluster(1, 2).check()
    with pytest.raises(UsageError, match="--node-rank"):
        Cluster(1, 2, 2, "head:29500").check()
    with pytest.raises(UsageError, match="HOST:PORT"):
        Cluster(1, 2, 0, "head").check()
    with pytest.raises(DeviceError, match="fewer --devices"):
        Cluster((os.cpu_count() or 1) + 1).check()


def test_the_address_is_that_of_the_first_machine_or_a_free_port() -> None:
    assert Cluster(1, 2, 0, "head:29500").address() == ("head", 29500)
    host, port = Cluster(2).address()
    assert host == "127.0.0.1"
    assert port >= 1024


def _logs(folder: Path, launcher: str, *ranks: str) -> RvrtError:
    (folder / "launcher.log").write_text(launcher)
    for rank, text in enumerate(ranks):
        (folder / f"worker_{rank}.log").write_text(
            f"rank {rank} of {len(ranks)}: process {100 + rank}\n{text}"
        )
    return launch._explain(folder, folder / "launcher.log", 1)


def test_the_sentence_of_the_rank_that_failed_is_given_with_its_log(tmp_path: Path) -> None:
    error = _logs(
        tmp_path,
        "  [0]: rank: 0 exitcode  : 3 (pid: 100)\nfailed (exitcode: 3) local_rank: 1 (pid: 101)",
        "rvrt: unexpected RuntimeError: Connection closed by peer; run again\n",
        "rvrt: photo.jpg is damaged.\n",
    )
    assert str(error) == f"photo.jpg is damaged. (log: {tmp_path / 'worker_1.log'})"
    assert error.exit_code == ExitCode.INPUT


@pytest.mark.parametrize(
    "launcher",
    [
        "failed (exitcode: -9) local_rank: 1 (pid: 101) of binary",
        "Worker process 101 exit with exception. Error code: -9.",
    ],
)
def test_a_rank_that_died_in_silence_is_named_with_its_log(tmp_path: Path, launcher: str) -> None:
    error = _logs(tmp_path, launcher, "rvrt: unexpected RuntimeError: Connection closed by peer\n", "")
    assert isinstance(error, DeviceError)
    assert "Rank 1" in str(error)
    assert "exit code -9" in str(error)
    assert str(tmp_path / "worker_1.log") in str(error)


def test_a_launcher_that_fails_by_itself_is_named(tmp_path: Path) -> None:
    assert "launcher.log" in str(_logs(tmp_path, "port in use"))
