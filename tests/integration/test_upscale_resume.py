"""``kill -9`` at any moment, then the same command: the final file is byte for byte that of an uninterrupted run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from upscale_clips import REPOSITORY, command, make_shots, upscale

FRAMES = 96
OPTIONS = ("--model", "bicubic", "--segment-frames", "8", "--window", "8")
KILLS = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_shots(tmp_path_factory.mktemp("clip") / "in.mp4", FRAMES, "64x48")


@pytest.fixture(scope="module")
def whole(clip, tmp_path_factory) -> bytes:
    output = tmp_path_factory.mktemp("whole") / "out.mp4"
    done = upscale(clip, output, *OPTIONS)
    assert done.returncode == 0, done.stderr.decode()
    return output.read_bytes()


def start(*arguments) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command(*arguments), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def journal_lines(output: Path) -> int:
    journal = output.with_name(output.name + ".rvrt-work") / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def leave_interrupted(clip: Path, output: Path) -> None:
    """What a run killed after three segments leaves, made without a race: a whole run's work, its journal cut short."""
    done = upscale(clip, output, *OPTIONS, "--keep-work")
    assert done.returncode == 0, done.stderr.decode()
    output.unlink()
    journal = output.with_name(output.name + ".rvrt-work") / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:4]))


def test_killed_at_random_moments_ends_in_the_same_bytes(clip, whole, tmp_path):
    output = tmp_path / "out.mp4"
    rng = random.Random(11)
    kills = 0
    for _ in range(5 * KILLS):
        if kills == KILLS:
            break
        process = start(clip, output, *OPTIONS)
        # Wait until this run has done something new, then a random moment more: kills fall on every phase of a segment.
        before = journal_lines(output)
        deadline = time.monotonic() + 60
        while process.poll() is None and journal_lines(output) <= before and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode != -signal.SIGKILL:
            # An idle machine finished the film before the kill: begin another one.
            assert process.returncode == 0
            assert output.read_bytes() == whole
            output.unlink()
            continue
        kills += 1
        # The kill may fall between the last rename and the end of the process: then the output is there, and whole.
        if output.exists():
            assert output.read_bytes() == whole
            output.unlink()
    assert kills == KILLS
    done = upscale(clip, output, *OPTIONS)
    assert done.returncode == 0, done.stderr.decode()
    assert output.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_second_run_says_that_it_continues(clip, whole, tmp_path):
    output = tmp_path / "out.mp4"
    leave_interrupted(clip, output)
    done = upscale(clip, output, *OPTIONS)
    assert done.returncode == 0
    assert b"Continuing an earlier run after frame 24." in done.stderr
    assert output.read_bytes() == whole


def test_a_changed_option_starts_anew_with_a_message(clip, tmp_path):
    output = tmp_path / "out.mp4"
    leave_interrupted(clip, output)
    done = upscale(clip, output, *OPTIONS, "--crf", "30")
    assert done.returncode == 0
    assert b"Changed since the earlier run: encoder, options.crf; starting anew." in done.stderr
    fresh = tmp_path / "fresh.mp4"
    assert upscale(clip, fresh, *OPTIONS, "--crf", "30").returncode == 0
    assert output.read_bytes() == fresh.read_bytes()


def test_ctrl_c_finishes_the_segment_and_says_how_to_continue(tmp_path):
    # A film long enough that it cannot end before the signal arrives, however busy the machine is.
    film = make_shots(tmp_path / "in.mp4", 960, "64x48")
    output = tmp_path / "out.mp4"
    process = start(film, output, *OPTIONS)
    while process.poll() is None and journal_lines(output) < 3:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    text = stderr.decode()
    assert process.returncode == 130, text
    assert "Stopping when the current segment is finished" in text
    assert "Run the same command again to continue." in text
    assert "Traceback" not in text
    assert not output.exists()
    finished = journal_lines(output) - 1
    assert f"{8 * finished} frames are finished" in text
