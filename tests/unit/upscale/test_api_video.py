"""Options of ``upscale_video``: typed, paths as text, and every mistake an error of this tool."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from rvrt_cli.api import VideoOptions, _video_options, upscale_video
from rvrt_cli.errors import InputError, UsageError
from rvrt_cli.upscale.options import UpscaleOptions


def alternatives(hint: object) -> set[object]:
    return set(get_args(hint)) if type(None) in get_args(hint) else {hint}


def test_options_have_the_types_of_upscale_options() -> None:
    """A type checker reads no generated types, so VideoOptions spells them again; here they may not drift apart."""
    expected = {name: alternatives(hint) for name, hint in get_type_hints(UpscaleOptions).items()}
    del expected["model"]
    for kinds in expected.values():
        if Path in kinds:
            kinds.add(str)
    assert {name: alternatives(hint) for name, hint in get_type_hints(VideoOptions).items()} == expected


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
