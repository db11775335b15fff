"""Muxing and verifying: what must never be written, and what verification must notice."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from media_helpers import Passed, tracks

from rvrt_cli.errors import DiskFullError, InterruptedRun, OutputError, VerifyError
from rvrt_cli.media import (
    EncodeOptions,
    Expected,
    SegmentWriter,
    mux,
    plan_mux,
    probe,
    resolve_encoding,
    run_ffmpeg,
    verify_output,
)
from rvrt_cli.media.covers import cover_bytes
from rvrt_cli.media.ffmpeg import OWN_GROUP, explain_ffmpeg_failure
from rvrt_cli.media.mux_plan import StreamPlan
from rvrt_cli.media.segment import DecodeOrder, read_footer

FILM = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=0.4"]
SOUND = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=0.4"]


def make(path: Path, *arguments: str) -> Path:
    run_ffmpeg(["-v", "error", "-y", *arguments, str(path)], doing="making a test file")
    return path


POSIX = pytest.mark.skipif(os.name == "nt", reason="process groups and scripts of POSIX")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make(
        tmp_path / "film.mp4",
        *FILM,
        *SOUND,
        "-c:v",
        "libx264",
        "-g",
        "5",
        "-c:a",
        "aac",
        "-metadata:s:a:0",
        "language=deu",
    )


def expectation(done: Passed) -> Expected:
    """What the pass promised."""
    width, height = done.settings.coded_size
    return Expected(
        pts=np.array(done.pts, np.int64), time_base=done.settings.time_base, width=width, height=height,
        color=done.settings.color, sar=done.settings.sar,
    )  # fmt: skip


def test_verification_accepts_what_was_promised(film: Path, run_through: Callable[..., Passed]) -> None:
    done = run_through(film, "o.mp4")
    verify_output(done.source, done.output, expectation(done), done.plan)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pts": np.arange(9) * 512}, "10 frames, not 9"),
        ({"pts": np.arange(10) * 512 + (np.arange(10) == 4)}, "frame 4 is shown at"),
        ({"width": 260}, "size is 256x192, not 260x192"),
        ({"rotation": 90}, "rotation is 0, not 90"),
        ({"flipped": True}, "rotation"),
        ({"sar": Fraction(2)}, "pixel aspect is 1, not 2"),
        ({"shift_s": 0.5}, "sound stream 1 moved by"),
    ],
)
def test_verification_notices(
    change: dict[str, object], words: str, film: Path, run_through: Callable[..., Passed]
) -> None:
    done = run_through(film, "o.mp4")
    with pytest.raises(VerifyError, match=words):
        verify_output(done.source, done.output, replace(expectation(done), **change), done.plan)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("matrix", 1, "matrix is 6, not 1"),
        ("primaries", 9, "primaries"),
        ("transfer", 16, "transfer"),
        ("range", 2, "range"),
    ],
)
def test_verification_notices_colour(
    name: str, value: int, words: str, film: Path, run_through: Callable[..., Passed]
) -> None:
    done = run_through(film, "o.mp4")
    wrong = replace(done.settings.color, **{name: value})
    with pytest.raises(VerifyError, match=words):
        verify_output(done.source, done.output, replace(expectation(done), color=wrong), done.plan)


def test_verification_notices_missing_streams_and_languages(
    film: Path, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    done = run_through(film, "o.mp4")
    silent = make(tmp_path / "silent.mp4", "-i", str(done.output), "-map", "0:v", "-c", "copy")
    with pytest.raises(VerifyError, match=r"its streams are \['video h264'\]"):
        verify_output(done.source, silent, expectation(done), done.plan)
    english = make(
        tmp_path / "english.mp4",
        "-i",
        str(done.output),
        "-map",
        "0",
        "-c",
        "copy",
        "-metadata:s:a:0",
        "language=eng",
    )
    with pytest.raises(VerifyError, match="language eng, not deu"):
        verify_output(done.source, english, expectation(done), done.plan)
    short = make(tmp_path / "short.mp4", "-i", str(done.output), "-i", str(film), "-map", "0:v", "-map", "1:a", "-c", "copy", "-bsf:a",
                 "noise=drop=gt(n\\,5)", "-metadata:s:a:0", "language=deu")  # fmt: skip
    with pytest.raises(VerifyError, match="packets, not"):
        verify_output(done.source, short, expectation(done), done.plan)


def test_verification_notices_lost_attachments_and_chapters(
    tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    (tmp_path / "font.ttf").write_bytes(b"0" * 64)
    (tmp_path / "meta.txt").write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
    )
    source = make(tmp_path / "a.mkv", *FILM, "-i", str(tmp_path / "meta.txt"), "-map", "0", "-map_chapters", "1", "-c:v", "libx264",
                  "-attach", str(tmp_path / "font.ttf"), "-metadata:s:t:0", "mimetype=application/x-truetype-font")  # fmt: skip
    done = run_through(source, "o.mkv")
    bare = make(tmp_path / "bare.mkv", "-i", str(done.output), "-map", "0:v", "-c", "copy")
    with pytest.raises(VerifyError, match="attachments"):
        verify_output(done.source, bare, expectation(done), done.plan)
    without = make(
        tmp_path / "w.mkv", "-i", str(done.output), "-map", "0", "-c", "copy", "-map_chapters", "-1"
    )
    with pytest.raises(VerifyError, match="0 chapters, not 1"):
        verify_output(done.source, without, expectation(done), done.plan)


def test_verification_notices_an_unreadable_file(film: Path, run_through: Callable[..., Passed]) -> None:
    done = run_through(film, "o.mp4")
    done.output.write_bytes(done.output.read_bytes()[:300])
    with pytest.raises(VerifyError, match="cannot be read back"):
        verify_output(done.source, done.output, expectation(done), done.plan)


def segment(path: Path, settings, times, shape=(192, 256)) -> Path:
    with SegmentWriter(path, settings) as writer:
        for number, pts in enumerate(times):
            writer.write(np.full((*shape, 3), number / 20, np.float32), pts, 512)
        writer.close()
    return path


def test_segments_that_do_not_fit_are_refused(film: Path, tmp_path: Path) -> None:
    source = probe(film)
    output = tmp_path / "o.mp4"
    settings = resolve_encoding(source, EncodeOptions(), output, 256, 192)
    plan = plan_mux(source, settings)
    one = segment(tmp_path / "1.mkv", settings, [0, 512, 1024])
    two = segment(tmp_path / "2.mkv", settings, [1024, 1536])
    with pytest.raises(OutputError, match="no finished segments"):
        mux(source, [], output, settings, plan)
    with pytest.raises(OutputError, match="overlap in time"):
        mux(source, [one, two], output, settings, plan)
    with pytest.raises(OutputError, match="cannot be read"):
        mux(source, [one, tmp_path / "none.mkv"], output, settings, plan)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(one.read_bytes()[:-10])
    with pytest.raises(OutputError, match="unfinished or damaged"):
        mux(source, [cut], output, settings, plan)
    cut.write_bytes(b"x")
    with pytest.raises(OutputError, match="cannot be read"):
        mux(source, [cut], output, settings, plan)
    # A segment whose middle was lost: the footer promises more frames than there are.
    footer = one.read_bytes()[-50:]
    (tmp_path / "fewer.mkv").write_bytes(two.read_bytes()[:-50] + footer)
    with pytest.raises(OutputError, match="holds 2 of 3 frames"):
        mux(source, [tmp_path / "fewer.mkv"], output, settings, plan)
    assert not output.exists()
    assert not [p for p in tmp_path.iterdir() if ".part" in p.name]


def test_a_result_that_fails_verification_is_not_put_in_place(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = probe(film)
    output = tmp_path / "o.mp4"
    settings = resolve_encoding(source, EncodeOptions(), output, 256, 192)
    one = segment(tmp_path / "1.mkv", settings, [0, 512, 1024])
    output.write_bytes(b"an older result")
    lie = replace(plan_mux(source, settings), streams=(StreamPlan(0, "video", "upscale", "vp9"),))
    with pytest.raises(VerifyError, match="vp9"):
        mux(source, [one], output, settings, lie)
    assert output.read_bytes() == b"an older result"
    assert not [p for p in tmp_path.iterdir() if ".part" in p.name]


def test_ffmpeg_failing_is_explained(film: Path, tmp_path: Path) -> None:
    source = probe(film)
    settings = resolve_encoding(source, EncodeOptions(), tmp_path / "o.mp4", 256, 192)
    one = segment(tmp_path / "1.mkv", settings, [0, 512, 1024])
    plan = plan_mux(source, settings)
    sound_as_text = replace(plan.streams[1], action="convert", codec="subrip", kind="subtitle")
    with pytest.raises(OutputError, match="ffmpeg failed while converting the subtitles"):
        mux(
            source,
            [one],
            tmp_path / "o.mp4",
            settings,
            replace(plan, streams=(plan.streams[0], sound_as_text)),
        )
    broken = replace(plan, container="webm")
    with pytest.raises(OutputError, match="ffmpeg failed while assembling"):
        mux(source, [one], tmp_path / "o.mp4", settings, broken)
    assert isinstance(explain_ffmpeg_failure("x\nNo space left on device\n", "writing"), DiskFullError)
    assert "nothing" in str(explain_ffmpeg_failure("", "writing"))
    assert "ended from outside (SIGKILL)" in str(explain_ffmpeg_failure("", "writing", -9))
    with pytest.raises(OutputError, match="ffmpeg failed while reading"):
        run_ffmpeg(["-i", str(tmp_path / "none")], doing="reading")
    with pytest.raises(OutputError, match="did not finish within"):
        run_ffmpeg(["-f", "lavfi", "-re", "-i", "color", "-f", "null", "-"], doing="waiting", timeout_s=0.5)


def test_an_interruption_stops_ffmpeg_and_leaves_nothing(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = probe(film)
    settings = resolve_encoding(source, EncodeOptions(), tmp_path / "o.mp4", 256, 192)
    one = segment(tmp_path / "1.mkv", settings, [0, 512, 1024])
    started: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    def popen(*args, **kwargs):
        started.append(original(*args, **kwargs))
        return started[-1]

    plan = plan_mux(source, settings)
    monkeypatch.setattr(subprocess, "Popen", popen)

    def interrupted(self: DecodeOrder, pts: int) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(DecodeOrder, "decode_time", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mux(source, [one], tmp_path / "o.mp4", settings, plan)
    assert started[-1].poll() is not None
    assert not [p for p in tmp_path.iterdir() if ".part" in p.name or p.name == "o.mp4"]


@POSIX
def test_a_stop_ends_the_assembly(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While packets are fed, and while ffmpeg works on what it has; the terminal's Ctrl+C does not reach it."""
    source = probe(film)
    settings = resolve_encoding(source, EncodeOptions(), tmp_path / "o.mp4", 256, 192)
    one = segment(tmp_path / "1.mkv", settings, [0, 512, 1024])
    plan = plan_mux(source, settings)
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedRun, match="all frames are finished and kept"):
        mux(source, [one], tmp_path / "o.mp4", settings, plan, stop=stop)

    stop.clear()
    waiting = tmp_path / "ffmpeg"
    waiting.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\ncat > /dev/null\nexec sleep 60\n")
    waiting.chmod(0o755)
    monkeypatch.setattr(sys.modules["rvrt_cli.media.mux_command"], "ffmpeg_executable", lambda: str(waiting))
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(InterruptedRun):
        mux(source, [one], tmp_path / "o.mp4", settings, plan, stop=stop)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.mkv", "ffmpeg", "film.mp4", "pid"]


