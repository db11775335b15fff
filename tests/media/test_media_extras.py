"""What hangs on a picture or a stream and is lost when the picture is made anew is named before the run."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from media_helpers import Passed

from rvrt_cli.media import probe, read_frames, run_ffmpeg
from rvrt_cli.media.probe import _crop
from rvrt_cli.media.source import Crop


def film(path: Path, *options: str) -> Path:
    graph = "testsrc2=size=64x48:rate=25:duration=0.4"
    run_ffmpeg(["-v", "error", "-f", "lavfi", "-i", graph, "-c:v", "libx264", *options, str(path)], doing="making")  # fmt: skip
    return path


def said(path: Path) -> list[str]:
    return [note for note in probe(path).notes if "matrix" not in note]


def test_nothing_is_said_of_a_plain_film(tmp_path: Path) -> None:
    assert said(film(tmp_path / "a.mp4")) == []


def test_closed_captions_inside_the_pictures(tmp_path: Path) -> None:
    stream = film(tmp_path / "a.h264", "-bf", "0", "-x264-params", "threads=1").read_bytes()
    user_data = b"\xb5\x00\x31GA94\x03\x41\xff\xfc\x94\x20\xff"
    message = b"\0\0\1\x06\x04" + bytes([len(user_data)]) + user_data + b"\x80"
    # Before every coded picture (units of kind 1 and 5).
    (tmp_path / "b.h264").write_bytes(
        re.sub(rb"\x00?\x00\x00\x01[\x01\x21\x41\x61\x65]", lambda m: message + m[0], stream)
    )
    run_ffmpeg(["-v", "error", "-r", "25", "-i", str(tmp_path / "b.h264"), "-c", "copy", str(tmp_path / "b.mp4")], doing="muxing")  # fmt: skip
    assert said(tmp_path / "b.mp4") == [
        "Not carried into the upscaled picture: closed captions inside the pictures."
    ]


def test_stereoscopic_pictures(tmp_path: Path) -> None:
    packed = said(film(tmp_path / "a.mp4", "-x264-params", "frame-packing=3"))
    assert packed == ["Not carried into the upscaled picture: the mark of a stereoscopic picture."]
    # Matroska's mark is a tag, which the output gets.
    assert said(film(tmp_path / "a.mkv", "-metadata:s:v:0", "stereo_mode=left_right")) == []


def test_edges_that_the_container_hides(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    data = bytearray(film(tmp_path / "a.mp4").read_bytes())
    aperture = struct.pack(">I4s8I", 40, b"clap", 48, 1, 40, 1, 0, 1, 0, 1)
    start, end, parents = 0, len(data), []
    for wanted in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        while data[start + 4 : start + 8] != wanted:
            start += int.from_bytes(data[start : start + 4], "big")
        parents.append(start)
        end = start + int.from_bytes(data[start : start + 4], "big")
        start += 16 if wanted == b"stsd" else 8
    data[end:end] = aperture
    for start in parents:
        size = int.from_bytes(data[start : start + 4], "big") + len(aperture)
        data[start : start + 4] = size.to_bytes(4, "big")
    (tmp_path / "b.mp4").write_bytes(data)
    (note,) = said(tmp_path / "b.mp4")
    assert "(4 pixels at the top, 4 at the bottom, 8 left, 8 right)" in note
    done = run_through(tmp_path / "b.mp4", "o.mp4", factor=2)
    video = done.source.video
    assert (video.width, video.height, done.resized) == (48, 40, 0)
    with read_frames(probe(tmp_path / "a.mp4")) as whole, read_frames(done.source) as cropped:
        for one, other in zip(whole, cropped, strict=True):
            np.testing.assert_array_equal(other.rgb, one.rgb[4:-4, 8:-8])
    result = probe(done.output).video
    assert (result.width, result.height, result.sar, any(result.crop)) == (96, 80, 1, False)


def test_edges_of_more_than_the_picture_are_not_believed() -> None:
    assert _crop(["  Frame cropping: 8/8/4/4"], 64, 48) == Crop(8, 8, 4, 4)
    assert _crop(["  Frame cropping: 32/32/4/4"], 64, 48) == Crop()
    assert _crop(["  Frame cropping: many"], 64, 48) == Crop()
