"""Sound of kinds that containers rename, regroup or hide, which must neither be lost nor be refused."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from media_helpers import Passed, tracks

from rvrt_cli.media import probe, run_ffmpeg
from rvrt_cli.media.ffmpeg import ffmpeg_executable

FILM = ["-f", "lavfi", "-i", "testsrc2=size=32x24:rate=25:duration=1"]
SOUND = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=1"]


def make(path: Path, *arguments: str) -> Path:
    run_ffmpeg(["-v", "error", "-y", *arguments, str(path)], doing="making a test file")
    return path


def decoded_sound_s(path: Path) -> float:
    """Seconds of sound that a player plays, after edit lists and codec delays."""
    command = [
        ffmpeg_executable(),
        "-v",
        "error",
        "-i",
        str(path),
        "-map",
        "0:a",
        "-ac",
        "1",
        "-f",
        "s16le",
        "-",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return len(np.frombuffer(done.stdout, np.int16)) / 48000


@pytest.mark.parametrize(
    "read", [{}, pytest.param({"max_frames": 12}, marks=pytest.mark.slow)], ids=["whole", "trimmed"]
)
@pytest.mark.parametrize(
    ("source", "video", "sound", "output", "action"),
    [
        ("a.ts", "mpeg2video", "mp2", "o.mp4", "copy"),
        ("a.ts", "mpeg2video", "mp2", "o.mov", "copy"),
        ("a.mpg", "mpeg2video", "mp2", "o.mkv", "copy"),
        ("a.avi", "mpeg4", "wmav2", "o.mov", "convert"),
        ("a.avi", "mpeg4", "wmav2", "o.mkv", "copy"),
        ("a.mxf", "mpeg2video", "pcm_s16le", "o.mp4", "convert"),
        ("a.mxf", "mpeg2video", "pcm_s16le", "o.mov", "copy"),
        ("a.avi", "mpeg4", "pcm_s16le", "o.mp4", "convert"),
    ],
)
def test_sound_of_old_formats(
    source: str, video: str, sound: str, output: str, action: str, read: dict[str, int],
    tmp_path: Path, run_through: Callable[..., Passed],
) -> None:  # fmt: skip
    path = make(tmp_path / source, *FILM, *SOUND, "-c:v", video, "-c:a", sound)
    done = run_through(path, output, factor=2, **read)
    assert [p.action for p in done.plan.kept] == ["upscale", action]
    length_s = 0.48 if read else 1.0
    assert decoded_sound_s(done.output) == pytest.approx(length_s, abs=0.09)
    if action == "copy" and not read and not sound.startswith("pcm"):
        assert tracks(done.output)[1].digest == tracks(path)[1].digest


@pytest.mark.parametrize("output", ["o.mp4", "o.mov", "o.mkv"])
def test_what_an_edit_list_hides_stays_hidden(
    output: str, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    """A cut by stream copy keeps the packets from the key frame before; more than half a second of them here."""
    whole = make(tmp_path / "e0.mp4", *FILM, *SOUND, "-c:v", "libx264", "-g", "50", "-c:a", "aac")
    source = make(tmp_path / "e1.mp4", "-ss", "0.8", "-i", str(whole), "-c", "copy")
    assert tracks(source)[1].times_s[0] < -0.5
    done = run_through(source, output, factor=2)
    assert len(done.pts) == 5
    assert probe(done.output).start_s == pytest.approx(0, abs=1e-3)
    assert decoded_sound_s(done.output) == pytest.approx(decoded_sound_s(source), abs=0.03)
    part = run_through(source, output, factor=2, max_frames=4)
    assert decoded_sound_s(part.output) == pytest.approx(0.16, abs=0.05)
