"""One decoded frame: as it comes from a file, and as it is handed out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rvrt_cli.media.source import ColorTags


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded frame.

    index: 0-based position among the frames of the (trimmed) run, independent of ``skip_frames``.
    pts, duration: in units of the video stream's time_base; duration is None when unknown.
    rgb: float32 (h, w, 3), nominally [0, 1] in the source's own transfer and primaries. Not clipped: values a YUV
    source holds beyond the RGB cube (super-whites, out-of-gamut chroma) survive a round trip.
    alpha: float32 (h, w) in [0, 1], or None. corrupt: the decoder concealed damage in this frame, or
    gave none for a packet before it. key_frame: decoding can begin here.
    """

    index: int
    pts: int
    duration: int | None
    rgb: np.ndarray
    alpha: np.ndarray | None = None
    corrupt: bool = False
    key_frame: bool = False


@dataclass(frozen=True, eq=False)
class Decoded:
    """A frame that is timed but not yet converted: ``convert()`` gives (rgb, alpha). tags: None for the source's.

    repeated: the picture before is shown again.
    """

    pts: int | None
    duration: int | None
    corrupt: bool
    convert: Callable[[], tuple[np.ndarray, np.ndarray | None]]
    tags: ColorTags | None = None
    key_frame: bool = False
    repeated: bool = False
