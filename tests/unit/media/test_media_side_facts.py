"""Small rules about what goes beside the film: languages, timecodes, display times, shapes, the version of ffmpeg."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import pytest

from rvrt_cli.errors import DeviceError
from rvrt_cli.media import Source, run_ffmpeg
from rvrt_cli.media.aspects import ShapeSurvey, in_one_shape, shape_notes
from rvrt_cli.media.clock import DisplayTimes
from rvrt_cli.media.ffmpeg import ffmpeg_executable
from rvrt_cli.media.languages import QUICKTIME, TWO_LETTERS, same_language, written_language
from rvrt_cli.media.probe import _specified, probe
from rvrt_cli.media.timecode import later_timecode

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    "spellings",
    [("de", "deu", "ger", "German", "DE-at", "Deutsch", " ger "), ("zh-Hans", "zho", "chi", "Chinese"), ("und", "", None), ("qaa", "QAA")],
)  # fmt: skip
def test_spellings_of_one_language(spellings: tuple[str | None, ...]) -> None:
    assert len({same_language(code) for code in spellings}) == 1
    assert same_language("en") != same_language("fr")


def test_quicktime_has_the_languages_that_are_listed(tmp_path: Path) -> None:
    """ffmpeg is asked: it writes them all, one track each, and of others none."""
    codes = [*sorted(QUICKTIME), "deu", "fre", "slo", "qaa"]
    arguments = [
        part for n, code in enumerate(codes) for part in ("-map", "0", f"-metadata:s:{n}", f"language={code}")
    ]
    run_ffmpeg(["-v", "error", "-f", "lavfi", "-i", "sine=duration=0.05", "-f", "lavfi", "-i", "color=size=16x16:duration=0.04", *arguments, "-map", "1", "-c:a", "pcm_s16le", "-c:v", "png", str(tmp_path / "a.mov")], doing="making")  # fmt: skip
    found = [s.language for s in probe(tmp_path / "a.mov").streams[:-1]]
    assert [code for code, language in zip(codes, found, strict=True) if language == code] == sorted(
        QUICKTIME
    )
    known = [code for code in TWO_LETTERS.values() if written_language(code, "mov")]
    assert all(written_language(code, "mov") in QUICKTIME for code in known)


@pytest.mark.parametrize(
    ("text", "rate", "frames", "later"),
    [
        ("00:00:59;29", NTSC, 1, "00:01:00;02"),
        ("00:09:59;29", NTSC, 1, "00:10:00;00"),
        ("00:00:00;00", NTSC, 107892, "01:00:00;00"),
        ("00:00:59;59", 2 * NTSC, 1, "00:01:00;04"),
        ("01:00:00:00", Fraction(24000, 1001), 25, "01:00:01:01"),
        ("23:59:59:24", Fraction(25), 1, "00:00:00:00"),
        ("01:00:00;00", Fraction(25), 0, None),
        ("01:00:00:25", Fraction(25), 0, None),
        ("an hour", Fraction(25), 0, None),
    ],
)
def test_timecodes_count_on(text: str, rate: Fraction, frames: int, later: str | None) -> None:
    assert later_timecode(text, rate, frames) == later


def test_no_timecode_is_met_twice_and_dropped_ones_never() -> None:
    found = [later_timecode("00:00:00;00", NTSC, n) or "" for n in range(0, 40_000)]
    assert len(set(found)) == len(found)
    assert not [t for t in found if (t.endswith(("00;00", "00;01")) and not t.startswith("00:")) or (t[6:] in ("00;00", "00;01") and int(t[3:5]) % 10)]  # fmt: skip


def chosen(*times: tuple[int | None, int | None]) -> list[int | None]:
    clock = DisplayTimes()
    return [clock.choose(*pair) for pair in times]


@pytest.mark.parametrize(
    ("times", "own"),
    [
        ([(0, None), (2, None), (4, None)], [0, 2, 4]),
        ([(2, 0), (0, 1), (4, 2), (2, 3), (8, 4)], [2, 1, 2, 3, 4]),  # display times go back and forth
        ([(0, 5), (1, 5), (2, 5), (3, 5)], [0, 1, 2, 3]),  # decode times stand still
        ([(None, 0), (None, 1), (None, 2)], [0, 1, 2]),
        ([(None, None), (3, 1)], [None, 3]),
        ([(0, 0), (1, 1), (5, 2), (4, 3), (6, 4), (5, 5)], [0, 1, 5, 3, 4, 5]),
    ],
)
def test_the_time_of_a_frame_is_the_one_that_increases(
    times: list[tuple[int | None, int | None]], own: list[int | None]
) -> None:
    assert chosen(*times) == own


@pytest.mark.parametrize(
    ("bitstream", "container", "found"),
    [(0, 9, 9), (3, None, 2), (2, 0, 2), (0, 0, 2), (1, 9, 1), (16, 2, 16)],
)
def test_reserved_code_points_say_nothing(bitstream: int, container: int | None, found: int) -> None:
    assert _specified(bitstream, container) == found


def coded(path: Path, aspect: str, *coding: str) -> Path:
    run_ffmpeg(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=72x48:rate=25:duration=0.4", "-vf", f"setdar={aspect}", "-g", "5", *coding, str(path)], doing="making")  # fmt: skip
    return path


@pytest.mark.parametrize(
    "coding", [("mpeg2video", "mpg"), ("mpeg1video", "mpg"), ("libx264", "ts"), ("libx265", "ts")], ids=str
)
def test_the_longest_shape_wins_and_the_others_are_named(coding: tuple[str, str], tmp_path: Path) -> None:
    codec, suffix = coding
    more = ["-x265-params", "log-level=none"] if codec == "libx265" else []
    wide, narrow = (
        coded(tmp_path / f"{n}.{suffix}", aspect, "-c:v", codec, *more)
        for n, aspect in enumerate(("16/9", "4/3"))
    )
    (tmp_path / f"a.{suffix}").write_bytes(narrow.read_bytes() + 2 * wide.read_bytes())
    source = probe(tmp_path / f"a.{suffix}")
    assert _shown(source) == pytest.approx(16 / 9, rel=0.02)
    assert [note for note in shape_notes(source) if "aspect of the picture changes" in note and "1.3" in note]
    assert not shape_notes(probe(wide))
    changes_s = source.shapes[1].first_s - source.start_s
    narrower = in_one_shape(source, 0.0, changes_s)
    assert _shown(narrower) == pytest.approx(4 / 3, rel=0.03)
    assert not shape_notes(source, 0.0, changes_s)
    assert not shape_notes(source, changes_s, None)
    assert _shown(in_one_shape(source, 0.0, 1.2 * changes_s)) == pytest.approx(4 / 3, rel=0.03)


def _shown(source: Source) -> float:
    return float(source.video.sar * source.video.width / source.video.height)


def test_shapes_of_other_codecs_are_not_looked_at() -> None:
    survey = ShapeSurvey("vp9")
    survey.see(None)  # type: ignore[arg-type]
    assert survey.runs == []


@pytest.fixture
def any_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    ffmpeg_executable.cache_clear()
    yield monkeypatch
    ffmpeg_executable.cache_clear()


@pytest.mark.skipif(os.name == "nt", reason="a script of POSIX")
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ffmpeg version 5.1.9-0+deb12u1\nlibavutil      57. 28.100 / 57. 28.100", "is ffmpeg 5.1.9-0+deb12u1, rvrt needs 9.0"),
        ("ffmpeg version N-110000-gabc\nlibavutil      60.  1.100", "is ffmpeg N-110000-gabc"),
        ("something else", "not an ffmpeg that states its version"),
        ("ffmpeg version n9.1\nlibavutil      61.  9.100 / 61.  9.100", None),
    ],
)  # fmt: skip
def test_an_ffmpeg_is_refused_by_its_version(
    said: str, words: str | None, any_ffmpeg: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    any_ffmpeg.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(program))
    if words is None:
        assert ffmpeg_executable() == str(program)
        return
    with pytest.raises(DeviceError, match=words.replace("+", r"\+")):
        ffmpeg_executable()


def test_a_program_that_does_not_run_is_told(any_ffmpeg: pytest.MonkeyPatch, tmp_path: Path) -> None:
    any_ffmpeg.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(tmp_path / "none"))
    with pytest.raises(DeviceError, match="cannot be run as ffmpeg"):
        ffmpeg_executable()
