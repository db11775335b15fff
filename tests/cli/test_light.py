"""``--light``: the full width where it is on this machine, otherwise the small model, and the user is told which."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner
from upscale_clips import make_clip

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "weights"))

import weight_writers as w

from rvrt_cli import api
from rvrt_cli.cli.app import app
from rvrt_cli.cli.options import choose_model
from rvrt_cli.errors import UsageError, WeightsError
from rvrt_cli.inference.restorer import BicubicRestorer
from rvrt_cli.model.config import PRESETS
from rvrt_cli.weights import fetch, find, light_model, published
from rvrt_cli.weights.names import MINDSPORE


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and no full width among the shipped files."""
    monkeypatch.setenv("RVRT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(find, "shipped", lambda: {"light-s": tmp_path / "light-s.safetensors"})
    monkeypatch.setitem(PRESETS, "light", w.small("light", MINDSPORE))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def fetched(cache: Path, tmp_path: Path) -> Path:
    """The full width (narrowed) in the cache."""
    source = w.write(tmp_path / "mine.ckpt", w.ckpt(w.random_tensors(PRESETS["light"], MINDSPORE)))
    return fetch(published("light"), source=source).path


def test_small_unless_the_full_width_is_here(tmp_path: Path) -> None:
    assert light_model() == api.light_model() == "light-s"
    words = choose_model(True, None, None).statement
    assert (
        words
        == "Model: light-s (small; the full-width light is not on this machine, `rvrt weights fetch light` gets it)"
    )


def test_the_full_width_from_the_cache(fetched: Path) -> None:
    assert light_model() == "light"
    choice = choose_model(True, None, None)
    assert choice.name == "light"
    assert choice.statement is not None
    assert "full width" in choice.statement


def test_the_full_width_among_the_shipped_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(find, "shipped", lambda: {"light": tmp_path, "light-s": tmp_path})
    assert light_model() == "light"


def test_a_damaged_full_width_is_not_passed_over(fetched: Path) -> None:
    fetched.write_bytes(fetched.read_bytes()[:-1])
    with pytest.raises(WeightsError):
        light_model()


def test_without_light_the_small_one(fetched: Path) -> None:
    assert choose_model(False, None, None) == choose_model(False, "light-s", None)
    assert choose_model(True, "light-s", None).name == "light-s"
    with pytest.raises(UsageError, match="contradict"):
        choose_model(True, "rvrt", None)


def test_a_file_says_itself_what_it_holds(fetched: Path, tmp_path: Path) -> None:
    assert choose_model(False, None, Path("x.pth")).name == "x.pth"
    assert choose_model(True, None, fetched) == choose_model(False, None, fetched)
    assert choose_model(False, "rvrt", fetched).name == "rvrt"  # refused when it is loaded
    other = w.write(tmp_path / "rvrt.ckpt", w.ckpt(w.random_tensors(w.small("rvrt", MINDSPORE), MINDSPORE)))
    with pytest.raises(UsageError, match="holds rvrt, not an RVRT Light"):
        choose_model(True, None, other)


def test_upscale_and_eval_take_and_name_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both commands ask for the model that ``--light`` settled on; here bicubic stands in for it."""
    asked = []

    def load(model: str = "", *_: object, **__: object) -> BicubicRestorer:
        asked.append(model)
        return BicubicRestorer()

    import rvrt_cli.evaluate.models
    import rvrt_cli.upscale.sequential

    monkeypatch.setattr(rvrt_cli.upscale.sequential, "load_restorer", load)
    monkeypatch.setattr(rvrt_cli.evaluate.models, "load_restorer", load)
    clip = make_clip(tmp_path / "in.mp4", 4, "32x32")
    done = CliRunner().invoke(app, ["upscale", str(clip), str(tmp_path / "out.mp4"), "--light"])
    assert done.exception is None
    assert "Model: light-s (small;" in done.stderr

    import cv2

    (tmp_path / "gt" / "a").mkdir(parents=True)
    for number in range(2):
        cv2.imwrite(str(tmp_path / "gt" / "a" / f"{number}.png"), np.full((64, 64, 3), 50 * number, np.uint8))
    done = CliRunner().invoke(
        app, ["eval", "--gt", str(tmp_path / "gt"), "--light", "--work-dir", str(tmp_path / "work")]
    )
    assert done.exception is None, done.exception
    assert "Model: light-s (small;" in done.stderr
    assert asked == ["light-s", "light-s"]
