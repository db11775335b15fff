"""The training step itself: precisions, accumulation, recomputation, frozen flow, and both frameworks side by side."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rvrt_cli.train.checkpoint import load_checkpoint
from rvrt_cli.train.engine import LOSS_SCALE_GROWTH_STEPS, ema_decay, next_scale, starting_tensors

CASE = Path(__file__).with_name("engine_case.py")
LOG = logging.getLogger(__name__)
REPOSITORY = Path(__file__).resolve().parents[3]


def _run(*arguments: str | Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(
        [sys.executable, str(CASE), *map(str, arguments)], check=True, env=environment, capture_output=True
    )


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("torch")
    out = tmp_path_factory.mktemp("variants")
    _run("variants", out)
    return json.loads((out / "variants.json").read_text())


def test_accumulated_parts_make_the_step_of_the_whole(variants: dict[str, Any]) -> None:
    # Adam's first steps are about lr long whatever the gradient's size: rounding shows where a gradient is near zero.
    assert variants["fp32-2-False"]["off"] < 2e-5


def test_recomputation_changes_nothing(variants: dict[str, Any]) -> None:
    assert variants["fp32-1-True"]["off"] < 1e-6


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_follows_float32(variants: dict[str, Any], precision: str) -> None:
    mixed, plain = variants[f"{precision}-1-False"], variants["fp32-1-False"]
    assert all(mixed["finite"])
    assert mixed["loss"] == pytest.approx(plain["loss"], rel=5e-3)
    assert mixed["off"] > 0


def test_an_overflow_under_loss_scaling_is_skipped(variants: dict[str, Any]) -> None:
    overflow = variants["overflow"]
    assert overflow == {"finite": False, "scale": 2.0**119, "skipped": 1, "updates": 0, "unchanged": True}


def test_the_flow_network_is_frozen_first(variants: dict[str, Any]) -> None:
    assert variants["flow"] == [[False, True, 0], [True, True, 1]]


def test_the_plan_counts_the_operations_that_run(variants: dict[str, Any]) -> None:
    for counted, planned in variants["macs"]:
        assert planned == pytest.approx(counted, rel=0.1)


def test_the_loss_scale_halves_and_grows() -> None:
    assert next_scale(1024.0, 5, False) == (512.0, 0)
    assert next_scale(1.0, 5, False) == (1.0, 0)
    assert next_scale(1024.0, LOSS_SCALE_GROWTH_STEPS - 1, True) == (2048.0, 0)
    assert next_scale(1024.0, 5, True) == (1024.0, 6)


def test_the_moving_average_forgets_the_initial_weights_soon() -> None:
    left = 1.0
    for update in range(1, 301):
        left *= ema_decay(0.999, update)
    assert left < 1e-3
    assert ema_decay(0.999, 100_000) == 0.999


def test_weights_of_another_network_are_named() -> None:
    from rvrt_cli.errors import WeightsError
    from rvrt_cli.model.config import PRESETS

    shapes: dict[str, tuple[int, ...]] = {"a.weight": (2, 3)}
    for wrong in ({}, {"a.weight": np.zeros((3, 2), np.float32)}, {"b.weight": np.zeros((2, 3), np.float32)}):
        with pytest.raises(WeightsError, match="--model"):
            starting_tensors(shapes, PRESETS["light-s"], wrong, 0)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten steps of both frameworks, and five more of each from the other's checkpoint."""
    pytest.importorskip("torch")
    pytest.importorskip("mindspore")
    out = tmp_path_factory.mktemp("both")
    for backend in ("torch", "mindspore"):
        _run(backend, out)
    _run("torch", out, "mindspore.safetensors")
    _run("mindspore", out, "torch.safetensors")
    return out


def _largest_difference(a: Path, b: Path) -> float:
    first, second = load_checkpoint(a).state, load_checkpoint(b).state
    assert (first.updates, first.flow_updates, first.skipped) == (
        second.updates,
        second.flow_updates,
        second.skipped,
    )
    worst = {}
    for kind in ("weights", "ema", "adam_m", "adam_v"):
        mine, theirs = getattr(first, kind), getattr(second, kind)
        assert mine.keys() == theirs.keys()
        worst[kind] = max(float(np.abs(mine[name] - theirs[name]).max()) for name in mine)
    LOG.info(f"largest differences between {a.stem} and {b.stem}: {worst}")
    return max(worst.values())


