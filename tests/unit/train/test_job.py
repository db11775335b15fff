"""What ranks and the process that started them tell each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rvrt_cli.errors import DiskFullError
from rvrt_cli.train.engine import RankInfo
from rvrt_cli.train.events import (
    Event,
    Finished,
    Noted,
    Saved,
    Skipped,
    Started,
    Stepped,
    Summary,
    Validated,
    event_from_json,
)
from rvrt_cli.train.job import JOB_VARIABLE, JobFolder, current_rank_info, is_scheduler, write_event
from rvrt_cli.train.logs import StepRow
from rvrt_cli.train.validate import ValidationResult

EVENTS: list[Event] = [
    Started("PyTorch", 0, 7, "noise", 31.5, ("one", "two")),
    Stepped(1, 0.5, 1e-3, 2.0, 12.0),
    Stepped(2, 0.4, 1e-3, 2.0, 10.0, StepRow(2, 0.45, 1e-3, 1.0, 2.0, 0.5, 0.01, 300.0, 0)),
    Skipped(3, 1),
    Validated(3, (ValidationResult("davis", 30.0, 29.0, (("goat", 30.0, 29.0),)),), 30.0, True),
    Noted("smaller tiles"),
    Saved(Path("run/checkpoint")),
    Finished(Summary(7, 60.0, 2.0, 0.01, 300.0, None, "PyTorch", Path("run/last"), 2, 1)),
]


def test_places_come_from_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "MS_ROLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "3")  # set by other tools, too
    assert current_rank_info() is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert current_rank_info() == RankInfo(3, 4, 1)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    for name, value in {
        "MS_ROLE": "MS_WORKER",
        "RANK_ID": "5",
        "MS_WORKER_NUM": "8",
        "DEVICE_ID": "5",
    }.items():
        monkeypatch.setenv(name, value)
    assert current_rank_info() == RankInfo(5, 8, 5)
    assert not is_scheduler()
    monkeypatch.setenv("MS_ROLE", "MS_SCHED")
    assert is_scheduler()


def test_events_arrive_as_they_were(tmp_path: Path) -> None:
    job = JobFolder.create(tmp_path, 0)
    follower = job.follow_events()
    assert [event_from_json(line) for line in follower.new()] == []
    with job.open_view() as view:
        for event in EVENTS[:3]:
            write_event(view, event)
        assert [event_from_json(line) for line in follower.new()] == EVENTS[:3]
        view.write('{"event": "Noted", "text": ')  # a line that is still being written
        view.flush()
        assert [event_from_json(line) for line in follower.new()] == []
        view.write('"smaller tiles"}\n')
        for event in EVENTS[3:]:
            write_event(view, event)
    assert [event_from_json(line) for line in follower.new()] == [Noted("smaller tiles"), *EVENTS[3:]]
    follower.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_is_a_sentence() -> None:
    with open("/dev/full", "w", buffering=1) as view:
        with pytest.raises(DiskFullError, match="disk is full"):
            write_event(view, Noted("smaller tiles"))
        os.dup2(os.open(os.devnull, os.O_WRONLY), view.fileno())  # what is buffered goes nowhere


def test_machines_that_start_together_have_folders_of_their_own(tmp_path: Path) -> None:
    folders = {JobFolder.create(tmp_path, machine).path for machine in range(3)}
    assert len(folders) == 3


def test_a_rank_knows_whether_its_starter_lives(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from rvrt_cli.train.job import JobFolder;"
        "print(JobFolder.create(pathlib.Path(sys.argv[1]), 0).path)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert JobFolder(Path(done.stdout.strip())).watch_starter()() != ""
    assert JobFolder.create(tmp_path, 1).watch_starter()() == ""


def test_the_folder_is_found_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    assert JobFolder.current() is None
    monkeypatch.setenv(JOB_VARIABLE, os.fspath(tmp_path))
    job = JobFolder.current()
    assert job is not None
    assert job.read_stopped() is None
    job.write_stopped("Stopped.")
    assert job.read_stopped() == "Stopped."


def test_a_long_log_is_read_once(tmp_path: Path) -> None:
    """The launcher looks four times a second, for days."""
    job = JobFolder.create(tmp_path, 0)
    job.launcher_log.write_bytes(b"one\ntwo \xff\n" + b"x" * 100_000)
    follower = job.follow_launcher()
    assert list(follower.new()) == ["one", "two \ufffd"]
    job.launcher_log.write_bytes(b"")  # what was read before is not looked at again
    assert list(follower.new()) == []
    follower.close()
