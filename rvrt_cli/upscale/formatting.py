"""Figures as a person reads them: times, sizes, speeds."""

from __future__ import annotations

import math


def format_time(seconds: float | None) -> str:
    """``1:02:03``, ``2:03``; ``-`` where unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_size(size_bytes: float) -> str:
    """``532 KB``, ``12.3 MB``, ``4.5 GB`` (powers of 1000, as file managers show)."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes:.0f} B"


def format_fps(fps: float) -> str:
    """Frames per second with as many digits as say something."""
    return f"{fps:.0f}" if fps >= 100 else f"{fps:.1f}" if fps >= 10 else f"{fps:.2f}"
