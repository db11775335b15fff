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

from rvrt_cli.errors import (
    DiskFullError,
    InputError,
    InterruptedRun,
    NonFiniteError,
    OutputError,
    WeightsError,
)
from rvrt_cli.model.config import PRESETS
from rvrt_cli.train import loop
from rvrt_cli.train.batches import BatchMaker, SourceSpec
from rvrt_cli.train.checkpoint import list_checkpoints, load_latest
from rvrt_cli.train.engine import RankInfo
from rvrt_cli.train.events import Saved, Skipped, Stepped, Validated
from rvrt_cli.train.lock import run_lock
from rvrt_cli.train.loop import run_training
from rvrt_cli.train.recipe import Recipe, Stage
from rvrt_cli.train.settings import RunSettings
from rvrt_cli.train.validate import ValidationClip, ValidationSpec
from rvrt_cli.weights import load_weights

RECIPE = Recipe(stages=(Stage(7, 1, 2, 16),), lr=1e-3, ema=0.0)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr(loop, "create_engine", lambda *_: fake)
    monkeypatch.setattr(loop, "open_sources", lambda *_: NoiseSource())
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
    monkeypatch.setattr(loop, "open_sources", lambda *_: NoiseSource())
    _run(_settings(tmp_path / "whole"))

    def stop(event: Any) -> None:
        if isinstance(event, Stepped) and event.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun, match=r"SIGTERM after step 4 of 7.*--resume auto"):
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

    with pytest.raises(InterruptedRun, match="SIGINT after step 1"):
        _run(_settings(tmp_path), on=stop)
    latest = load_latest(tmp_path / "checkpoints")
    assert latest is not None
    assert latest.step == 1


