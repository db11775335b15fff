"""``--backend auto``: every reason for one framework or the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from doubles import TINY

from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.train import choice
from rvrt_cli.train.choice import choose_backend
from rvrt_cli.train.export import LAST_NAME, export_weights
from rvrt_cli.train.recipe import Recipe


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """What the machine has; a test changes it."""
    has = {"mindspore": True, "cuda": False, "ascend": False}
    monkeypatch.setattr(choice, "installed", lambda package: has[package])
    monkeypatch.setattr(choice, "torch_cuda", lambda: has["cuda"])
    monkeypatch.setattr(choice, "ascend_cards", lambda: has["ascend"])
    return has


def test_mindspore_is_taken_where_it_can_do_what_is_asked_for(machine: dict[str, bool]) -> None:
    for device in ("auto", "cpu", "gpu", "ascend"):
        assert choose_backend(device, Recipe(), None).backend == "mindspore"
    assert choose_backend("auto", Recipe(precision="fp16"), None).backend == "mindspore"


@pytest.mark.parametrize(
    ("device", "recipe", "has", "reason"),
    [
        ("auto", Recipe(), {"mindspore": False}, "not installed"),
        ("cpu", Recipe(precision="bf16"), {}, "fp32 and fp16"),
        ("cpu", Recipe(compile=True), {}, "--compile"),
        ("cuda", Recipe(), {}, "NVIDIA"),
        ("auto", Recipe(), {"cuda": True}, "NVIDIA"),
    ],
)
def test_torch_is_taken_otherwise_and_the_reason_is_given(
    machine: dict[str, bool], device: str, recipe: Recipe, has: dict[str, bool], reason: str
) -> None:
    machine.update(has)
    chosen = choose_backend(device, recipe, None)
    assert chosen.backend == "torch"
    assert reason in chosen.reason


def test_an_ascend_goes_before_a_card(machine: dict[str, bool]) -> None:
    machine.update(cuda=True, ascend=True)
    assert choose_backend("auto", Recipe(), None).backend == "mindspore"


def test_a_run_goes_on_in_its_own_framework(machine: dict[str, bool], tmp_path: Path) -> None:
    path = tmp_path / LAST_NAME
    assert choose_backend("auto", Recipe(), path).backend == "mindspore"  # nothing was exported yet
    weights = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(TINY).items()}
    for engine, backend in (
        ("PyTorch 2.13.0 on CPU, fp32", "torch"),
        ("MindSpore 2.8.0 on cpu", "mindspore"),
    ):
        export_weights(
            path, TINY, weights, Recipe(), model="light-s", step=1, seconds=1.0, metrics={}, data=[],
            initial="random", engine=engine, command="",
        )  # fmt: skip
        chosen = choose_backend("auto", Recipe(), path)
        assert chosen.backend == backend
        assert "this run began" in chosen.reason
