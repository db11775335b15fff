"""Options of ``upscale_video``: typed, paths as text, and every mistake an error of this tool."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from rvrt_cli.api import VideoOptions, _video_options, upscale_video
from rvrt_cli.errors import InputError, UsageError
from rvrt_cli.upscale.options import UpscaleOptions


def test_every_option_is_typed() -> None:
    names = {field.name for field in fields(UpscaleOptions)} - {"model"}
    assert set(VideoOptions.__annotations__) == names


def test_paths_may_be_text(tmp_path: Path) -> None:
    options = _video_options(None, {"work_dir": "work", "weights": "mine.pth"})
    assert (options.work_dir, options.weights) == (Path("work"), Path("mine.pth"))
    assert options.model == "mine.pth"  # not light-s, which the file need not hold
    assert _video_options("rvrt", {"weights": "mine.pth"}).model == "rvrt"
    with pytest.raises(InputError):
        upscale_video(tmp_path / "missing.mp4", tmp_path / "out.mp4", work_dir=str(tmp_path / "work"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": 8}, "no option 'windows'; did you mean window?"),
        ({"colour": "red"}, "no option 'colour'; choose among model, window"),
        ({"strength": "much"}, "wrong type"),
        ({"tile": 128}, "wrong type"),
        ({"threads": -1}, "--threads"),
    ],
)
def test_mistakes_are_usage_errors(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        upscale_video(tmp_path / "in.mp4", tmp_path / "out.mp4", **options)
    assert message in str(caught.value)
