"""Colours that an encoder cannot state: converted or renamed before the run, and shown as the source's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from media_helpers import Passed

from rvrt_cli.media import EncodeOptions, probe, read_frames, run_ffmpeg

FILM = ["-v", "error", "-f", "lavfi", "-i", "smptehdbars=size=48x32:rate=25:duration=0.2"]


@pytest.mark.parametrize(
    ("codec", "output", "tags"),
    [
        ("prores", "o.mov", None),
        ("prores", "o.mkv", None),
        ("vp9", "o.webm", "colorspace=fcc:range=tv"),
        ("vp9", "o.mp4", "colorspace=bt2020c:range=tv"),
        ("h264", "o.mp4", "color_primaries=ebu3213:colorspace=bt709:range=tv"),
        ("h265", "o.mkv", "color_primaries=ebu3213:colorspace=bt709:range=tv"),
    ],
)
def test_the_colours_stay(
    codec: str, output: str, tags: str | None, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    path = tmp_path / "in.mkv"
    graph = "format=yuvj444p" if tags is None else f"format=yuv444p,setparams={tags}"
    coding = ["-c:v", "ffv1"] if tags else ["-c:v", "mjpeg", "-q:v", "1"]  # Motion JPEG has the full range
    run_ffmpeg([*FILM, "-vf", graph, *coding, str(path)], doing="making a film")
    done = run_through(path, output, factor=2, options=EncodeOptions(codec=codec))
    assert done.settings.color != done.source.video.effective_color
    assert any(f"{done.settings.encoder} " in note for note in done.settings.notes)
    with read_frames(done.source) as before, read_frames(probe(done.output)) as after:
        for one, other in zip(before, after, strict=True):
            # Within the bars; the codecs blur their edges.
            errors = np.abs(np.clip(other.rgb[::2, ::2], 0, 1) - np.clip(one.rgb, 0, 1))
            assert np.median(errors) < 0.01
            assert errors.mean() < 0.03
