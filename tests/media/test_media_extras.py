"""What hangs on a picture or a stream and is lost when the picture is made anew is named before the run."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from rvrt_cli.media import probe, run_ffmpeg


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


def test_edges_that_the_container_hides(tmp_path: Path) -> None:
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
