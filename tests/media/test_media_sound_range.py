"""The sound of a part of a film: sample by sample what the source plays in that time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from media_helpers import Passed

from rvrt_cli.media import run_ffmpeg
from rvrt_cli.media.ffmpeg import ffmpeg_executable

RATE_HZ = 48000
TICK_SAMPLES = RATE_HZ // 1000
"""Matroska's clock has milliseconds."""
FILM = ["-f", "lavfi", "-i", "testsrc2=size=32x24:rate=25:duration=1.2", "-f", "lavfi", "-i", "anoisesrc=duration=1.2:sample_rate=48000:seed=3"]  # fmt: skip


def played(path: Path) -> tuple[np.ndarray, float]:
    """(samples, time of the first one in seconds after the first picture), as a player gives them."""
    command = [ffmpeg_executable(), "-v", "error", "-i", str(path), "-map", "0:a", "-ac", "1", "-ar", str(RATE_HZ), "-f", "s16le", "-"]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    with av.open(str(path)) as container:
        sound_s = next(container.decode(audio=0)).time
    with av.open(str(path)) as container:
        picture_s = next(container.decode(video=0)).time
    assert sound_s is not None
    assert picture_s is not None
    return np.frombuffer(done.stdout, np.int16).astype(np.float64), sound_s - picture_s


def lag(wanted: np.ndarray, found: np.ndarray) -> int:
    """By how many samples ``found`` comes later than ``wanted``."""
    size = 1 << 18
    match = np.fft.irfft(np.fft.rfft(wanted, size).conj() * np.fft.rfft(found, size))
    best = int(np.argmax(match))
    return best - size if best > size // 2 else best


def film(folder: Path, name: str) -> Path:
    coding = ["-c:v", "libvpx-vp9", "-c:a", "libopus", "-b:a", "256k"] if name.endswith("webm") else ["-c:v", "libx264", "-c:a", "aac", "-b:a", "192k"]  # fmt: skip
    run_ffmpeg(["-v", "error", *FILM, *coding, "-g", "10", str(folder / name)], doing="making a film")
    return folder / name


@pytest.mark.parametrize("read", [{"end_s": 0.6}, {"max_frames": 15}], ids=["end", "frames"])
@pytest.mark.parametrize(
    ("name", "output"),
    [("a.mp4", "o.mp4"), ("a.mp4", "o.mkv"), ("a.mkv", "o.mp4"), ("a.mkv", "o.mkv"), ("a.webm", "o.mkv"), ("a.webm", "o.mov")],
)  # fmt: skip
def test_the_beginning_is_heard_from_its_first_sample(
    name: str, output: str, read: dict[str, float], tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    """The packet that warms the decoder up lies before the film; without it the first 20 ms would be lost."""
    source = film(tmp_path, name)
    wanted, _ = played(source)
    found, first_s = played(run_through(source, output, factor=1, **read).output)
    assert first_s == pytest.approx(0, abs=1e-3)
    late = lag(wanted, found)
    assert abs(late) <= TICK_SAMPLES
    part = slice(TICK_SAMPLES, 960)
    error = found[part.start + late : part.stop + late] - wanted[part]
    converted = output == "o.mov"  # no Opus there
    assert np.sqrt(np.mean(error**2)) < (0.8 if converted else 0.02) * np.std(wanted[part])


@pytest.mark.parametrize(
    ("name", "output"), [("a.mp4", "o.mp4"), ("a.mp4", "o.mkv"), ("a.mkv", "o.mp4"), ("a.mkv", "o.mkv"), ("a.webm", "o.mov")]
)  # fmt: skip
def test_sound_of_a_later_part_is_neither_shifted_nor_missing(
    name: str, output: str, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = film(tmp_path, name)
    wanted, _ = played(source)
    found, first_s = played(run_through(source, output, factor=1, start_s=0.52).output)
    # It begins with the first whole packet; Matroska hides one more.
    assert 0 <= first_s < 0.045
    assert lag(wanted[round((0.52 + first_s) * RATE_HZ) :], found) == pytest.approx(0, abs=TICK_SAMPLES)
    assert len(found) / RATE_HZ == pytest.approx(1.2 - 0.52 - first_s, abs=0.03)
