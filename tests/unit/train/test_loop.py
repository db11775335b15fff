"""The loop with a stand-in for the framework: saving, resuming, stopping, and what goes wrong."""

from __future__ import annotations

import csv
import errno
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles import TINY, FakeEngine, NoiseSource

from rvrt_cli.errors import DiskFullError, InterruptedRun, NonFiniteError, OutputError, WeightsError
from rvrt_cli.model.config import PRESETS
from rvrt_cli.train import loop
from rvrt_cli.train.batches import SourceSpec
from rvrt_cli.train.checkpoint import list_checkpoints, load_latest
from rvrt_cli.train.loop import RunSettings, Saved, Skipped, Stepped, Validated, run_training
from rvrt_cli.train.recipe import Recipe, Stage
from rvrt_cli.train.validate import ValidationClip
from rvrt_cli.weights import load_weights

RECIPE = Recipe(stages=(Stage(7, 1, 2, 16),), lr=1e-3, ema=0.0)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr(loop, "create_engine", lambda *_: fake)
    monkeypatch.setattr(loop, "open_sources", lambda _: NoiseSource())
    return fake


def _settings(out: Path, **changes: Any) -> RunSettings:
    base = RunSettings(
        out, "light-s", (SourceSpec("noise"),), workers=0, save_interval=3, log_interval=2, keep=2
    )
    return replace(base, **changes)


def _run(settings: RunSettings, recipe: Recipe = RECIPE, on: Any = None) -> list[Any]:
    events: list[Any] = []

    def report(event: Any) -> None:
        events.append(event)
        if on is not None:
            on(event)

    run_training(settings, TINY, recipe, None, report)
    return events


def test_a_run_leaves_checkpoints_weights_and_a_log(tmp_path: Path, engine: FakeEngine) -> None:
    events = _run(_settings(tmp_path, command="rvrt train"))
    assert [event.step for event in events if isinstance(event, Stepped)] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.path.stem[-1] for event in events if isinstance(event, Saved)] == ["3", "6", "7"]
    assert len(list_checkpoints(tmp_path / "checkpoints")) == 2
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6", "7"]
    weights = load_weights(tmp_path / "last.safetensors")
    assert weights.config == TINY
    assert weights.metadata["step"] == "7"
    assert weights.metadata["command"] == "rvrt train"
    assert Recipe.from_json(weights.metadata["recipe"]) == RECIPE
    assert engine.closed


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "create_engine", lambda *_: FakeEngine())
    monkeypatch.setattr(loop, "open_sources", lambda _: NoiseSource())
    _run(_settings(tmp_path / "whole"))

    def stop(event: Any) -> None:
        if isinstance(event, Stepped) and event.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun, match=r"SIGTERM after step 5 of 7.*--resume auto"):
        _run(_settings(tmp_path / "parts"), on=stop)
    _run(_settings(tmp_path / "parts", resume=True))
    whole, parts = (load_latest(tmp_path / name / "checkpoints") for name in ("whole", "parts"))
    assert whole is not None
    assert parts is not None
    assert all(
        np.array_equal(whole.state.weights[name], parts.state.weights[name]) for name in whole.state.weights
    )
    assert parts.state.updates == 7
    with (tmp_path / "parts" / "log.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps))


def test_ctrl_c_saves(tmp_path: Path, engine: FakeEngine) -> None:
    def stop(event: Any) -> None:
        if isinstance(event, Stepped) and event.step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRun, match="SIGINT after step 2"):
        _run(_settings(tmp_path), on=stop)
    latest = load_latest(tmp_path / "checkpoints")
    assert latest is not None
    assert latest.step == 2


def test_the_time_limit_saves(tmp_path: Path, engine: FakeEngine) -> None:
    with pytest.raises(InterruptedRun, match="time limit after step 1 of 7"):
        _run(_settings(tmp_path, time_limit_s=1e-6))
    assert len(list_checkpoints(tmp_path / "checkpoints")) == 1


def test_a_loss_that_is_not_finite_stops_and_names_step_and_batch(tmp_path: Path, engine: FakeEngine) -> None:
    engine.not_finite_at = 4
    with pytest.raises(NonFiniteError, match=r"loss is nan at step 5 \(seed 0, batch 4"):
        _run(_settings(tmp_path))
    latest = load_latest(tmp_path / "checkpoints")
    assert latest is not None
    assert latest.step == 3


def test_under_loss_scaling_it_is_skipped_and_counted(tmp_path: Path, engine: FakeEngine) -> None:
    engine.not_finite_at = 4
    events = _run(_settings(tmp_path), replace(RECIPE, precision="fp16"))
    assert [event for event in events if isinstance(event, Skipped)] == [Skipped(5, 1)]
    assert engine.updates == 6


def test_a_full_disk_ends_the_run_and_keeps_the_last_checkpoint(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if "checkpoint-00000006" in self.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError, match="checkpoint-00000006"):
        _run(_settings(tmp_path))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-00000003.safetensors"]


def test_validation_keeps_the_best_weights(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gt = np.full((2, 16, 16, 3), 100, np.uint8)
    clip = ValidationClip("flat", gt[:, ::4, ::4], gt, 40.0)
    monkeypatch.setattr(loop, "load_validation", lambda *_: [clip])
    quality = iter([5, 1, 9])  # how far the picture is off at each validation

    def predict(lq: np.ndarray) -> np.ndarray:
        return lq.repeat(4, 1).repeat(4, 2) + np.float32(next(quality) / 255)

    engine.predict = predict  # type: ignore[method-assign]
    settings = _settings(tmp_path, val_interval=3, validation=(loop.ValidationSpec("set", "nowhere"),))
    validated = [event for event in _run(settings) if isinstance(event, Validated)]
    assert [event.step for event in validated] == [3, 6, 7]
    assert [event.improved for event in validated] == [True, True, False]
    assert validated[-1].best == validated[1].results[0].psnr_y
    assert load_weights(tmp_path / "best.safetensors").metadata["step"] == "6"
    assert (tmp_path / "samples" / "00000006" / "set-flat.png").exists()
    with (tmp_path / "validation.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path, engine: FakeEngine) -> None:
    _run(_settings(tmp_path))
    with pytest.raises(OutputError, match="--resume auto"):
        _run(_settings(tmp_path))


def test_checkpoints_of_another_network_are_refused(tmp_path: Path, engine: FakeEngine) -> None:
    _run(_settings(tmp_path))
    with pytest.raises(WeightsError, match="another architecture"):
        run_training(_settings(tmp_path, resume=True), PRESETS["light-s"], RECIPE, None, lambda _: None)


def test_fewer_steps_than_made_are_refused(tmp_path: Path, engine: FakeEngine) -> None:
    _run(_settings(tmp_path))
    with pytest.raises(OutputError, match="already made 7 steps"):
        _run(_settings(tmp_path, resume=True), replace(RECIPE, stages=(Stage(5, 1, 2, 16),)))


def test_a_finished_run_can_be_prolonged(tmp_path: Path, engine: FakeEngine) -> None:
    _run(_settings(tmp_path))
    events = _run(_settings(tmp_path, resume=True), replace(RECIPE, stages=(Stage(9, 1, 2, 16),)))
    assert events[0].step == 7
    assert "stages" in events[0].differences[0]
    assert [event.step for event in events if isinstance(event, Stepped)] == [8, 9]
