"""Jobs of several devices: impossible clusters, and how a stop is passed on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from rvrt_cli.errors import DeviceError, InterruptedRun, RvrtError, UsageError
from rvrt_cli.train import launch
from rvrt_cli.train.launch import Cluster
from rvrt_cli.train.stopping import StopRequest


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


def test_ranks_do_not_get_the_option_that_launchers_take_for_theirs() -> None:
    given = ["train", "--nodes", "2", "--master", "head:29500", "--out", "run"]
    assert launch.without_master(given) == ["train", "--nodes", "2", "--out", "run"]
    assert launch.without_master(["train", "--master=head:29500", "--model", "light"]) == [
        "train",
        "--model",
        "light",
    ]


LAUNCHER = """
import os, subprocess, sys, time
time.sleep(float(sys.argv[1]))
environment = {**os.environ, "TORCHELASTIC_RUN_ID": "x"}
ranks = [subprocess.Popen([sys.executable, "-c", sys.argv[2], str(rank)], env=environment) for rank in range(2)]
sys.exit(max(abs(rank.wait()) for rank in ranks))
"""
"""Starts two "ranks" after a while, as torchrun does."""

RANK = """
import os, signal, sys, time
from pathlib import Path
job = Path(os.environ["RVRT_TRAIN_JOB"])
log = open(job / f"rank{sys.argv[1]}.log", "w", buffering=1)
log.write(f"rank {sys.argv[1]} of 2: process {os.getpid()}\\n")
def stop(*_):
    if sys.argv[1] == "0":
        ENDING
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
end = time.monotonic() + 20
while time.monotonic() < end and not (sys.argv[1] == "1" and (job / "end").exists()):
    time.sleep(0.05)
"""


def _job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, starts_after_s: float = 0.0, **more: str
) -> None:
    """Run a job whose rank 0 does ``ending`` when it is asked to stop, which happens at once."""
    rank = RANK.replace("ENDING", f"{ending}; (job / 'end').touch()")
    command = [sys.executable, "-c", LAUNCHER, str(starts_after_s), rank]
    monkeypatch.setattr(launch, "_torchrun", lambda *_: command)
    stop = StopRequest()
    stop.reason = "SIGTERM"
    launch.launch("torch", Cluster(2), [], tmp_path / "logs", lambda _: None, stop)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_stop_before_there_are_ranks_reaches_them_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InterruptedRun, match="Stopped by SIGTERM; everything is saved"):
        _job(
            tmp_path,
            monkeypatch,
            "(job / 'stopped.txt').write_text('Stopped by SIGTERM; everything is saved')",
            starts_after_s=0.6,
        )


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_stop_that_could_not_save_is_the_failure_that_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RvrtError, match="The disk is full") as raised:
        _job(
            tmp_path,
            monkeypatch,
            "log.write('rvrt: The disk is full: x.\\n'); (job / 'end').touch(); os._exit(8)",
        )
    assert not isinstance(raised.value, InterruptedRun)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_second_ctrl_c_ends_the_job_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopRequest()
    with stop.installed():

        def interrupt() -> None:
            for _ in range(2):
                time.sleep(0.4)
                os.kill(os.getpid(), signal.SIGINT)

        asker = threading.Thread(target=interrupt)
        command = [sys.executable, "-c", LAUNCHER, "0", RANK.replace("ENDING", "time.sleep(20)")]
        monkeypatch.setattr(launch, "_torchrun", lambda *_: command)
        asker.start()
        began = time.monotonic()
        with pytest.raises(InterruptedRun, match=r"Stopped at once.*--resume auto"):
            launch.launch("torch", Cluster(2), [], tmp_path / "logs", lambda _: None, stop)
        asker.join()
    assert time.monotonic() - began < 10


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_launcher_that_stays_after_its_ranks_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As msrun, which waits without end for its scheduler."""
    lingers = "import time; print('Worker process 7 exit with exception. Error code: -9.', flush=True); time.sleep(60)"
    monkeypatch.setattr(launch, "_msrun", lambda *_: [sys.executable, "-c", lingers])
    monkeypatch.setattr(launch, "_LINGER_S", 0.5)
    with pytest.raises(DeviceError):
        launch.launch("mindspore", Cluster(2), [], tmp_path / "logs", lambda _: None, StopRequest())