def _relative_difference(kind: str, a: list[dict[str, Any]], b: list[dict[str, Any]]) -> float:
    """The largest over the steps; logged (``pytest --log-cli-level=INFO``)."""
    worst = max(abs(x[kind] - y[kind]) / abs(y[kind]) for x, y in zip(a, b, strict=True))
    LOG.info(f"largest relative difference of {kind} over {len(a)} steps: {worst:.2g}")
    return worst


@pytest.mark.slow
def test_both_frameworks_take_the_same_ten_steps(both: Path) -> None:
    steps = [json.loads((both / f"{backend}.json").read_text()) for backend in ("torch", "mindspore")]
    for kind in ("loss", "grad_norm"):
        assert _relative_difference(kind, *steps) < 1e-5
    assert [s["stop"] for s in steps[1]] == [False] * 9 + [True]
    # Weights have moved by up to 6e-3.
    assert _largest_difference(both / "torch.safetensors", both / "mindspore.safetensors") < 2e-5
    apart = np.abs(np.load(both / "torch.npy") - np.load(both / "mindspore.npy")).max()
    LOG.info(f"largest difference of the pictures they then make: {apart:.2g}")
    assert apart < 1e-5


@pytest.mark.slow
def test_a_checkpoint_of_one_framework_continues_on_the_other(both: Path) -> None:
    assert (
        _largest_difference(both / "torch-resumed.safetensors", both / "mindspore-resumed.safetensors") < 4e-5
    )


@pytest.mark.slow
def test_mindspore_scales_its_loss_in_mixed_precision(both: Path) -> None:
    _run("mindspore-mixed", both)
    mixed = json.loads((both / "mixed.json").read_text())
    plain = json.loads((both / "torch.json").read_text())
    assert [s["finite"] for s in mixed["steps"]] == [True] * 4 + [False]
    assert _relative_difference("loss", mixed["steps"][:4], plain[:4]) < 5e-3
    assert mixed["counters"] == {"scale": 2.0**119, "skipped": 1, "updates": 4}


def _guided(out: Path, backend: str) -> list[dict[str, Any]]:
    """The steps of a network with optical flow, after it is certain that a resumed run makes the same."""
    _run(f"{backend}-guided", out)
    result = json.loads((out / f"{backend}-guided.json").read_text())
    assert result["resumed_alike"]
    return result["steps"]


def test_resuming_across_the_thaw_of_the_flow_network_gives_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    _guided(tmp_path, "torch")


@pytest.mark.slow
def test_resuming_on_two_threads_gives_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    _run("torch-threads", tmp_path)
    assert json.loads((tmp_path / "threads.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_frameworks_train_the_flow_network_alike(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("mindspore")
    torch_steps, mindspore_steps = (_guided(tmp_path, backend) for backend in ("torch", "mindspore"))
    for kind in ("loss", "grad_norm"):
        assert _relative_difference(kind, torch_steps, mindspore_steps) < 1e-3
    paths = [tmp_path / f"{backend}-guided.safetensors" for backend in ("torch", "mindspore")]
    states = [load_checkpoint(path).state for path in paths]
    assert [state.flow_updates for state in states] == [2, 2]


def test_a_network_that_cannot_be_compiled_is_a_sentence() -> None:
    pytest.importorskip("torch")
    from torch._dynamo.exc import TorchDynamoException

    from rvrt_cli.errors import DeviceError
    from rvrt_cli.train.engine_torch import TorchEngine
    from rvrt_cli.train.recipe import Recipe

    engine = object.__new__(TorchEngine)
    engine._recipe = Recipe(compile=True)
    with (
        pytest.raises(DeviceError, match=r"failed \(no C\+\+ compiler\); leave --compile out"),
        engine._compiling(),
    ):
        raise TorchDynamoException("no C++ compiler\nmore")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_compiled_network_trains_like_the_plain_one(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    _run("torch-compiled", tmp_path)
    plain, compiled = json.loads((tmp_path / "compiled.json").read_text())
    LOG.info(f"losses, plain {plain} and compiled {compiled}")
    assert compiled == pytest.approx(plain, rel=1e-4)
