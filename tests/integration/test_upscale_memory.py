"""Memory is bounded by window and tile, never by the length of the film."""

from __future__ import annotations

import json

import pytest
from upscale_clips import make_clip, upscale


def peak_mib(clip, output) -> float:
    done = upscale(clip, output, "--model", "bicubic", "--window", "8", "--json", "--overwrite")
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])["peak_rss_mib"]


@pytest.mark.slow
def test_peak_memory_of_2000_frames_is_that_of_200(tmp_path):
    short = make_clip(tmp_path / "short.mp4", 200, "96x64")
    long = make_clip(tmp_path / "long.mp4", 2000, "96x64")
    output = tmp_path / "out.mp4"
    peak_short = max(peak_mib(short, output) for _ in range(2))
    peak_long = peak_mib(long, output)
    assert peak_long <= 1.05 * peak_short
