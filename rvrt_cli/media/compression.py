"""How sparingly a film was encoded, from its key frames: bits per pixel over what there is to see.

A constant quality costs bits in proportion to detail, so bits per pixel and per grey level of local contrast tell strong
compression from weak whatever the content. Key frames alone are looked at, because what the others cost depends on motion.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import av
import numpy as np

from rvrt_cli.media.av_errors import LIBRARY_ERRORS
from rvrt_cli.media.open_file import open_container
from rvrt_cli.media.source import Source

PLACES = (0.02, 0.25, 0.5, 0.75, 0.95)
"""Where key frames are looked at, as shares of the film's length."""
PACKETS_TO_KEY_FRAME = 1000
LEAST_CONTRAST = 1.0
"""Grey levels between neighbours below which a picture is too flat to judge."""


def bits_per_detail(source: Source) -> float | None:
    """Bits per pixel and per grey level of contrast of a film's key frames (median of five places).

    Contrast is the mean step between horizontal plus that between vertical neighbours, in levels of 0 to 255. None for
    image sequences and pipes and where no key frame with some contrast can be decoded.
    """
    if source.kind != "video":
        return None
    duration = source.video.duration_s or source.duration_s
    found = []
    for share in PLACES if duration else (0.0,):
        # Opened anew for each place: one that cannot be reached must not spoil the others.
        with contextlib.suppress(*LIBRARY_ERRORS), open_container(Path(source.path)) as container:
            stream = container.streams[source.video.index]
            assert isinstance(stream, av.VideoStream)
            if share and duration:
                container.seek(int(share * duration * av.time_base) + (container.start_time or 0))
            if (bits := _next_key_frame(container, stream)) is not None:
                found.append(bits)
    return float(np.median(found)) if found else None


def _next_key_frame(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """The bits per detail of the first key frame from here on, None where there is none that tells anything."""
    for count, packet in enumerate(container.demux(stream)):
        if count >= PACKETS_TO_KEY_FRAME:
            break
        if not packet.is_keyframe or not packet.size:
            continue
        decoder = stream.codec_context
        decoder.flush_buffers()
        frames = [*decoder.decode(packet), *decoder.decode(None)]
        decoder.flush_buffers()
        if not frames:
            return None
        luma = frames[0].to_ndarray(format="gray").astype(np.float32)
        if min(luma.shape) < 2:
            return None
        contrast = float(np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean())
        return packet.size * 8 / luma.size / contrast if contrast >= LEAST_CONTRAST else None
    return None
