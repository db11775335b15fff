"""Transport and program streams whose timestamps start anew in the middle."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from media_helpers import Passed, tracks

from rvrt_cli.media import probe, read_frames, run_ffmpeg
from rvrt_cli.media.clock import Clock

JOINED = ["a.ts", "a.mpg"]


def piece(
    path: Path, *, start_s: float = 0, seconds: float = 1, sound: str = "mp2", color: str = "red"
) -> bytes:
    """A recording with sound, its clock beginning at ``start_s``."""
    arguments = [
        "-f", "lavfi", "-i", f"color={color}:size=32x24:rate=25:duration={seconds}",
        "-f", "lavfi", "-i", f"sine=sample_rate=48000:duration={seconds}",
        "-c:v", "mpeg2video", "-bf", "2", "-c:a", sound, "-output_ts_offset", str(start_s),
    ]  # fmt: skip
    run_ffmpeg(["-v", "error", "-y", *arguments, str(path)], doing="making a recording")
    return path.read_bytes()


def join(folder: Path, name: str, starts_s: list[float], **changes: Any) -> Path:
    """Recordings of a second each, one after the other as ``cat`` puts them."""
    colors = ["red", "lime", "blue"]
    pieces = [
        piece(folder / f"{i}{Path(name).suffix}", start_s=start, color=colors[i], **changes)
        for i, start in enumerate(starts_s)
    ]
    (folder / name).write_bytes(b"".join(pieces))
    return folder / name


@pytest.mark.parametrize("output", ["o.mp4", "o.mkv", pytest.param("o.webm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", JOINED)
@pytest.mark.parametrize("starts_s", [[0, 0], [100, 0], [0, 300, 10]], ids=str)
def test_joined_recordings_follow_one_another(
    starts_s: list[float], name: str, output: str, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = join(tmp_path, name, starts_s)
    count = len(starts_s)
    done = run_through(source, output, factor=2)
    assert done.source.clock_jumps == count - 1
    assert any("start anew" in note for note in done.source.notes)
    assert done.source.duration_s == pytest.approx(count, abs=0.2)
    assert done.repaired == 0
    film, sound = tracks(done.output)
    assert len(film.times_s) == 25 * count
    assert np.diff(film.times_s) == pytest.approx(0.04, abs=0.06)
    assert film.times_s[-1] - film.times_s[0] == pytest.approx(count - 0.04, abs=0.05 * count)
    assert np.diff(sound.times_s).max() < 0.1
    # Sound and picture begin and end together, as in each recording.
    assert sound.times_s[0] == pytest.approx(film.times_s[0], abs=0.1)
    assert sound.times_s[-1] == pytest.approx(film.times_s[-1], abs=0.1)


def test_a_range_of_joined_recordings(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    source = join(tmp_path, "a.ts", [5, 5, 5])
    done = run_through(source, "o.mp4", factor=2, start_s=1.4, end_s=2.6)
    film, sound = tracks(done.output)
    assert len(film.times_s) == 30
    assert film.times_s[0] == pytest.approx(0, abs=1e-6)
    assert sound.times_s[0] == pytest.approx(0, abs=0.03)
    assert sound.times_s[-1] == pytest.approx(1.2, abs=0.05)
    with read_frames(probe(done.output)) as frames:
        colors = [int(f.rgb[12, 16].argmax()) for f in frames]
    assert colors == sorted(colors), "green, then blue"
    assert colors.count(1) == pytest.approx(15, abs=1)


@pytest.mark.parametrize("sound", ["ac3", "aac"])
def test_other_sound_of_joined_recordings(
    sound: str, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = join(tmp_path, "a.ts", [0, 0], sound=sound)
    for output in ("o.mp4", "o.mkv"):
        after = tracks(run_through(source, output, factor=2).output)[1]
        assert after.times_s[-1] - after.times_s[0] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", JOINED)
def test_a_plain_recording_keeps_its_clock(name: str, tmp_path: Path) -> None:
    source = probe(join(tmp_path, name, [20]))
    assert (source.clock_jumps, source.notes[-1:]) == (0, probe(source.path).notes[-1:])
    assert not any("anew" in note for note in source.notes)


def packet(stream: int, dts: int | None, kind: str = "video", duration: int = 3600) -> Any:
    return SimpleNamespace(
        stream_index=stream, stream=SimpleNamespace(type=kind), dts=dts, pts=dts if dts is not None else 7,
        duration=duration, time_base=Fraction(1, 90_000),
    )  # fmt: skip


def moved(*packets: Any) -> tuple[list[int], Clock]:
    clock = Clock()
    for p in packets:
        clock.move(p)
    return [p.dts for p in packets], clock


def test_late_packets_of_the_piece_before_stay_in_it() -> None:
    """The sound of the second piece arrives before the last picture of the first."""
    times, clock = moved(
        packet(0, 90_000), packet(1, 90_000, "audio"), packet(1, 0, "audio"), packet(0, 93_600), packet(0, 0),
        packet(1, 3600, "audio"),
    )  # fmt: skip
    assert clock.jumps == 1
    assert times == [90_000, 90_000, 93_600, 93_600, 93_601, 97_200]


def test_gaps_and_sparse_streams_are_no_jumps() -> None:
    """A still picture of 20 s under sound that goes on, a gap of 9 s, and subtitles far behind."""
    sound = [packet(1, 9000 * n, "audio", 9000) for n in range(200)]
    plain = [packet(0, 0), *sound, packet(0, 1_800_000), packet(0, 2_610_000), packet(2, 0, "subtitle", 0)]
    times, clock = moved(*plain)
    assert clock.jumps == 0
    assert times == [0, *(9000 * n for n in range(200)), 1_800_000, 2_610_000, 0]


def test_a_single_wrong_time_is_put_right() -> None:
    times, clock = moved(packet(0, 90_000), packet(0, 10**9), packet(0, 97_200), packet(0, 100_800))
    assert clock.jumps == 2
    assert times == [90_000, 93_600, 97_200, 100_800]


def test_packets_without_decode_time_move_along() -> None:
    _, clock = moved(packet(0, 90_000), packet(0, 0))
    late = packet(0, None)
    clock.move(late)
    assert (late.dts, late.pts) == (None, 7 + 93_600)
