"""What a run reports while it works and when it is done; the command line draws these, the pipeline only emits them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StageTimes:
    """Seconds each stage was busy, summed over the run; stages overlap, so they add up to more than the elapsed time."""

    decode_s: float = 0.0
    model_s: float = 0.0
    encode_s: float = 0.0

    def shares(self, elapsed_s: float) -> dict[str, float]:
        """Share of the elapsed time in which each stage was busy, 0 to 1."""
        busy = {"decode": self.decode_s, "model": self.model_s, "encode": self.encode_s}
        return {
            name: min(1.0, seconds / elapsed_s) if elapsed_s > 0 else 0.0 for name, seconds in busy.items()
        }


@dataclass(frozen=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True)
class Started(Event):
    """The run begins. ``frames_total`` is None where the container does not say; ``reason``: why this engine was chosen.

    ``memory_bytes``: what the plan is expected to take, ``memory_limit_bytes``: what was planned for. ``can_continue``
    False: nothing is kept of a run that is stopped, so that it stops at once.
    """

    input: str
    output: str
    frames_total: int | None
    frames_done: int
    width: int
    height: int
    output_width: int
    output_height: int
    model: str
    engine: str
    window: int
    overlap: int
    tiles: str
    segment_frames: int
    reason: str = ""
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    can_continue: bool = True


@dataclass(frozen=True)
class Notice(Event):
    """Something the user should know: ``level`` is "info" or "warning"."""

    message: str
    level: str = "info"


@dataclass(frozen=True)
class Progress(Event):
    """State of the run; ``eta_s`` is None while nothing is known.

    ``fps`` and ``stages`` are of this run only, without the time in which it skipped the frames of an earlier one; so is
    ``eta_s``. ``doing``: what is going on while no frame has come out yet, in words, None afterwards; ``doing_share``: how much
    of that is done, 0 to 1, None where nobody knows.
    """

    frames_done: int
    frames_total: int | None
    elapsed_s: float
    fps: float
    eta_s: float | None
    stages: dict[str, float]
    doing: str | None = None
    doing_share: float | None = None


@dataclass(frozen=True)
class SegmentDone(Event):
    """A segment is on the disk: a run that is killed now continues after ``frames_done``."""

    index: int
    frames_done: int


@dataclass(frozen=True)
class MemoryReduced(Event):
    """Memory ran out; the same frames are tried again with what is named here."""

    window: int
    tiles: str
    engine: str


@dataclass(frozen=True)
class Finishing(Event):
    """All frames are done; ``doing`` says what is left ("joining segments and copying the other streams")."""

    doing: str


@dataclass(frozen=True)
class Report(Event):
    """The result of a run. Times in seconds; ``fps`` and ``stages`` are of this run, not of interrupted ones before it.

    ``skipped_s``: part of ``elapsed_s`` in which a continued run skipped the frames that were done; ``fps`` and ``stages``
    leave it out. ``model_busy``: share of the time between the first window and the last in which the model was computing.
    """

    input: str
    output: str
    frames: int
    frames_resumed: int
    shots: int
    corrupt_frames: int
    width: int
    height: int
    output_width: int
    output_height: int
    model: str
    engine: str
    window: int
    overlap: int
    tiles: str
    elapsed_s: float
    fps: float
    stages: dict[str, float]
    model_busy: float
    peak_rss_mib: float
    output_bytes: int | None
    verified: bool
    notes: tuple[str, ...] = field(default=())
    skipped_s: float = 0.0


def counted(count: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


OnEvent = Callable[[Event], None]


def ignore_event(_: Event) -> None:
    """The default listener."""


def event_to_dict(event: Event) -> dict[str, Any]:
    """An event as a dict of JSON values; ``event`` names its kind in snake case."""
    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(event).__name__).lstrip("_")
    return {
        "event": name,
        **{key: str(value) if isinstance(value, Path) else value for key, value in asdict(event).items()},
    }
