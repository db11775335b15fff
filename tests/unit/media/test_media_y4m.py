"""YUV4MPEG2 through pipes, checked against ffmpeg."""

from __future__ import annotations

import io
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from rvrt_cli.errors import InputError, OutputError, UsageError
from rvrt_cli.media import Y4mWriter, ffmpeg_executable, probe, read_frames, run_ffmpeg, y4m_settings
from rvrt_cli.media.y4m import decode_y4m, probe_y4m, read_header


class Standard:
    """A stand-in for sys.stdin."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def ffmpeg_y4m(pix_fmt: str, *extra: str) -> bytes:
    command = [
        ffmpeg_executable(),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=33x17:rate=30000/1001:duration=0.2",
        "-vf",
        "scale=33:17",
        "-pix_fmt",
        pix_fmt,
        *extra,
    ]
    return subprocess.run(
        [*command, "-strict", "-1", "-f", "yuv4mpegpipe", "-"], capture_output=True, check=True
    ).stdout


@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "yuv422p12le", "yuv444p16le", "gray10le"],
)
def test_ffmpegs_stream_comes_back_byte_for_byte(pix_fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ffmpeg_y4m(pix_fmt)
    monkeypatch.setattr("sys.stdin", Standard(data))
    source = probe("-")
    assert (source.kind, source.video.width, source.video.height, source.video.average_rate) == (
        "y4m",
        33,
        17,
        Fraction(30000, 1001),
    )
    out = io.BytesIO()
    writer = Y4mWriter(out, y4m_settings(source, 33, 17, pix_fmt))
    with read_frames(source) as frames:
        for frame in frames:
            writer.write(frame.rgb, frame.pts, frame.duration)
        assert frames.frame_count == 6
    writer.close()
    payload = [part.split(b"\n", 1)[1] if i else None for i, part in enumerate(data.split(b"FRAME"))][1:]
    ours = [part.split(b"\n", 1)[1] for part in out.getvalue().split(b"FRAME")[1:]]
    assert ours == payload


def test_ffmpeg_reads_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Standard(ffmpeg_y4m("yuv420p")))
    source = probe("-")
    path = tmp_path / "o.y4m"
    with open(path, "wb") as file:
        writer = Y4mWriter(file, y4m_settings(source, 66, 34))
        with read_frames(source, max_frames=4) as frames:
            for frame in frames:
                writer.write(frame.rgb.repeat(2, 0).repeat(2, 1), frame.pts)
        writer.close()
    again = probe(path)
    assert (again.kind, again.video.width, again.video.height, again.video.average_rate) == (
        "video",
        66,
        34,
        Fraction(30000, 1001),
    )
    with read_frames(again) as frames:
        assert len(list(frames)) == 4


def test_bad_headers_are_named() -> None:
    for header, words in [
        (b"RIFF....", "not a YUV4MPEG2"), (b"", "not a YUV4MPEG2"), (b"YUV4MPEG2 W4 F25:1\n", "damaged"), (b"YUV4MPEG2 Wx H4 F25:1\n", "damaged"),
        (b"YUV4MPEG2 W4 H4 C411\n", "C411"), (b"YUV4MPEG2 W0 H4\n", "not possible"), (b"YUV4MPEG2 W99999999 H99999999\n", "not possible"),
        (b"YUV4MPEG2 " + b"X" * 5000, "damaged"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=words):
            read_header(io.BytesIO(header))
    header = read_header(io.BytesIO(b"YUV4MPEG2 W4 H2 F0:0 A0:0 It C420paldv XCOLORRANGE=FULL\n"))
    assert (header.rate, header.sar, header.interlaced, header.chroma_location, header.color_range) == (
        25,
        1,
        "t",
        "topleft",
        2,
    )


def test_a_stream_that_breaks_off_is_an_error() -> None:
    start = b"YUV4MPEG2 W4 H2 F25:1 C444\n"
    source = probe_y4m(io.BytesIO(start + b"It"))
    with pytest.raises(InputError, match="ends inside frame 1"):
        list(decode_y4m(source, io.BytesIO(b"FRAME\n1234")))
    with pytest.raises(InputError, match="damaged after 0"):
        list(decode_y4m(source, io.BytesIO(b"GARBAGE\n1234")))
    assert "interlaced" in probe_y4m(io.BytesIO(start.replace(b"F25", b"Im F25"))).notes[1]


def test_a_variable_rate_and_a_closed_pipe_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = probe_y4m(io.BytesIO(b"YUV4MPEG2 W4 H2 F25:1 C444\n"))
    writer = Y4mWriter(io.BytesIO(), y4m_settings(source, 4, 2))
    picture = np.zeros((2, 4, 3), np.float32)
    writer.write(picture, 0)
    with pytest.raises(OutputError, match="variable frame rate"):
        writer.write(picture, 5)

    class Closed(io.BytesIO):
        def write(self, data: object) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    with pytest.raises(OutputError, match="stopped before the end"):
        Y4mWriter(Closed(), y4m_settings(source, 4, 2)).write(picture, 0)
    writer._file = Closed()
    with pytest.raises(OutputError, match="stopped before the end"):
        writer.close()
    with pytest.raises(UsageError, match="cannot hold"):
        y4m_settings(source, 4, 2, "rgb24")


def test_a_matrix_that_readers_would_guess_wrong_is_named() -> None:
    """y4m carries none, and pictures of standard definition become large enough to be taken for BT.709."""
    source = probe_y4m(io.BytesIO(b"YUV4MPEG2 W480 H270 F25:1 C420jpeg\n"))
    (said,) = y4m_settings(source, 1920, 1080).notes
    assert "are BT.601" in said
    assert "(1920x1080) takes them for BT.709" in said
    assert y4m_settings(source, 960, 540).notes == ()
    assert y4m_settings(source, 1920, 1080, "gray").notes == ()
    large = probe_y4m(io.BytesIO(b"YUV4MPEG2 W1280 H720 F25:1 C420jpeg\n"))
    assert y4m_settings(large, 2560, 1440).notes == ()


def test_a_turned_film_is_written_upright(tmp_path: Path) -> None:
    run_ffmpeg(
        [
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=32x16:duration=0.1",
            str(tmp_path / "a.mp4"),
        ],
        doing="making a test",
    )
    run_ffmpeg(
        [
            "-v",
            "error",
            "-y",
            "-display_rotation",
            "90",
            "-display_hflip",
            "-i",
            str(tmp_path / "a.mp4"),
            "-c",
            "copy",
            str(tmp_path / "b.mp4"),
        ],
        doing="turning",
    )
    source = probe(tmp_path / "b.mp4")
    out = io.BytesIO()
    writer = Y4mWriter(out, y4m_settings(source, 32, 16))
    with read_frames(source) as frames:
        frame = next(frames)
        writer.write(frame.rgb, frame.pts)
    assert out.getvalue().startswith(b"YUV4MPEG2 W16 H32 ")
