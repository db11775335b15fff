"""Films that change in the middle: interlaced from some frame on, another colour matrix, lost packets, hidden frames."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from media_helpers import Passed

from rvrt_cli.errors import OutputError
from rvrt_cli.media import probe, read_frames, run_ffmpeg
from rvrt_cli.media.y4m import probe_y4m

FIELDS = "scroll=h=0.05,tinterlace=interleave_{0},fieldorder={1}ff,setfield={1}ff"


def make(path: Path, *arguments: str) -> Path:
    run_ffmpeg(["-v", "error", "-y", *arguments, str(path)], doing="making a test file")
    return path


def bars(fields: str = "") -> list[str]:
    """Ten frames of moving bars; ``fields``: "top" or "bottom" for interlaced ones with that field first."""
    graph = ["-vf", FIELDS.format(fields, fields[0])] if fields else ["-vf", "scroll=h=0.05,fps=25"]
    return ["-f", "lavfi", "-i", "smptebars=size=64x64:rate=50:duration=0.4", *graph]


def combs(pictures: list[np.ndarray]) -> np.ndarray:
    """How much each picture's rows differ from their neighbours: much where two fields of a movement are woven."""
    return np.array([np.abs(p[2:-2:2] - 0.5 * (p[1:-3:2] + p[3:-1:2])).mean() for p in pictures])


def test_a_film_that_becomes_interlaced_later(tmp_path: Path) -> None:
    """Longer than what is looked at before the run; the progressive frames stay as they are."""
    plain = make(tmp_path / "p.ts", *bars(), "-c:v", "mpeg2video", "-q:v", "2", "-bf", "0")
    fields = make(tmp_path / "i.ts", *bars("top"), "-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ildct+ilme", "-bf", "0")  # fmt: skip
    path = tmp_path / "joined.ts"
    path.write_bytes(2 * plain.read_bytes() + 2 * fields.read_bytes())
    source = probe(path)
    assert not source.video.interlaced
    with read_frames(source, deinterlace="off") as frames:
        woven = [f.rgb for f in frames]
        assert not frames.deinterlaces
    with read_frames(source) as frames:
        auto = [f.rgb for f in frames]
        assert any("bwdif" in note for note in frames.notes)
    # The decoder itself loses the picture that it holds back where the sequence changes.
    assert len(auto) == len(woven) == 39
    for one, other in zip(auto[:19], woven[:19], strict=True):
        np.testing.assert_array_equal(one, other)
    assert combs(auto[19:]).mean() < 0.8 * combs(woven[19:]).mean()
    with read_frames(source, skip_frames=23) as frames:
        for one, other in zip(frames, auto[23:], strict=True):
            np.testing.assert_array_equal(one.rgb, other)
    with read_frames(probe(plain)) as frames:
        list(frames)
        assert not any("bwdif" in note for note in frames.notes)


def test_images_are_deinterlaced_when_asked(tmp_path: Path) -> None:
    make(tmp_path / "f%02d.png", *bars("top"))
    source = probe(tmp_path)
    with read_frames(source) as frames:
        woven = [f.rgb for f in frames]
        assert frames.notes == ()
    with read_frames(source, deinterlace="on") as frames:
        smooth = list(frames)
        assert any("bwdif" in note for note in frames.notes)
    assert [(f.pts, f.duration) for f in smooth] == [(n, 1) for n in range(10)]
    assert combs([f.rgb for f in smooth]).mean() < 0.8 * combs(woven).mean()


@pytest.mark.parametrize(
    ("fields", "mode"), [("top", "auto"), ("bottom", "auto"), ("top", "on"), ("top", "off")]
)
def test_y4m_is_deinterlaced(fields: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream's header says which field comes first."""
    data = make(tmp_path / "i.y4m", *bars(fields), "-pix_fmt", "yuv444p").read_bytes()
    assert f" I{fields[0]} ".encode() in data[:80]
    header, _, body = data.partition(b"\n")
    source = probe_y4m(io.BytesIO(header + b"\n"))
    pictures = {}
    for how in ("off", mode):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(body)))
        with read_frames(source, deinterlace=how) as frames:
            pictures[how] = [f.rgb for f in frames]
    assert len(pictures[mode]) == 10
    if mode != "off":
        assert combs(pictures[mode]).mean() < 0.8 * combs(pictures["off"]).mean()


