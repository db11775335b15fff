"""Reading from a key frame on gives the frames that reading from the start gives, or says that it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from upscale_clips import run_ffmpeg

from rvrt_cli.media import NotSeekable, probe, read_frames

FILMS = {
    "closed.mp4": ("-c:v", "libx264", "-g", "10", "-bf", "3"),
    "open.mkv": ("-c:v", "libx264", "-g", "10", "-bf", "3", "-x264-params", "open-gop=1"),
    "open-hevc.mkv": ("-c:v", "libx265", "-g", "10", "-x265-params", "log-level=none:open-gop=1:bframes=3"),
    "intra.mkv": ("-c:v", "ffv1",),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-g", "10", "-bf", "2", "-q:v", "3"),
    "edited.mp4": ("-c:v", "libx264", "-g", "10", "-bf", "3", "-ss", "0.3"),
    "uneven.mkv": ("-c:v", "libx264", "-g", "10", "-vf", "select='not(mod(n,3)*mod(n,5))'", "-fps_mode", "passthrough"),
    "interlaced.mkv": ("-c:v", "libx264", "-g", "10", "-flags", "+ildct+ilme", "-vf", "setfield=tff"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-g", "10", "-deadline", "realtime", "-cpu-used", "8"),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(FILMS))
def film(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("film") / request.param
    picture = "testsrc2=size=64x48:rate=25"
    run_ffmpeg(
        "-f", "lavfi", "-i", picture, "-frames:v", "45", "-pix_fmt", "yuv420p", *FILMS[request.param], path
    )
    return path


def test_frames_from_a_key_frame_are_those_from_the_start(film):
    source = probe(film)
    with read_frames(source) as reader:
        frames = list(reader)
    keys = [frame for frame in frames if frame.key_frame]
    assert frames[0].key_frame
    assert len(keys) > 1 or film.name == "vp9.webm"
    margin = 3  # the deinterlacer looks at the frames before
    for key in keys[-1:] + keys[1:2]:
        with read_frames(source, key_frame=(key.index, key.pts), skip_frames=key.index + margin) as reader:
            found = list(reader)
        wanted = frames[key.index + margin :]
        assert [(f.index, f.pts, f.duration) for f in found] == [(f.index, f.pts, f.duration) for f in wanted]
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one.rgb, other.rgb)
        assert not any("truncated" in note for note in reader.notes)


def test_a_time_without_a_key_frame_is_not_seekable(film):
    source = probe(film)
    with read_frames(source) as reader:
        frames = list(reader)
    others = [frame.pts for frame in frames if not frame.key_frame][:1]
    for pts in (*others, frames[-1].pts + 1000, frames[0].pts - 1000):
        with read_frames(source, key_frame=(5, pts)) as reader, pytest.raises(NotSeekable):
            list(reader)
