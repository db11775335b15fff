"""YUV4MPEG2 on standard input and output."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from rvrt_cli.media.encode import EncodeSettings


class Y4mWriter:
    """Write frames as YUV4MPEG2 to a binary stream (standard output)."""

    def __init__(self, file: BinaryIO, settings: EncodeSettings) -> None:
        raise NotImplementedError

    def write(self, rgb: np.ndarray, pts: int, duration: int | None = None, alpha: np.ndarray | None = None) -> None:
        """Append a frame; y4m has no timestamps, so a variable frame rate is refused with :class:`OutputError`."""
        raise NotImplementedError

    def close(self) -> None:
        """Flush."""
        raise NotImplementedError
