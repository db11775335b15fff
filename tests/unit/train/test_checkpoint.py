"""Checkpoints: all state survives, damage and a full disk cost nothing but the newest."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from rvrt_cli.errors import DiskFullError, WeightsError
from rvrt_cli.model.config import PRESETS
from rvrt_cli.train import checkpoint
from rvrt_cli.train.checkpoint import (
    Checkpoint,
    EngineState,
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    load_latest,
    newer_checkpoints,
    prune_checkpoints,
    rename_damaged,
    save_checkpoint,
)
from rvrt_cli.train.recipe import Recipe, Stage


def _checkpoint(step: int) -> Checkpoint:
    rng = np.random.default_rng(step)

    def tensors() -> dict[str, np.ndarray]:
        return {
            "shallow.conv.weight": rng.standard_normal((3, 4)).astype(np.float32),
            "a.bias": np.zeros(0, np.float32),
        }

    state = EngineState(tensors(), tensors(), tensors(), tensors(), 7, 3, 512.0, 11, 2)
    recipe = Recipe(stages=(Stage(9, 2, 4, 64),), lr=3e-4)
    return Checkpoint(
        step, PRESETS["light-s"], recipe, state, {"best": 31.5, "metrics": {"davis": {"psnr_y": 31.5}}}
    )


def test_everything_survives(tmp_path: Path) -> None:
    saved = _checkpoint(5)
    path = checkpoint_path(tmp_path, 5)
    save_checkpoint(path, saved)
    loaded = load_checkpoint(path)
    assert (loaded.step, loaded.config, loaded.recipe, loaded.record) == (
        5,
        saved.config,
        saved.recipe,
        saved.record,
    )
    for kind in ("weights", "ema", "adam_m", "adam_v"):
        mine, theirs = getattr(saved.state, kind), getattr(loaded.state, kind)
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    for counter in ("updates", "flow_updates", "scale", "scale_age", "skipped"):
        assert getattr(saved.state, counter) == getattr(loaded.state, counter)


def test_a_damaged_newest_checkpoint_costs_only_itself(tmp_path: Path) -> None:
    for step in (5, 10):
        save_checkpoint(checkpoint_path(tmp_path, step), _checkpoint(step))
    newest = checkpoint_path(tmp_path, 10)
    newest.write_bytes(newest.read_bytes()[:100])
    latest = load_latest(tmp_path)
    assert latest is not None
    assert latest.step == 5
    assert newer_checkpoints(tmp_path, 5) == [newest]
    assert rename_damaged(newest).exists()
    assert newer_checkpoints(tmp_path, 5) == []
    checkpoint_path(tmp_path, 5).write_bytes(b"")
    with pytest.raises(WeightsError, match="is damaged"):
        load_latest(tmp_path)


def test_a_checkpoint_of_another_version_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(checkpoint_path(tmp_path, 5), _checkpoint(5))
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    save_checkpoint(checkpoint_path(tmp_path, 10), _checkpoint(10))
    monkeypatch.undo()
    with pytest.raises(WeightsError, match="another version"):  # and not step 5 in its stead
        load_latest(tmp_path)


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert load_latest(tmp_path) is None


def test_weights_alone_are_no_checkpoint(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = checkpoint_path(tmp_path, 1)
    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(WeightsError, match="--init"):
        load_checkpoint(path)


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(checkpoint_path(tmp_path, 5), _checkpoint(5))
    before = sorted(tmp_path.iterdir())

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError, match="disk is full"):
        save_checkpoint(checkpoint_path(tmp_path, 10), _checkpoint(10))
    assert sorted(tmp_path.iterdir()) == before
    latest = load_latest(tmp_path)
    assert latest is not None
    assert latest.step == 5


def test_only_the_newest_stay(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save_checkpoint(checkpoint_path(tmp_path, step), _checkpoint(step))
    prune_checkpoints(tmp_path, 2, 10)
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "checkpoint-00000003.safetensors", "checkpoint-00000010.safetensors",
    ]  # fmt: skip


def test_what_was_just_written_is_never_removed(tmp_path: Path) -> None:
    for step in (2, 3, 4):
        save_checkpoint(checkpoint_path(tmp_path, step), _checkpoint(step))
    prune_checkpoints(tmp_path, 1, 3)
    assert list_checkpoints(tmp_path) == [checkpoint_path(tmp_path, 3)]