def test_a_change_of_the_colour_matrix_keeps_the_colours(
    tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    """A red film, first in BT.709, then in BT.601 and full range."""
    for name, matrix, levels in (("0.ts", "bt709", "tv"), ("1.ts", "smpte170m", "pc")):
        graph = f"scale=out_color_matrix={matrix}:out_range={levels},format=yuv420p,setparams=colorspace={matrix}:range={levels}"
        make(
            tmp_path / name, "-f", "lavfi", "-i", "color=red:size=64x48:rate=25:duration=0.4", "-vf", graph,
            "-c:v", "libx264", "-qp", "4", "-colorspace", matrix, "-color_range", levels,
        )  # fmt: skip
    path = tmp_path / "joined.ts"
    path.write_bytes((tmp_path / "0.ts").read_bytes() + (tmp_path / "1.ts").read_bytes())
    done = run_through(path, "o.mp4", factor=1)
    assert any("10 frames were converted" in note for note in done.notes)
    result = probe(done.output)
    assert (result.video.color.matrix, result.video.color.range) == (1, 1)
    with read_frames(result) as frames:
        centres = np.array([f.rgb[24, 32] for f in frames])
    assert len(centres) == 20
    np.testing.assert_allclose(centres, [[1, 0, 0]] * 20, atol=3 / 255)


def test_a_lost_packet_is_counted_with_the_frame_after_it(shared: Path) -> None:
    source = probe(shared / "data" / "media" / "track-with-zero-dimensions.mp4")
    with read_frames(source) as frames:
        assert sum(f.corrupt for f in frames) == frames.corrupt_frames == 1


def test_frames_hidden_by_an_edit_list_are_not_missing(tmp_path: Path) -> None:
    whole = make(tmp_path / "a.mp4", *bars(), "-c:v", "libx264", "-g", "50")
    source = probe(make(tmp_path / "b.mp4", "-ss", "0.3", "-i", str(whole), "-c", "copy"))
    assert source.video.frame_count_hint == 2  # of 10 that are in the file
    with read_frames(source) as frames:
        assert len(list(frames)) < 5
        assert frames.notes == ()


def test_the_rate_of_y4m_is_its_clock() -> None:
    assert probe_y4m(io.BytesIO(b"YUV4MPEG2 W4 H2 F30:1 Ib C444\n")).video.time_base == Fraction(1, 30)


@pytest.mark.parametrize("encoder", ["libxvid", "libx264", "mpeg4"])
def test_avi_has_the_times_that_ffmpeg_gives_it(encoder: str, tmp_path: Path) -> None:
    """Packed B-frames (Xvid) and H.264 in AVI: display times are made up and go back and forth, decode times do not."""
    path = tmp_path / "a.avi"
    arguments = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=24:duration=1", "-c:v", encoder, "-bf", "2"]
    try:
        run_ffmpeg(["-v", "error", *arguments, str(path)], doing="making a film")
    except OutputError:
        pytest.skip(f"this ffmpeg has no {encoder}")
    listing = run_ffmpeg(
        ["-i", str(path), "-fps_mode", "passthrough", "-vf", "showinfo", "-f", "null", "-"],
        doing="asking ffmpeg",
    )
    wanted = [int(number) for number in re.findall(r"\bn: *\d+ pts: *(\d+)", listing)]
    assert len(wanted) >= 20
    with read_frames(probe(path)) as frames:
        assert [frame.pts for frame in frames] == wanted
    assert frames.repaired_timestamps <= 2  # at the end, where frames come out without a packet
