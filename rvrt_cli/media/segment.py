"""Write a run of frames as one closed, reproducible file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvrt_cli.media.encode import EncodeSettings


@dataclass(frozen=True)
class SegmentInfo:
    """A closed segment. first_pts, last_pts: in settings.time_base units. sha256: of the file's bytes."""

    path: Path
    frames: int
    sha256: str
    size_bytes: int
    first_pts: int
    last_pts: int


class SegmentWriter:
    """Encode frames into ``path``; the file is readable only after :meth:`close`, which flushes it to the disk.

    The same frames and settings give the same bytes, whatever the number of cores.
    """

    def __init__(self, path: Path, settings: EncodeSettings) -> None:
        raise NotImplementedError

    def write(self, rgb: np.ndarray, pts: int, duration: int | None = None, alpha: np.ndarray | None = None) -> None:
        """Append a frame. rgb: float32 (settings.height, settings.width, 3), nominally [0, 1], clipped by the coding range only.

        pts must increase; it is written as it is. alpha: float32 (h, w), required exactly when settings.has_alpha.
        """
        raise NotImplementedError

    def close(self) -> SegmentInfo:
        """Finish, fsync and describe the segment. Errors: :class:`OutputError`, :class:`DiskFullError`."""
        raise NotImplementedError

    def abort(self) -> None:
        """Stop and delete the unfinished file."""
        raise NotImplementedError

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        """Abort when leaving because of an error or without :meth:`close`."""
        raise NotImplementedError