def test_the_time_limit_saves(tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(event: Any) -> None:
        if isinstance(event, Stepped) and event.step == 2:
            monkeypatch.setattr(loop.time, "monotonic", lambda now=loop.time.monotonic: now() + 100)

    with pytest.raises(InterruptedRun, match="time limit after step 2 of 7"):
        _run(_settings(tmp_path, time_limit_s=90), on=wait)
    assert [path.stem[-1] for path in list_checkpoints(tmp_path / "checkpoints")] == ["2"]


def test_a_stop_before_the_first_step_saves_nothing(tmp_path: Path, engine: FakeEngine) -> None:
    with pytest.raises(InterruptedRun, match="time limit before the first step"):
        _run(_settings(tmp_path, time_limit_s=1e-6))
    assert engine.calls == 0


def test_a_loss_that_is_not_finite_stops_and_names_step_batch_and_clips(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.not_finite_from = 4
    clip = BatchMaker(NoiseSource(), RECIPE).origins(4)[0]
    with pytest.raises(NonFiniteError, match=r"loss is nan at step 5 \(seed 0, batch 4: ") as raised:
        _run(_settings(tmp_path))
    assert clip in str(raised.value)
    assert "go on from step 3 with --resume auto" in str(raised.value)
    latest = load_latest(tmp_path / "checkpoints")
    assert latest is not None
    assert latest.step == 3


def test_without_a_checkpoint_it_does_not_say_to_resume(tmp_path: Path, engine: FakeEngine) -> None:
    engine.not_finite_from = 0
    with pytest.raises(NonFiniteError, match=r"at step 1 .*start again with a smaller --lr") as raised:
        _run(_settings(tmp_path))
    assert "--resume" not in str(raised.value)


def test_under_loss_scaling_it_is_skipped_and_counted(tmp_path: Path, engine: FakeEngine) -> None:
    engine.not_finite_from, engine.scale = 4, 65536.0
    events = _run(_settings(tmp_path), replace(RECIPE, precision="fp16"))
    assert [event for event in events if isinstance(event, Skipped)] == [Skipped(5, 1)]
    assert engine.updates == 6
    # Steps 5 and 6 share a row, whose mean is that of the step that counted.
    row = next(event.row for event in events if isinstance(event, Stepped) and event.step == 6)
    assert np.isfinite(row.loss)
    assert row.skipped == 1


def test_loss_scaling_gives_up_when_there_is_no_smaller_scale(tmp_path: Path, engine: FakeEngine) -> None:
    engine.not_finite_from, engine.not_finite_steps, engine.scale = 1, 100, 4.0
    with pytest.raises(NonFiniteError, match="at step 4 "):  # with scales of 4, 2 and 1
        _run(_settings(tmp_path), replace(RECIPE, precision="fp16"))
    assert load_weights(tmp_path / "last.safetensors").metadata["step"] == "3"


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


def test_a_damaged_file_ends_the_run_after_the_steps_so_far_are_saved(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = NoiseSource()
    monkeypatch.setattr(loop, "open_sources", lambda *_: source)

    def break_at_5(event: Any) -> None:
        source.broken = isinstance(event, Stepped) and event.step == 5

    with pytest.raises(InputError, match=r"noise.png is damaged"):
        _run(_settings(tmp_path), on=break_at_5)
    checkpoint = load_latest(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.step == 5


def test_validation_keeps_the_best_weights(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gt = np.full((2, 16, 16, 3), 100, np.uint8)
    clip = ValidationClip("flat", gt[:, ::4, ::4], gt, 40.0)
    monkeypatch.setattr(loop, "load_validation", lambda *_: [clip])
    quality = iter([5, 1, 9])  # how far the picture is off at each validation

    def predict(lq: np.ndarray) -> np.ndarray:
        return lq.repeat(4, 1).repeat(4, 2) + np.float32(next(quality) / 255)

    engine.predict = predict
    settings = _settings(tmp_path, val_interval=3, validation=(ValidationSpec("set", "nowhere"),))
    validated = [event for event in _run(settings) if isinstance(event, Validated)]
    assert [event.step for event in validated] == [3, 6, 7]
    assert [event.improved for event in validated] == [True, True, False]
    assert validated[-1].best == validated[1].results[0].psnr_y
    assert load_weights(tmp_path / "best.safetensors").metadata["step"] == "6"
    assert (tmp_path / "samples" / "00000006" / "set-flat.png").exists()
    with (tmp_path / "validation.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_rank_writes_files(
    rank: int, tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, tables, checkpoints and sample pictures; the others may run on machines with other disks."""
    gt = np.full((2, 16, 16, 3), 100, np.uint8)
    monkeypatch.setattr(
        loop, "load_validation", lambda *_: [ValidationClip("flat", gt[:, ::4, ::4], gt, 40.0)]
    )
    monkeypatch.setattr(loop, "check_rank_consistency", lambda *_: None)
    settings = _settings(tmp_path, val_interval=3, validation=(ValidationSpec("set", "nowhere"),))
    recipe = replace(RECIPE, stages=(Stage(7, 2, 2, 16),))
    run_training(settings, TINY, recipe, None, lambda _: None, RankInfo(rank, 2, rank))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert bool(written) == (rank == 0)


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
    assert "stages" in events[0].notes[0]
    assert [event.step for event in events if isinstance(event, Stepped)] == [8, 9]


def test_a_damaged_newest_checkpoint_is_set_aside_and_the_run_goes_on(
    tmp_path: Path, engine: FakeEngine
) -> None:
    _run(_settings(tmp_path, save_interval=2, keep=9), replace(RECIPE, stages=(Stage(4, 1, 2, 16),)))
    folder = tmp_path / "checkpoints"
    newest = folder / "checkpoint-00000004.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    started = _run(_settings(tmp_path, save_interval=1, keep=1, resume=True))[0]
    assert started.step == 2
    assert "checkpoint-00000004.safetensors is damaged" in started.notes[-1]
    assert [path.name for path in list_checkpoints(folder)] == ["checkpoint-00000007.safetensors"]
    assert (folder / "checkpoint-00000004.safetensors.damaged").exists()
    assert _run(_settings(tmp_path, resume=True, keep=1))[0].step == 7


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path: Path, engine: FakeEngine) -> None:
    with run_lock(tmp_path), pytest.raises(OutputError, match=f"process {os.getpid()}.*is writing into"):
        _run(_settings(tmp_path))
    _run(_settings(tmp_path))


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path, engine: FakeEngine) -> None:
    (tmp_path / "checkpoints").mkdir()
    leftover = tmp_path / "checkpoints" / ".checkpoint-00000003.0123abcd.part.safetensors"
    leftover.touch()
    _run(_settings(tmp_path))
    assert not leftover.exists()


def test_weights_that_a_killed_run_did_not_export_are_exported(tmp_path: Path, engine: FakeEngine) -> None:
    _run(_settings(tmp_path))
    (tmp_path / "last.safetensors").unlink()
    events = _run(_settings(tmp_path, resume=True))
    assert not [event for event in events if isinstance(event, Stepped)]
    assert load_weights(tmp_path / "last.safetensors").metadata["step"] == "7"


def test_a_resumed_run_remembers_where_its_weights_came_from(tmp_path: Path, engine: FakeEngine) -> None:
    _run(_settings(tmp_path, initial_label="other.safetensors"))
    longer = replace(RECIPE, stages=(Stage(9, 1, 2, 16),))
    changed = _settings(tmp_path, resume=True, sources=(SourceSpec("films", 2.0),))
    started = _run(changed, longer)[0]
    assert any("training data films (weight 2) instead of noise (weight 1)" in note for note in started.notes)
    metadata = load_weights(tmp_path / "last.safetensors").metadata
    assert metadata["initial"] == "other.safetensors"
    assert metadata["data"] == "films (weight 2)"


def test_a_best_of_other_validation_sets_counts_no_more(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gt = np.full((2, 16, 16, 3), 100, np.uint8)
    monkeypatch.setattr(
        loop, "load_validation", lambda *_: [ValidationClip("flat", gt[:, ::4, ::4], gt, 40.0)]
    )
    _run(_settings(tmp_path, validation=(ValidationSpec("easy", "nowhere"),)))
    assert _run(_settings(tmp_path, validation=(ValidationSpec("easy", "nowhere"),), resume=True))[0].best
    longer = replace(RECIPE, stages=(Stage(8, 1, 2, 16),))
    events = _run(_settings(tmp_path, validation=(ValidationSpec("hard", "nowhere"),), resume=True), longer)
    assert events[0].best is None
    assert any("the best so far counts no more" in note for note in events[0].notes)
    assert next(event for event in events if isinstance(event, Validated)).improved


def test_a_stop_breaks_off_a_validation_which_is_made_up_for(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gt = np.full((2, 16, 16, 3), 100, np.uint8)
    clip = ValidationClip("flat", gt[:, ::4, ::4], gt, 40.0)
    monkeypatch.setattr(loop, "load_validation", lambda *_: [clip, clip])
    predict = engine.predict

    def stop(lq: np.ndarray) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGTERM)
        return predict(lq)

    engine.predict = stop
    settings = _settings(tmp_path, val_interval=3, validation=(ValidationSpec("set", "nowhere"),))
    with pytest.raises(InterruptedRun, match="SIGTERM after step 3"):
        _run(settings)
    engine.predict = predict
    events = _run(replace(settings, resume=True))
    assert [event.step for event in events if isinstance(event, Validated)] == [3, 6, 7]
