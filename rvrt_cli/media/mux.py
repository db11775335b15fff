"""Assemble the final file: upscaled video segments plus everything else of the source, by stream copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rvrt_cli.media.encode import EncodeSettings
from rvrt_cli.media.source import Source


@dataclass(frozen=True)
class StreamPlan:
    """What happens to one stream of the source. action: "upscale", "copy", "convert" or "drop"; codec: the target's."""

    index: int
    action: str
    codec: str
    reason: str = ""


@dataclass(frozen=True)
class MuxPlan:
    """The final file's streams in order. warnings: sentences naming what is converted or lost; show them before the run."""

    container: str
    streams: tuple[StreamPlan, ...]
    warnings: tuple[str, ...]


def plan_mux(source: Source, settings: EncodeSettings, *, trimmed: bool = False) -> MuxPlan:
    """Decide for every stream whether the container can hold it; asks ffmpeg where a table does not know."""
    raise NotImplementedError


def mux(
    source: Source,
    segments: Sequence[Path],
    output: Path,
    settings: EncodeSettings,
    plan: MuxPlan,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    trimmed: bool = False,
) -> None:
    """Join ``segments`` in order, add the other streams and replace ``output`` atomically after verifying the result.

    The video's timestamps are the segments'. Give ``start_s``/``end_s`` and trimmed=True when the run covers only part of
    the film: the output then starts at zero with its first frame, and the other streams are cut to the same range.
    Errors: :class:`OutputError`, :class:`DiskFullError`, :class:`VerifyError`; ``output`` is untouched then.
    """
    raise NotImplementedError
