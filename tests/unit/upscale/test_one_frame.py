"""Memory that runs out in ``--frame`` and ``--estimate``: smaller tiles are tried there too."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from upscale_clips import make_clip

from rvrt_cli.errors import NonFiniteError, OutOfMemoryError_
from rvrt_cli.inference.restorer import BicubicRestorer
from rvrt_cli.upscale.estimate import estimate_run
from rvrt_cli.upscale.events import Event, MemoryReduced
from rvrt_cli.upscale.one_frame import upscale_frame
from rvrt_cli.upscale.options import UpscaleOptions


class Small(BicubicRestorer):
    """Bicubic on a machine that has memory for ``most`` pixels of a picture."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        if lq.shape[1] * lq.shape[2] > self.most:
            raise OutOfMemoryError_("too little memory.")
        return super().__call__(lq)


class Broken(BicubicRestorer):
    def __call__(self, lq: np.ndarray) -> np.ndarray:
        return super().__call__(lq) * np.float32("nan")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "in.mp4", 24, "96x64")


def test_a_frame_is_made_with_what_memory_there_is(clip, tmp_path):
    events: list[Event] = []
    upscale_frame(clip, tmp_path / "a.png", 0.5, UpscaleOptions(), BicubicRestorer())
    report = upscale_frame(
        clip, tmp_path / "b.png", 0.5, UpscaleOptions(), Small(48 * 48), on_event=events.append
    )
    assert report.tiles == "48 px tiles, 16 px overlap"
    assert any(isinstance(event, MemoryReduced) for event in events)
    a, b = (cv2.imread(str(tmp_path / f"{name}.png")).astype(int) for name in "ab")
    assert np.abs(a - b).max() <= 1


def test_a_frame_of_nan_is_refused(clip, tmp_path):
    for tile in ("auto", "48"):
        with pytest.raises(NonFiniteError):
            upscale_frame(clip, tmp_path / "a.png", 0.5, UpscaleOptions(tile=tile), Broken())
    assert list(tmp_path.iterdir()) == []


def test_an_estimate_measures_what_memory_allows(clip):
    estimate = estimate_run(str(clip), None, UpscaleOptions(), Small(32 * 32))
    assert (estimate.window, estimate.tiles) == (24, "32 px tiles, 16 px overlap")
    with pytest.raises(OutOfMemoryError_, match="memory ran out even with"):
        estimate_run(str(clip), None, UpscaleOptions(), Small(8))


def test_a_frame_is_made_from_a_few_frames(clip, tmp_path):
    class Counting(BicubicRestorer):
        computed = 0

        def __call__(self, lq: np.ndarray) -> np.ndarray:
            self.computed += len(lq)
            return super().__call__(lq)

    counting = Counting()
    upscale_frame(clip, tmp_path / "a.png", 0.5, UpscaleOptions(), counting)
    assert counting.computed <= 10
