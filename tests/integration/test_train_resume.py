"""Real training from the command line: killed and resumed, and shared between processes."""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from rvrt_cli.train.checkpoint import Checkpoint, load_latest

LOG = logging.getLogger(__name__)
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three smooth photographs."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("lake", "hill", "road"):
        coarse = rng.integers(0, 256, (13, 15, 3), dtype=np.uint8)
        cv2.imwrite(
            str(folder / f"{name}.png"), cv2.resize(coarse, (120, 100), interpolation=cv2.INTER_CUBIC)
        )
    return folder


def start(photos: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "rvrt_cli", "train", "--data", str(photos), "--out", str(out), "--lr", "1e-3",
        "--ema", "0.9", "--threads", "1", "--log-interval", "1", "--resume", "auto", "--clip-grad", "0.5",
        "--backend", "torch", *arguments,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    # In a group of its own, which can be signalled as a whole.
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def finish(job: subprocess.Popen[str]) -> Checkpoint:
    _, errors = job.communicate(timeout=250)
    assert job.returncode == 0, errors
    out = Path(job.args[job.args.index("--out") + 1])
    checkpoint = load_latest(out / "checkpoints")
    assert checkpoint is not None
    return checkpoint


def largest_difference(a: Checkpoint, b: Checkpoint) -> float:
    """The largest over weights, averages and Adam's moments; each is logged (``pytest --log-cli-level=INFO``)."""
    assert a.step == b.step
    worst = {
        kind: max(
            float(np.abs(getattr(a.state, kind)[name] - getattr(b.state, kind)[name]).max())
            for name in a.state.weights
        )
        for kind in ("weights", "ema", "adam_m", "adam_v")
    }
    LOG.info(f"largest differences after {a.step} steps: {worst}")
    return max(worst.values())


def test_a_killed_run_resumes_to_the_same_bits(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    stages = ("--stage", "steps=9,frames=2,patch=32,batch=2", "--stage", "steps=5,frames=4,patch=32,batch=1")
    whole = finish(start(photos, tmp_path / "whole", *stages))
    at = random.randint(4, 12)
    job = start(photos, tmp_path / "parts", *stages, "--save-interval", "3")
    assert job.stderr is not None
    for line in job.stderr:
        if line.startswith(f"step {at}/"):
            job.send_signal(signal.SIGKILL)
    assert job.wait(60) == -signal.SIGKILL, f"killed at step {at}"
    parts = finish(start(photos, tmp_path / "parts", *stages, "--workers", "2"))
    assert largest_difference(whole, parts) == 0.0, f"killed at step {at}"
    assert not list(tmp_path.rglob("*.part*"))


LARGE = ("--steps", "500", "--frames", "2", "--patch", "96", "--batch", "4")
"""Batches that are larger than a pipe, so that data workers are nearly always in the middle of a message."""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_saves_and_ends(
    photos: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """As ``timeout``, systemd, Slurm and a closed terminal send it."""
    pytest.importorskip("torch")
    job = start(photos, tmp_path / "run", *LARGE)
    assert job.stderr is not None
    lines = []
    for line in job.stderr:
        lines.append(line)
        if line.startswith("step 2/"):
            os.killpg(job.pid, number)
    assert job.wait(60) == 130
    assert f"Stopped by {number.name}" in lines[-1]
    assert "everything is saved" in lines[-1]
    checkpoint = load_latest(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert f"after step {checkpoint.step} " in lines[-1]


def test_a_closed_stderr_does_not_end_the_run(photos: Path, tmp_path: Path) -> None:
    """``rvrt train ... 2>&1 | head``."""
    pytest.importorskip("torch")
    job = start(photos, tmp_path / "run", *STEPS)
    assert job.stderr is not None
    job.stderr.readline()
    job.stderr.close()
    assert job.wait(120) == 0
    checkpoint = load_latest(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.step == 5


STEPS = ("--steps", "5", "--frames", "2", "--patch", "32", "--batch", "4")
TOLERANCE = 2e-5
"""Gradients are added in another order; Adam's first steps of 1e-3 show it where a gradient is near zero."""


def test_two_torch_processes_train_like_one(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    one = finish(start(photos, tmp_path / "one", *STEPS))
    two = finish(start(photos, tmp_path / "two", *STEPS, "--devices", "2"))
    assert largest_difference(one, two) < TOLERANCE


@pytest.mark.slow
def test_two_mindspore_processes_train_like_one(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("mindspore")
    one = finish(start(photos, tmp_path / "one", *STEPS, "--backend", "mindspore"))
    two = finish(start(photos, tmp_path / "two", *STEPS, "--backend", "mindspore", "--devices", "2"))
    assert largest_difference(one, two) < TOLERANCE


@pytest.mark.parametrize("backend", ["torch", pytest.param("mindspore", marks=pytest.mark.slow)])
def test_a_dead_rank_ends_the_job_with_its_log_named(photos: Path, tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    import psutil

    options = ("--backend", backend, "--devices", "2", "--steps", "500", *STEPS[2:])
    job = start(photos, tmp_path / "run", *options)
    assert job.stderr is not None
    lines = []
    killed = False
    for line in job.stderr:
        lines.append(line)
        if line.startswith("step 5/") and not killed:
            killed = True
            for process in psutil.Process(job.pid).children(recursive=True):
                number = process.environ().get("RANK" if backend == "torch" else "RANK_ID")
                if number == "1" and "rvrt_cli" in process.cmdline():
                    process.kill()
                    break
    assert job.wait(120) == 5
    assert "Rank 1 of the job died (exit code -9)" in lines[-1]
    named = lines[-1].split("its log is ")[1].split(";")[0]
    assert Path(named).exists()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_two_machines_train_like_one_and_refuse_folders_of_their_own(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")

    def machines(*outs: Path) -> list[subprocess.Popen[str]]:
        common = (*STEPS, "--nodes", "2", "--master", f"127.0.0.1:{_free_port()}", "--workers", "0")
        return [start(photos, out, *common, "--node-rank", str(rank)) for rank, out in enumerate(outs)]

    one = finish(start(photos, tmp_path / "one", *STEPS))
    two = [finish(job) for job in machines(tmp_path / "two", tmp_path / "two")]
    assert largest_difference(one, two[0]) < TOLERANCE
    for job in machines(tmp_path / "two", tmp_path / "elsewhere"):
        _, errors = job.communicate(timeout=200)
        assert job.returncode == 4
        assert "different steps (0, 5); --out must be one folder" in errors.splitlines()[-1]


@pytest.mark.slow
def test_a_stopped_job_of_two_saves_and_goes_on(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    job = start(photos, tmp_path / "run", "--devices", "2", "--steps", "200", *STEPS[2:])
    assert job.stderr is not None
    lines = []
    for line in job.stderr:
        lines.append(line)
        if line.startswith("step 5/"):
            job.send_signal(signal.SIGTERM)
    assert job.wait(120) == 130
    assert "--resume auto" in lines[-1]
    checkpoint = load_latest(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert 5 <= checkpoint.step < 200
    assert not [p for p in psutil_children() if "rvrt_cli" in " ".join(p)]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "mindspore"])
def test_a_killed_job_of_two_resumes_to_the_same_bits(photos: Path, tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    import psutil

    options = ("--backend", backend, "--devices", "2", "--steps", "8", *STEPS[2:], "--save-interval", "3")
    whole = finish(start(photos, tmp_path / "whole", *options))
    at = random.randint(4, 7)
    job = start(photos, tmp_path / "parts", *options)
    assert job.stderr is not None
    for line in job.stderr:
        if line.startswith(f"step {at}/"):
            others = psutil.Process(job.pid).children(recursive=True)
            job.kill()  # first, or it would tell of the ranks' end
            for process in others:
                process.kill()
            psutil.wait_procs(others, timeout=30)
    assert job.wait(60) == -signal.SIGKILL, f"killed at step {at}"
    parts = finish(start(photos, tmp_path / "parts", *options))
    assert largest_difference(whole, parts) == 0.0, f"killed at step {at}"


def psutil_children() -> list[list[str]]:
    """Command lines of what this test process started and still runs."""
    import psutil

    return [child.cmdline() for child in psutil.Process().children(recursive=True)]


@pytest.mark.slow
def test_ranks_outlive_a_killed_starter_only_to_save(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import psutil

    job = start(photos, tmp_path / "run", "--devices", "2", "--steps", "500", *STEPS[2:])
    assert job.stderr is not None
    family: list[psutil.Process] = []
    for line in job.stderr:
        if line.startswith("step 5/"):
            family = psutil.Process(job.pid).children(recursive=True)
            job.kill()
    job.wait(30)
    assert family
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    checkpoint = load_latest(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert 5 <= checkpoint.step < 500


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mindspore_validates_stops_and_goes_on_to_the_same_bits(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("mindspore")
    clip = tmp_path / "val" / "clip"
    clip.mkdir(parents=True)
    for index in range(2):
        (clip / f"{index:03d}.png").write_bytes((photos / "lake.png").read_bytes())
    steps = ("--backend", "mindspore", "--frames", "2", "--patch", "32", "--batch", "2", "--val", str(tmp_path / "val"),
             "--val-interval", "2", "--save-interval", "2")  # fmt: skip
    whole = finish(start(photos, tmp_path / "whole", *steps, "--steps", "4"))
    assert whole.record["best"] > 20
    job = start(photos, tmp_path / "parts", *steps, "--steps", "4")
    assert job.stderr is not None
    for line in job.stderr:
        if line.startswith("saved"):
            job.kill()
    job.wait(60)
    # Without --backend it goes on in its own framework.
    again = start(photos, tmp_path / "parts", *steps, "--steps", "4", "--backend", "auto")
    assert largest_difference(whole, finish(again)) == 0.0
