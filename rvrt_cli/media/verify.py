"""Probe a finished file independently of how it was made and compare it with what was promised."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from rvrt_cli.media.mux import MuxPlan
from rvrt_cli.media.source import Source


@dataclass(frozen=True, eq=False)
class Expected:
    """What the output must be. pts: int64 (frames,) in time_base units, in display order."""

    pts: np.ndarray
    time_base: Fraction
    width: int
    height: int
    trimmed: bool = False


def verify_output(source: Source, output: Path, expected: Expected, plan: MuxPlan) -> None:
    """Raise :class:`VerifyError` when frame count, timestamps, duration, size or stream list differ from what was promised."""
    raise NotImplementedError
