"""Inputs that are wrong on purpose: one sentence, soon, and nothing else."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rvrt_cli.errors import InputError, OutOfMemoryError_, RvrtError
from rvrt_cli.media import (
    EncodeOptions,
    SegmentWriter,
    mux,
    plan_mux,
    probe,
    read_frames,
    resolve_encoding,
    run_ffmpeg,
)
from rvrt_cli.media.av_errors import translate_av_errors
from rvrt_cli.media.probe import _mp4_is_encrypted


def make(path: Path, *arguments: str) -> Path:
    run_ffmpeg(
        [
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=64x48:rate=25:duration=0.4",
            *arguments,
            f"file:{path}",
        ],
        doing="making a test file",
    )
    return path


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        probe(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value) or path.name in str(caught.value)


def test_files_that_are_not_there_or_not_files(tmp_path: Path) -> None:
    refused(tmp_path / "none.mp4", "does not exist")
    (tmp_path / "empty.mp4").write_bytes(b"")
    refused(tmp_path / "empty.mp4", "is empty")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
        refused(tmp_path / "pipe.mp4", "not a regular file")
    (tmp_path / "text.mp4").write_text("hello, I am not a film\n" * 100)
    refused(tmp_path / "text.mp4", "not a readable video")


@pytest.mark.parametrize(
    "content",
    [b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n", b"ffconcat version 1.0\nfile other.mp4\n", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5 RTP/AVP 96\n"],
)  # fmt: skip
def test_playlists_do_not_open_other_files(content: bytes, tmp_path: Path) -> None:
    make(tmp_path / "other.ts")
    make(tmp_path / "other.mp4")
    for name in ("list.mp4", "list.m3u8", "list.ffconcat", "list.sdp"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError):
            probe(tmp_path / name)


def test_odd_names_are_just_names(tmp_path: Path) -> None:
    for name in ("http:a b.mp4", "ünïcode ☃.mp4", "-dash.mp4", "a'b\"c.mp4", "concat:x|y.mkv"):
        path = make(tmp_path / name, "-f", "mp4" if name.endswith("mp4") else "matroska")
        with read_frames(probe(path)) as frames:
            assert len(list(frames)) == 10


def test_wrong_streams_are_named(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"no video in stream 5; its video streams are \[0\]"):
        probe(path, video_stream=5)
    assert probe(path, video_stream=0).video.index == 0


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_end_in_frames_or_in_one_sentence(
    data, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Flipped bytes, cut ends, swapped blocks: never anything but frames of one size or an RvrtError."""
    folder = tmp_path_factory.getbasetemp() / "damage"
    folder.mkdir(exist_ok=True)
    suffix = data.draw(st.sampled_from(["mp4", "mkv", "webm", "ts"]))
    clean = folder / f"clean.{suffix}"
    if not clean.exists():
        make(clean, "-g", "4", *(["-c:v", "libvpx-vp9", "-cpu-used", "8"] if suffix == "webm" else []))
    content = bytearray(clean.read_bytes())
    for _ in range(data.draw(st.integers(1, 12))):
        start = data.draw(st.integers(0, len(content) - 1))
        content[start : start + data.draw(st.integers(1, 40))] = data.draw(st.binary(min_size=1, max_size=40))
    content = content[: data.draw(st.integers(len(content) // 4, len(content)))]
    path = folder / f"damaged.{suffix}"
    path.write_bytes(bytes(content))
    said = ""
    try:
        source = probe(path)
        with read_frames(source, max_frames=40) as frames:
            last = None
            for frame in frames:
                assert frame.rgb.shape == (source.video.height, source.video.width, 3)
                assert np.isfinite(frame.rgb).all()
                assert last is None or frame.pts > last
                last = frame.pts
    except RvrtError as error:
        said = str(error)
    assert "\n" not in said


def test_encryption_is_found_wherever_the_header_is(tmp_path: Path) -> None:
    path = tmp_path / "e.mp4"

    def box(kind: bytes, payload: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(payload), kind) + payload

    path.write_bytes(
        box(b"ftyp", b"isom")
        + struct.pack(">I4sQ", 1, b"mdat", 16 + 4)
        + b"data"
        + box(b"moov", b"...encv...")
    )
    assert _mp4_is_encrypted(path)
    path.write_bytes(box(b"ftyp", b"isom") + box(b"moov", b"...avc1..."))
    assert not _mp4_is_encrypted(path)
    path.write_bytes(box(b"ftyp", b"isom") + struct.pack(">I4s", 0, b"mdat") + b"encv")
    assert not _mp4_is_encrypted(path)
    path.write_bytes(struct.pack(">I4s", 1, b"mdat"))
    assert not _mp4_is_encrypted(path)


def test_library_errors_become_sentences(tmp_path: Path) -> None:
    for raised, expected, words in [
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), InputError, "not a readable video"),
        (ValueError("31 is not a valid Type"), InputError, "not a readable video"),
        (MemoryError(), OutOfMemoryError_, "Memory ran out"),
        (av.error.PermissionError(errno.EACCES, "Permission denied"), InputError, "check its permissions"),
        (InputError("as it is"), InputError, "as it is"),
    ]:
        with pytest.raises(expected, match=words), translate_av_errors(Path("x.mp4")):
            raise raised


def test_missing_and_repeated_timestamps_are_repaired_and_counted(tmp_path: Path) -> None:
    """AVI with B-frames has no presentation times, a raw stream has none at all."""
    for name, arguments in (
        ("a.avi", ["-c:v", "mpeg4", "-bf", "2"]),
        ("a.h264", ["-c:v", "libx264", "-bf", "2", "-f", "h264"]),
    ):
        source = probe(make(tmp_path / name, *arguments))
        with read_frames(source) as frames:
            pts = [f.pts for f in frames]
        assert len(pts) == 10
        assert pts == sorted(set(pts))
        target = tmp_path / f"{name}.mp4"
        options = resolve_encoding(source, EncodeOptions(), target, 64, 48)
        with read_frames(source) as frames, SegmentWriter(tmp_path / "s.mkv", options) as writer:
            for frame in frames:
                writer.write(frame.rgb, frame.pts, frame.duration)
            writer.close()
        mux(source, [tmp_path / "s.mkv"], target, options, plan_mux(source, options))
        assert probe(target).video.frame_count_hint == 10


def test_reading_needs_bounded_memory(tmp_path: Path) -> None:
    """A hundred times more frames take no more memory: frames are delivered one by one and let go."""
    import psutil

    path = make(tmp_path / "a.mkv")
    run_ffmpeg(
        [
            "-v",
            "error",
            "-y",
            "-stream_loop",
            "99",
            "-i",
            str(path),
            "-c",
            "copy",
            str(tmp_path / "long.mkv"),
        ],
        doing="repeating",
    )
    source = probe(tmp_path / "long.mkv")
    process = psutil.Process()
    early = late = 0
    with read_frames(source) as frames:
        for frame in frames:
            if frame.index == 100:
                early = process.memory_info().rss
            late = frame.index
    assert late >= 900
    assert process.memory_info().rss < early + 40 * 2**20
