"""A clip through an encoder and back: the damage that compression does, for data sets and benchmarks."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np

from rvrt_cli.errors import InputError


def compress_h264(clip: np.ndarray, crf: float, preset: str = "veryfast") -> np.ndarray:
    """Encode and decode a clip with x264 (yuv420p, one thread): (t, h, w, 3) uint8 -> the same shape; deterministic."""
    frames, h, w = clip.shape[:3]
    # 4:2:0 needs even sizes: repeat the last row or column for the encoder and cut it off again.
    padded = np.pad(clip, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height = padded.shape[2], padded.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = {"crf": f"{crf:.2f}", "preset": preset}
        for image in padded:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer, "r") as container:
        container.streams.video[0].thread_count = 1
        decoded = [frame.to_ndarray(format="rgb24")[:h, :w] for frame in container.decode(video=0)]
    if len(decoded) != frames:
        raise InputError(f"The H.264 encoder returned {len(decoded)} of {frames} frames of {w}×{h} pixels.")
    return np.stack(decoded)