@POSIX
def test_ffmpeg_has_a_process_group_of_its_own() -> None:
    command = [sys.executable, "-c", "import os; print(os.getpgid(0))"]
    done = subprocess.run(command, capture_output=True, check=True, **OWN_GROUP)
    assert int(done.stdout) != os.getpgid(0)


def test_packets_in_an_impossible_order_are_refused(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = probe(film)
    settings = resolve_encoding(source, EncodeOptions(), tmp_path / "o.mp4", 256, 192)
    one = segment(tmp_path / "1.mkv", settings, [0, 512, 1024])
    monkeypatch.setattr(DecodeOrder, "decode_time", lambda self, pts: pts + 1)
    with pytest.raises(OutputError, match="out of order"):
        mux(source, [one], tmp_path / "o.mp4", settings, plan_mux(source, settings))


def test_timestamps_of_segments(film: Path, tmp_path: Path) -> None:
    source = probe(film)
    settings = resolve_encoding(source, EncodeOptions(), "o.mp4", 256, 192)
    one = segment(tmp_path / "1.mkv", settings, [-700, 5, 6, 1024])
    footer = read_footer(one)
    assert (footer.frames, footer.first_pts, footer.last_pts, footer.last_duration) == (4, -700, 1024, 512)


def test_the_last_frame_lasts_as_long_as_in_the_source(
    film: Path, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    """Decode times start before the first frame by whole frames, or the track would end two frames early."""
    for name in ("o.mp4", "o.mov"):
        done = run_through(film, name)
        assert (
            probe(done.output).streams[0].duration_s
            == probe(film).streams[0].duration_s
            == pytest.approx(0.4)
        )


def test_verification_notices_a_wrong_duration(film: Path, run_through: Callable[..., Passed]) -> None:
    done = run_through(film, "o.mkv")
    with pytest.raises(VerifyError, match=r"it lasts 0\.4\d* s, not 7"):
        verify_output(done.source, done.output, replace(expectation(done), last_duration=90_000), done.plan)


def movie_duration_s(path: Path) -> float:
    """Duration in the movie header, which players show."""
    data = path.read_bytes()
    header = data.rindex(b"mvhd") + 4
    scale, duration = struct.unpack(">II", data[header + 12 : header + 20])
    return duration / scale


def media_duration(path: Path) -> tuple[int, int]:
    """(ticks per second, duration in ticks) in the media header of the first track: the sum of its decode times."""
    data = path.read_bytes()
    header = data.index(b"mdhd") + 4
    scale, duration = struct.unpack(">II", data[header + 12 : header + 20])
    return scale, duration


@pytest.mark.parametrize(
    ("times", "last"),
    [
        ([0, 64, 90, 243, 5491, 5926], 474),  # a few frames, then long ones
        ([0, 512, 1024, 1536, 9000, 20000], 512),
        ([0, 512, 1024, 1536, 2048, 2560], 30000),
        ([0, 9000], 512),
        ([0], 9000),
    ],
)
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_the_media_header_counts_frames_that_are_shown_for_long(
    film: Path, tmp_path: Path, times: list[int], last: int, codec: str
) -> None:
    """Decode times run ahead of display times; a damaged film with a variable rate stated a third of its length."""
    source = probe(film)
    output = tmp_path / "o.mp4"
    settings = resolve_encoding(source, EncodeOptions(codec=codec), output, 256, 192)
    picture = np.random.default_rng(1).random((len(times), 192, 256, 3), np.float32)
    with SegmentWriter(tmp_path / "1.mkv", settings) as writer:
        for number, time in enumerate(times):
            writer.write(picture[number], time, last if time == times[-1] else None)
        writer.close()
    mux(source, [tmp_path / "1.mkv"], output, settings, plan_mux(source, settings))
    scale, duration = media_duration(output)
    assert duration * settings.time_base.denominator == (times[-1] + last) * scale
    with av.open(str(output)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    unit = scale // settings.time_base.denominator
    assert sorted(p.pts for p in packets) == [time * unit for time in times]
    assert max(p.pts + p.duration for p in packets) <= (times[-1] + last) * unit
    assert all(a.dts < b.dts for a, b in pairwise(packets))
    assert all(p.dts <= p.pts for p in packets)
    sound_s = tracks(film)[1].times_s[-1] + 0.03
    assert movie_duration_s(output) == pytest.approx(
        max((times[-1] + last) / settings.time_base.denominator, sound_s), abs=0.02
    )


@pytest.mark.parametrize("name", ["o.mkv", "o.webm", "o.mp4"])
def test_frames_closer_than_a_tick_do_not_make_the_film_longer(film: Path, tmp_path: Path, name: str) -> None:
    """Matroska takes a duration of 0 ms for an unknown one and puts the film's usual one there, here a second."""
    source = probe(film)
    settings = resolve_encoding(source, EncodeOptions(), tmp_path / name, 256, 192)
    times = [0, 14000, 14600, 14604, 14608, 14612, 15200]
    one = segment(tmp_path / "1.mkv", settings, times)
    mux(source, [one], tmp_path / name, settings, plan_mux(source, settings))
    assert probe(tmp_path / name).duration_s == pytest.approx((15200 + 512) / 12800, abs=2e-3)


def test_a_long_last_frame_keeps_its_duration(shared: Path, run_through: Callable[..., Passed]) -> None:
    """The film's length in the header is right although the last frame shown is not the last one decoded."""
    path = shared / "data" / "media" / "cursed-vfr.mp4"
    done = run_through(path, "o.mp4", factor=0.05)
    assert movie_duration_s(done.output) == pytest.approx(502589 / 57600, abs=2e-3)


def test_negative_times_are_moved_together_with_the_sound(film: Path, tmp_path: Path) -> None:
    source = probe(film)
    output = tmp_path / "o.mp4"
    settings = resolve_encoding(source, EncodeOptions(), output, 256, 192)
    one = segment(tmp_path / "1.mkv", settings, [-512, 0, 512])
    mux(source, [one], output, settings, plan_mux(source, settings))
    after = tracks(output)
    assert after[0].times_s == pytest.approx([0, 0.04, 0.08], abs=1e-6)
    assert after[1].times_s[0] == pytest.approx(tracks(film)[1].times_s[0] + 0.04, abs=1e-3)


def test_sound_that_does_not_fit_is_converted_and_damaged_streams_are_named(
    tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = make(
        tmp_path / "a.mkv",
        *FILM,
        *SOUND,
        *SOUND,
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "2",
        "-c:v",
        "libx264",
        "-c:a:0",
        "wmav2",
        "-c:a:1",
        "flac",
    )
    done = run_through(source, "o.webm")
    assert [p.action for p in done.plan.streams] == ["upscale", "convert", "convert"]
    assert all(p.codec == "opus" for p in done.plan.streams[1:])
    assert len(done.plan.warnings) == 2


def test_data_streams_are_named_when_they_cannot_be_kept(
    tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = make(tmp_path / "a.mov", *FILM, "-c:v", "libx264", "-timecode", "01:00:00:00")
    assert any(s.kind == "data" for s in probe(source).streams)
    done = run_through(source, "o.mkv")
    assert any("data stream 1" in w for w in done.plan.warnings)


def test_pictures_become_a_film(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    make(tmp_path / "f%03d.png", *FILM)
    done = run_through(
        tmp_path / "f%03d.png", "o.mp4", factor=2, source=probe(tmp_path / "f%03d.png", fps=Fraction(30))
    )
    video = probe(done.output).video
    assert (video.width, video.height, video.average_rate, video.chroma) == (128, 96, 30, "444")
    assert (video.color.matrix, video.color.range, video.color.primaries) == (1, 1, 1)
    assert len(tracks(done.output)[0].times_s) == 10


def test_chapters_without_a_title_stay_so_in_webm(tmp_path: Path) -> None:
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=b\n"
    )
    film = make(tmp_path / "film.mkv", *FILM, "-i", str(chapters), "-map_chapters", "1", "-c:v", "libx264")
    source = probe(film)
    for name, told in (("out.webm", True), ("out.mkv", False)):
        settings = resolve_encoding(source, EncodeOptions(), tmp_path / name, 256, 192)
        assert ("Chapters without a title stay without one." in plan_mux(source, settings).warnings) == told


@pytest.mark.parametrize(
    ("container", "action"), [("mkv", "attach"), ("mp4", "copy"), ("mov", "drop"), ("webm", "drop")]
)
def test_a_cover_is_kept_where_there_is_a_place_for_it(tmp_path: Path, container: str, action: str) -> None:
    cover = make(tmp_path / "cover.png", "-f", "lavfi", "-i", "color=size=16x16", "-frames:v", "1")
    film = make(
        tmp_path / "film.mp4", *FILM, "-i", str(cover), "-map", "0", "-map", "1", "-c:v:0", "libx264", "-c:v:1", "copy",
        "-disposition:v:1", "attached_pic",
    )  # fmt: skip
    source = probe(film)
    settings = resolve_encoding(source, EncodeOptions(), tmp_path / f"out.{container}", 256, 192)
    plan = plan_mux(source, settings)
    assert [stream.action for stream in plan.streams] == ["upscale", action]
    assert any("there is no place for covers" in warning for warning in plan.warnings) == (action == "drop")


def test_a_cover_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    film = make(tmp_path / "film.mp4", *FILM, "-c:v", "libx264")
    source = probe(film)
    film.write_bytes(b"something else")
    with pytest.raises(OutputError, match=r"cover picture of .* cannot be read"):
        cover_bytes(source, 0)


def test_an_empty_cover_is_told(tmp_path: Path) -> None:
    """A Matroska file may announce a track, here of sound, that never has a packet."""
    film = make(
        tmp_path / "film.mkv", *FILM, *SOUND, "-map", "0", "-map", "1", "-c:v", "libx264", "-c:a", "flac",
        "-bsf:a", "noise=drop=1",
    )  # fmt: skip
    with pytest.raises(OutputError, match=r"cover picture of .* is empty"):
        cover_bytes(probe(film), 1)


def test_a_cover_keeps_its_title(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    cover = make(tmp_path / "cover.png", "-f", "lavfi", "-i", "color=size=16x16", "-frames:v", "1")
    film = make(
        tmp_path / "film.mkv", *FILM, "-c:v", "libx264", "-attach", str(cover), "-metadata:s:1", "mimetype=image/png",
        "-metadata:s:1", "title=The front",
    )  # fmt: skip
    found = [s for s in probe(run_through(film, "o.mkv").output).streams if "attached_pic" in s.disposition]
    assert [dict(s.metadata)["title"] for s in found] == ["The front"]


def test_an_output_that_cannot_be_read_back_is_told(film: Path, tmp_path: Path) -> None:
    source = probe(film)
    settings = resolve_encoding(source, EncodeOptions(), tmp_path / "out.mp4", 64, 48)
    plan = plan_mux(source, settings)
    expected = Expected(np.arange(10), Fraction(1, 25), 64, 48, settings.color, settings.sar)
    for content in (b"", b"no film at all"):
        (tmp_path / "out.mp4").write_bytes(content)
        with pytest.raises(VerifyError, match="cannot be read back"):
            verify_output(source, tmp_path / "out.mp4", expected, plan)
