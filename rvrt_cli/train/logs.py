"""Logs of a run: CSV files, and TensorBoard where it is installed. A resumed run continues them without a seam."""

from __future__ import annotations

import csv
import importlib
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rvrt_cli.errors import DeviceError
from rvrt_cli.system.files import translate_write_errors, write_bytes


@dataclass(frozen=True)
class StepRow:
    """Means over the steps since the last row."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    step_s: float
    """Wall-clock seconds per step, data and logging included."""
    samples_per_s: float
    data_wait: float
    """Share of the time spent waiting for data."""
    memory_mib: float
    skipped: int
    """Steps skipped so far because of a non-finite gradient (fp16)."""


@dataclass(frozen=True)
class ValidationRow:
    """One validation set at one step, Y-PSNR in dB."""

    step: int
    name: str
    psnr_y: float
    bicubic: float
    best: float
    """Best mean over all sets so far, this one included."""


class CsvLog:
    """One CSV file; rows after ``step`` are dropped first, so that a resumed run does not repeat them."""

    def __init__(self, path: Path, row_type: type, step: int) -> None:
        self._path = path
        names = [field.name for field in fields(row_type)]
        kept: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.DictReader(file) if _step_of(row) <= step]
        text = io.StringIO()
        writer = csv.DictWriter(text, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
        write_bytes(path, text.getvalue().encode())
        self._names = names

    def write(self, row: Any) -> None:
        """Append one row.

        Errors: :class:`rvrt_cli.errors.DiskFullError`, :class:`rvrt_cli.errors.OutputError`.
        """
        with translate_write_errors(self._path), self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._names).writerow(
                {name: _cell(value) for name, value in asdict(row).items()}
            )


def _step_of(row: dict[str, str]) -> int:
    """The step of a stored row; a line cut off by a crash counts as later than any."""
    try:
        return int(row["step"])
    except (KeyError, TypeError, ValueError):
        return 1 << 62


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


class TensorBoardLog:
    """Scalars for TensorBoard.

    Errors: :class:`DeviceError` where neither ``torch.utils.tensorboard`` nor TensorBoard itself is installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError as error:
            raise DeviceError(
                "TensorBoard is not installed; run `pip install tensorboard torch`, or leave --tensorboard out."
            ) from error
        self._folder = folder
        with translate_write_errors(folder):
            # Events after the checkpoint are hidden by purge_step, those of a start that never saved as well.
            self._writer = writer(str(folder), purge_step=step + 1)

    def write(self, row: StepRow | ValidationRow) -> None:
        """Add the numbers of a row.

        Errors: :class:`rvrt_cli.errors.DiskFullError`, :class:`rvrt_cli.errors.OutputError`.
        """
        values = asdict(row)
        step = values.pop("step")
        group = f"validation/{values.pop('name')}" if isinstance(row, ValidationRow) else "train"
        with translate_write_errors(self._folder):
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)
            self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        with translate_write_errors(self._folder):
            self._writer.close()
