"""What a run reports while it goes on, and how ranks hand that to the process that started them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rvrt_cli.train.logs import StepRow
from rvrt_cli.train.validate import ValidationResult


@dataclass(frozen=True)
class Summary:
    """A finished run."""

    steps: int
    seconds: float
    """Trained in all its parts."""
    step_s: float
    """Mean seconds per step of this part."""
    data_wait: float
    """Share of the time spent waiting for data, of the device that waited most."""
    memory_mib: float
    """Largest memory of a device (of its process on CPU)."""
    best: float | None
    engine: str
    weights: Path
    devices: int = 1
    machines: int = 1


@dataclass(frozen=True)
class Started:
    """A run begins or goes on after ``step`` steps."""

    engine: str
    step: int
    steps: int
    data: str
    best: float | None = None
    """Best mean Y-PSNR of the parts before this one."""
    notes: tuple[str, ...] = ()
    """What is unlike the checkpoint, and files that were set aside."""


@dataclass(frozen=True)
class Stepped:
    """Each step; ``row`` at every ``log_interval``-th."""

    step: int
    loss: float
    lr: float
    step_s: float
    """Seconds of this step, its wait for data included."""
    left_s: float
    """Estimated seconds to the end of the run, later stages and validations included."""
    row: StepRow | None = None


@dataclass(frozen=True)
class Validated:
    """A validation; ``best`` is the best mean Y-PSNR over all sets so far."""

    step: int
    results: tuple[ValidationResult, ...]
    best: float
    improved: bool


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    path: Path


@dataclass(frozen=True)
class Skipped:
    """A step was skipped because of a non-finite gradient under fp16."""

    step: int
    total: int


@dataclass(frozen=True)
class Noted:
    """Something that a person should know."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The last event of a run that made all its steps."""

    summary: Summary


Event = Started | Stepped | Validated | Saved | Skipped | Noted | Finished
_KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (Started, Stepped, Validated, Saved, Skipped, Noted, Finished)
}


def event_to_json(event: Event) -> str:
    """An event as one line."""
    return json.dumps({"event": type(event).__name__, **asdict(event)}, default=str)


def event_from_json(line: str) -> Event:
    """The event of a line of :func:`event_to_json`."""
    values = json.loads(line)
    kind = _KINDS[values.pop("event")]
    if kind is Started:
        values["notes"] = tuple(values["notes"])
    elif kind is Stepped and values["row"] is not None:
        values["row"] = StepRow(**values["row"])
    elif kind is Validated:
        values["results"] = tuple(
            ValidationResult(**{**result, "clips": tuple(tuple(clip) for clip in result["clips"])})
            for result in values["results"]
        )
    elif kind is Saved:
        values["path"] = Path(values["path"])
    elif kind is Finished:
        summary = values["summary"]
        values["summary"] = Summary(**{**summary, "weights": Path(summary["weights"])})
    return kind(**values)
