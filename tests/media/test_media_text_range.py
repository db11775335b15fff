"""Subtitles, chapters and clocks of what is written: in whole films and in ranges of them, wherever their times lie."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from media_helpers import Passed, tracks

from rvrt_cli.cli import app as cli
from rvrt_cli.media import probe, read_frames, run_ffmpeg
from rvrt_cli.media.ffmpeg import ffmpeg_executable
from rvrt_cli.media.subtitles import Cue, read_cues

SECONDS = 1.6
FILM = ["-f", "lavfi", "-i", f"testsrc2=size=32x24:rate=25:duration={SECONDS}"]
SOUND = ["-f", "lavfi", "-i", f"sine=sample_rate=48000:duration={SECONDS}"]
LINES = "1\n00:00:00,200 --> 00:00:01,000\nACROSS\n\n2\n00:00:00,900 --> 00:00:01,100\nBESIDE\n\n3\n00:00:01,200 --> 00:00:01,400\nLATER\n"  # fmt: skip


def make(path: Path, *arguments: str) -> Path:
    run_ffmpeg(["-v", "error", "-y", *arguments, str(path)], doing="making a test file")
    return path


def film(path: Path) -> Path:
    """A film with one key frame, so that a range is sought from its beginning, and three lines of text."""
    (path.parent / "s.srt").write_text(LINES)
    text = {".mkv": "srt", ".webm": "webvtt"}.get(path.suffix, "mov_text")
    video = ["-c:v", "libvpx", "-deadline", "realtime"] if path.suffix == ".webm" else ["-c:v", "libx264"]
    return make(path, *FILM, "-i", str(path.parent / "s.srt"), *video, "-g", "100", "-c:s", text)


def read_text(path: Path) -> list[Cue]:
    """The lines as ffmpeg reads them, on the file's own clock."""
    command = [
        ffmpeg_executable(),
        "-v",
        "error",
        "-copyts",
        "-i",
        str(path),
        "-map",
        "0:s",
        "-f",
        "srt",
        "-",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return read_cues(done.stdout.decode())


@pytest.mark.parametrize(
    ("name", "output"),
    [("a.mkv", "o.mp4"), ("a.mkv", "o.webm"), ("a.mp4", "o.mkv"), ("a.webm", "o.mov"), ("a.mkv", "o.mkv"), ("a.mp4", "o.mp4")],
)  # fmt: skip
def test_text_of_a_range_is_at_its_place(
    name: str, output: str, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    done = run_through(film(tmp_path / name), output, factor=2, start_s=0.8)
    found = read_text(done.output)
    later = [cue for cue in found if cue.text == "LATER"]
    assert [(cue.begin, cue.end) for cue in later] == [(pytest.approx(400, abs=2), pytest.approx(600, abs=2))]
    if any(p.action == "convert" for p in done.plan.streams):
        shown = sum(cue.end - cue.begin for cue in found if "ACROSS" in cue.text)
        lasts = 100 if name == "a.mp4" else 200  # MP4 has shown the next line alone since 0.9 s
        assert shown == pytest.approx(lasts, abs=4), "what is shown when the range begins stays"


def test_lines_that_overlap_are_both_shown_in_mp4(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    found = read_text(run_through(film(tmp_path / "a.mkv"), "o.mp4", factor=2).output)
    assert [(cue.begin, cue.end, cue.text) for cue in found] == [
        (200, 900, "ACROSS"), (900, 1000, "ACROSS\nBESIDE"), (1000, 1100, "BESIDE"), (1200, 1400, "LATER")]  # fmt: skip


def test_text_of_a_film_that_begins_later(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    """Its clock and that of the text have the same origin; nothing moves."""
    (tmp_path / "s.srt").write_text(LINES)
    source = make(tmp_path / "a.mkv", "-itsoffset", "0.4", *FILM, "-i", str(tmp_path / "s.srt"), "-c:v", "libx264", "-c:s", "ass")  # fmt: skip
    done = run_through(source, "o.mp4", factor=2)
    assert read_text(done.output)[0].begin == pytest.approx(200, abs=2)
    assert tracks(done.output)[0].times_s[0] == pytest.approx(0.4, abs=1e-3)


@pytest.mark.parametrize("start_s", [None, 0.8])
@pytest.mark.parametrize("output", ["o.mkv", pytest.param("o.webm", marks=pytest.mark.slow), "o.mp4"])
def test_a_transport_stream_whose_clock_wraps(
    output: str, start_s: float | None, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    """Its 33 bits of 90 kHz end in the film, so that it begins before zero, its sound first."""
    source = make(
        tmp_path / "a.ts", *FILM, *SOUND, "-c:v", "mpeg2video", "-g", "12", "-c:a", "aac", "-output_ts_offset", "95442.9",
        "-muxdelay", "0", "-muxpreload", "0",
    )  # fmt: skip
    before = tracks(source)
    assert probe(source).start_s < 0
    done = run_through(source, output, factor=2, **({} if start_s is None else {"start_s": start_s}))
    picture, sound = tracks(done.output)
    assert len(picture.times_s) == (40 if start_s is None else pytest.approx(20, abs=1))
    assert picture.times_s[0] == pytest.approx(0, abs=0.05)
    if start_s is None:
        gaps = [b[1].times_s[0] - b[0].times_s[0] for b in (before, (picture, sound))]
        assert gaps[1] == pytest.approx(
            gaps[0], abs=0.03 if output == "o.webm" else 2e-3
        )  # Opus begins otherwise


@pytest.mark.parametrize("output", ["o.mkv", "o.webm"])
@pytest.mark.parametrize("read", [{}, {"max_frames": 3}], ids=["whole", "part"])
def test_sound_that_begins_before_zero(
    output: str, read: dict[str, int], tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    """A packet that only warms a Vorbis decoder up; Matroska has no time for it and no delay to state."""
    pcm = ["-c:a", "libvorbis"]
    source = make(tmp_path / "a.ogv", *FILM, *SOUND, "-c:v", "libtheora", *pcm)
    before = tracks(source)
    assert before[1].times_s[0] < 0
    picture, sound = tracks(run_through(source, output, factor=2, **read).output)
    assert min(sound.times_s) >= 0
    assert sound.times_s[0] - picture.times_s[0] == pytest.approx(before[1].times_s[0], abs=1.1e-3)
    assert np.diff(picture.times_s) == pytest.approx(0.04, abs=1.1e-3)


@pytest.mark.parametrize(
    ("pcm", "exact"),
    [
        pytest.param("pcm_s16le", True, marks=pytest.mark.slow),
        ("pcm_s24le", True),
        pytest.param("pcm_u8", True, marks=pytest.mark.slow),
        ("pcm_f32le", False),
    ],
)
def test_pcm_becomes_what_older_programs_play(
    pcm: str, exact: bool, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = make(tmp_path / "a.mkv", *FILM, *SOUND, "-c:v", "libx264", "-c:a", pcm)
    done = run_through(source, "o.mp4", factor=2)
    assert [s.codec for s in probe(done.output).streams] == ["h264", "alac"]
    assert [
        w
        for w in done.plan.warnings
        if f"converted from {pcm} to alac" in w and ("without loss" in w) == exact
    ]
    heard = [_samples(path) for path in (source, done.output)]
    assert len(heard[0]) == len(heard[1])
    assert np.abs(heard[0].astype(np.int64) - heard[1]).max() <= (0 if exact else 1 << 8)
    assert run_through(source, "o.mov", factor=2).plan.streams[1].action == ("copy")


def _samples(path: Path) -> np.ndarray:
    command = [ffmpeg_executable(), "-v", "error", "-i", str(path), "-map", "0:a", "-f", "s32le", "-"]
    return np.frombuffer(
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout, "<i4"
    )


def test_float_sound_becomes_24_bits_in_matroska(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    """FLAC of 32 bits is younger than most players."""
    source = make(tmp_path / "a.mov", *FILM, *SOUND, "-c:v", "libx264", "-c:a", "pcm_f32be")
    done = run_through(source, "o.mkv", factor=2)
    assert [s.codec for s in probe(done.output).streams] == ["h264", "flac"]
    data = done.output.read_bytes()
    info = data[data.index(b"fLaC") + 8 :][:18]
    assert ((info[12] & 1) << 4 | info[13] >> 4) + 1 == 24


def test_a_preview_has_no_chapters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its pieces come from here and there: the chapters' times would mean other pictures."""
    (tmp_path / "c.txt").write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=800\ntitle=a\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=800\nEND=1600\ntitle=b\n")  # fmt: skip
    source = make(
        tmp_path / "a.mkv", *FILM, "-i", str(tmp_path / "c.txt"), "-map_chapters", "1", "-c:v", "libx264"
    )
    output = tmp_path / "o.mkv"
    monkeypatch.setattr(
        sys, "argv", ["rvrt", "upscale", str(source), str(output), "--model", "bicubic", "--preview", "2"]
    )
    with suppress(SystemExit):  # what it says is looked at instead
        cli.main()
    assert "no chapters" in capsys.readouterr().err.replace("\n", " ")
    assert probe(output).chapters == ()


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_a_film_copied_out_of_avi_is_shown_evenly(name: str, tmp_path: Path) -> None:
    """AVI has no display times, so a copy gives the frames shown out of order the times in which they are decoded."""
    avi = make(tmp_path / "a.avi", *FILM, "-c:v", "mpeg4", "-bf", "2", "-vtag", "XVID")
    source = probe(make(tmp_path / name, "-i", str(avi), "-c", "copy"))
    with read_frames(source) as frames:
        times = [float(frame.pts * source.video.time_base) for frame in frames]
    assert len(times) == 40
    assert sum(b - a < 0.005 for a, b in pairwise(times)) <= 1


def test_colour_tags_of_zero(shared: Path, run_through: Callable[..., Passed]) -> None:
    source = shared / "data" / "media_faults" / "0451_sample_mpeg2.m2v"
    if not source.exists():
        pytest.skip("shared data (media_faults) not found")
    done = run_through(source, "o.mp4", factor=0.5, max_frames=2)
    color = done.source.video.color
    assert (color.primaries, color.transfer, done.source.video.effective_color.matrix) == (2, 2, 6)
