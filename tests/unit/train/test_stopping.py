"""Signals: taken, held back from children, left ignored under nohup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rvrt_cli.cli import train_run
from rvrt_cli.errors import InterruptedRun
from rvrt_cli.model.config import PRESETS
from rvrt_cli.train.recipe import Recipe
from rvrt_cli.train.settings import RunSettings
from rvrt_cli.train.stopping import StopRequest, ended_by_interrupts, signals_held

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_asks_to_stop(name: str) -> None:
    number = getattr(signal, name)
    # The tests themselves may run under nohup.
    original = signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
    before = signal.getsignal(number)
    with StopRequest().installed() as stop:
        assert stop.asked() == ""
        os.kill(os.getpid(), number)
        assert stop.asked() == name
    assert signal.getsignal(number) == before
    signal.signal(number, original)


def test_a_second_ctrl_c_does_not_wait() -> None:
    with StopRequest().installed() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked() == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_that_is_stopped_at_once_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_run, "run_training", interrupted)
    with pytest.raises(InterruptedRun, match=r"Stopped at once.*--resume auto"):
        train_run.run_alone(
            RunSettings(tmp_path, "light-s", ()), PRESETS["light-s"], Recipe(), None, StopRequest()
        )


def test_ctrl_c_ends_a_process_that_leaves_nothing_behind() -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"  # ignored in a job of a shell
        "from rvrt_cli.train.stopping import ended_by_interrupts\n"
        "with ended_by_interrupts(): os.kill(os.getpid(), signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
    before = signal.getsignal(signal.SIGINT)
    with ended_by_interrupts():
        pass
    assert signal.getsignal(signal.SIGINT) == before


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest().installed() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.asked() == ""
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_reason_may_come_without_a_signal() -> None:
    reasons = iter(["", "the end of the world", ""])
    stop = StopRequest(lambda: next(reasons))
    assert [stop.asked() for _ in range(3)] == ["", "the end of the world", "the end of the world"]


def test_children_started_meanwhile_hear_of_signals_when_they_ask_to() -> None:
    code = (
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM); from rvrt_cli.train.stopping import StopRequest;"
        "stop = StopRequest(); stop.take_signals(); print(stop.asked())"
    )
    with signals_held():
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.communicate(timeout=30)[0].strip() == "SIGTERM"
    assert child.returncode == 0
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
