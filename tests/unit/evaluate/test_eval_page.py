"""The page of an evaluation that was interrupted, and of more clips than are shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rvrt_cli.errors import InterruptedRun
from rvrt_cli.evaluate.eval_page import SHOWN_CLIPS
from rvrt_cli.evaluate.models import ModelSpec
from rvrt_cli.evaluate.protocols import find_protocol
from rvrt_cli.evaluate.run import EvalOptions, evaluate
from rvrt_cli.imaging.images import write_png


def options(folder: Path, clips: int, **changes: Any) -> EvalOptions:
    for clip in range(0 if (folder / "gt").exists() else clips):
        (folder / "gt" / f"c{clip:02}").mkdir(parents=True)
        for frame in range(2):
            noise = np.random.default_rng([clip, frame]).integers(0, 256, (32, 48, 3), dtype=np.uint8)
            write_png(folder / "gt" / f"c{clip:02}" / f"{frame}.png", noise)
    return EvalOptions(
        find_protocol("folder"), folder / "gt", (ModelSpec("bicubic", "bicubic"),),
        work_dir=folder / "work", page=folder / "page.html", **changes,
    )  # fmt: skip


def data_of(page: Path) -> Any:
    found = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
    assert found
    return json.loads(found[1])


def test_an_interrupted_run_goes_on_to_the_same_page(tmp_path: Path) -> None:
    evaluate(options(tmp_path, 3))
    whole = (tmp_path / "page.html").read_bytes()
    (tmp_path / "page.html").unlink()

    def interrupt(done: int, total: int, scores: object) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRun, match="Stopped after 2 of 3 clips"):
        evaluate(options(tmp_path, 3), interrupt)
    assert not (tmp_path / "page.html").exists()
    report = evaluate(options(tmp_path, 3))
    assert report.resumed_clips == 2
    assert (tmp_path / "page.html").read_bytes() == whole
    assert list((tmp_path / "work").iterdir()) == []


def test_of_many_clips_some_are_shown_and_all_are_measured(tmp_path: Path) -> None:
    clips = SHOWN_CLIPS + 5
    evaluate(options(tmp_path, clips))
    data = data_of(tmp_path / "page.html")
    assert len(data["places"]) == SHOWN_CLIPS
    assert len(data["x"]) == 2 * clips
    assert f"{SHOWN_CLIPS} of {clips} clips are shown" in (tmp_path / "page.html").read_text("utf-8")
