"""Temporary folders: gone after use, and after a kill as soon as another process needs one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rvrt_cli.media import scratch
from rvrt_cli.media.scratch import LOCK_NAME, PREFIX, scratch_folder

HOLDS_ONE = (
    "import sys, tempfile\nfrom rvrt_cli.media.scratch import scratch_folder\ntempfile.tempdir = sys.argv[1]\n"
    "with scratch_folder() as folder:\n"
    "    (folder / 'side-streams.nut').write_bytes(b'sound')\n    print(folder, flush=True)\n    sys.stdin.read()\n"
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_nothing_stays_whatever_happens(place: Path) -> None:
    with scratch_folder() as folder:
        (folder / "file").touch()
        assert folder.parent == place
    with pytest.raises(KeyError), scratch_folder():
        raise KeyError
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(place: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_ONE, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        theirs = Path(process.stdout.readline().strip())
        with scratch_folder():
            assert (theirs / "side-streams.nut").exists()
        process.kill()
        process.wait()
    assert (theirs / "side-streams.nut").exists()
    with scratch_folder() as mine:
        assert list(place.iterdir()) == [mine]


def test_what_is_not_surely_abandoned_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / f"{PREFIX}without-lock").mkdir()
    just_made = place / f"{PREFIX}just-made"
    just_made.mkdir()
    (just_made / LOCK_NAME).touch()
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / LOCK_NAME).write_bytes(b"held")
    (place / f"{PREFIX}link").symlink_to(elsewhere)
    before = sorted(place.rglob("*"))
    scratch.remove_abandoned()
    assert sorted(place.rglob("*")) == before
    others = place / f"{PREFIX}others"
    others.mkdir()
    (others / LOCK_NAME).write_bytes(b"held")
    with monkeypatch.context() as patched:
        patched.setattr(scratch, "_is_mine", lambda folder: False)
        scratch.remove_abandoned()
    assert others.exists()
    scratch.remove_abandoned()
    assert not others.exists()
