"""Which of the shipped networks suits a film: the one trained on clean reductions or the one trained on compressed films."""

from __future__ import annotations

from rvrt_cli.media.compression import bits_per_detail
from rvrt_cli.media.source import Source
from rvrt_cli.model.config import PRESETS
from rvrt_cli.weights.find import shipped

REAL = "light-s-real"
"""The shipped network that was trained on blurred, noisy and compressed films."""
COMPRESSED = 0.12
"""Bits per pixel and grey level of contrast of the key frames below which REAL is the better choice (docs/experiments.md)."""


def compression_advice(source: Source, model: str) -> str:
    """A sentence where another shipped network suits the film better than ``model``; empty where none does or none can tell.

    ``model``: the name of the one that is going to run. Looks at five key frames of the film.
    """
    if model not in (*PRESETS, REAL) or REAL not in shipped():
        return ""
    if (bits := bits_per_detail(source)) is None:
        return ""
    if bits < COMPRESSED and model != REAL:
        return (
            f"The film is visibly compressed ({bits:.2f} bits per pixel and grey level of contrast in its key frames): "
            f"--model {REAL} is made for such films and does not sharpen their compression along."
        )
    if bits >= COMPRESSED and model == REAL:
        return (
            f"The film is hardly compressed ({bits:.2f} bits per pixel and grey level of contrast in its key frames): "
            "--light recovers more from films like this."
        )
    return ""
