"""The weights of the scale that costs least for the size asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from upscale_clips import make_clip

from rvrt_cli.media import VideoStream
from rvrt_cli.media.probe import probe
from rvrt_cli.upscale import choose_model
from rvrt_cli.upscale.choose_model import for_size
from rvrt_cli.upscale.options import UpscaleOptions


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoStream:
    """48×32 pixels."""
    video = probe(make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 2)).video
    assert video is not None
    return video


@pytest.fixture(autouse=True)
def x2_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_model, "shipped", lambda: {"light-s-x2": Path("light-s-x2.safetensors")})


@pytest.mark.parametrize(
    ("size", "model"),
    [
        ({}, "light-s"),
        ({"scale": 2}, "light-s-x2"),
        ({"scale": 3}, "light-s"),
        ({"scale": 4}, "light-s"),
        ({"scale": 1, "deblur": True}, "light-s"),
        ({"height": 64}, "light-s-x2"),
        ({"height": 65}, "light-s"),
        ({"width": 96}, "light-s-x2"),
        ({"width": 40, "height": 66}, "light-s"),
        ({"width": 40, "height": 20}, "light-s-x2"),
        ({"scale": 2, "model": "light-s-real"}, "light-s-real"),
        ({"scale": 2, "model": "bicubic"}, "bicubic"),
        ({"scale": 2, "weights": Path("own.safetensors")}, "light-s"),
    ],
)
def test_the_smallest_scale_that_reaches_the_size(video: VideoStream, size: dict, model: str) -> None:
    options = UpscaleOptions(**size)
    assert for_size(options, video) == replace(options, model=model)


def test_sizes_mean_the_picture_as_it_is_shown(video: VideoStream) -> None:
    turned = replace(video, rotation=90)
    assert for_size(UpscaleOptions(height=96), turned).model == "light-s-x2"
    assert for_size(UpscaleOptions(width=96), turned).model == "light-s"


def test_without_the_native_weights_the_others_stay(
    video: VideoStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose_model, "shipped", dict)
    assert for_size(UpscaleOptions(scale=2), video).model == "light-s"
