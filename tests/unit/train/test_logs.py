"""Logs go on without a seam after a run was killed."""

from __future__ import annotations

import csv
import errno
from pathlib import Path
from typing import Any

import pytest

from rvrt_cli.errors import DiskFullError
from rvrt_cli.train.logs import CsvLog, StepRow, TensorBoardLog, ValidationRow


def _row(step: int) -> StepRow:
    return StepRow(step, 1.0 / step, 1e-3, 1.0, 2.0, 3.0, 0.0, 100.0, 0)


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = CsvLog(path, StepRow, 0)
    for step in (2, 4, 6):
        log.write(_row(step))
    with path.open("a") as file:
        file.write("8,0.1")  # cut off
    CsvLog(path, StepRow, 4).write(_row(6))
    with path.open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4", "6"]


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CsvLog(tmp_path / "log.csv", StepRow, 0)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DiskFullError, match=r"log\.csv"):
        log.write(_row(2))


def test_events_of_a_start_that_saved_nothing_are_hidden(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in ((1, 2, 3), (1, 2)):  # the first was killed before its first checkpoint
        board = TensorBoardLog(tmp_path, 0)
        for step in steps:
            board.write(_row(step))
        board.write(ValidationRow(steps[-1], "davis", 30.0, 29.0, 30.0))
        board.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2]
    assert [event.step for event in events.Scalars("validation/davis/psnr_y")] == [2]
