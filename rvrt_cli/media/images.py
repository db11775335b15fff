"""Image sequences: PNG 8/16 bit (and other still formats on input)."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class ImageSequenceWriter:
    """Write frames as numbered PNG files; each appears whole or not at all.

    target: a folder (``%08d.png`` inside) or a pattern such as ``out/%05d.png``. bit_depth: 8 or 16.
    """

    def __init__(self, target: Path, *, bit_depth: int = 8, first_number: int = 1) -> None:
        raise NotImplementedError

    def path_of(self, index: int) -> Path:
        """The file of frame ``index`` (0-based)."""
        raise NotImplementedError

    def write(self, rgb: np.ndarray, index: int, alpha: np.ndarray | None = None) -> Path:
        """Write frame ``index``. rgb: float32 (h, w, 3), clipped to [0, 1] and rounded to bit_depth."""
        raise NotImplementedError
