"""What a decoder hangs on a frame beside its picture."""

from __future__ import annotations

import struct
from typing import Any, cast

import av
import numpy as np

from rvrt_cli.media.av_errors import LIBRARY_ERRORS


def display_matrix(frame: av.VideoFrame) -> tuple[int, bool]:
    """(rotation, flipped) of the frame's display matrix; rotations that are no multiple of 90 degrees are rounded."""
    matrix = side_data(frame, "DISPLAYMATRIX")
    if matrix is None or len(matrix) < 36:
        return 0, False
    values = np.array(struct.unpack("<9i", matrix[:36]), np.float64)
    a, b, c, d = values[0], values[1], values[3], values[4]
    flipped = a * d - b * c < 0
    if flipped:
        a, c = -a, -c  # undo the mirror, which acts on the rotated picture's x
    angle = -np.degrees(np.arctan2(b, a)) if (a or b) else 0.0
    rotation = round(angle / 90) * 90 % 360
    return int(rotation - 360 if rotation > 180 else rotation), bool(flipped)


def side_data(frame: av.VideoFrame, kind: str) -> bytes | None:
    """What hangs on a frame under this name of PyAV; None where nothing does."""
    try:
        for data in cast("list[Any]", frame.side_data):
            if data.type.name == kind:
                return bytes(data)
    except LIBRARY_ERRORS:
        return None  # a type this PyAV does not know stops its iteration
    return None
