"""A clip through an encoder and back: the damage that compression does, for data sets and benchmarks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np

from rvrt_cli.errors import InputError

RATE = Fraction(25)


def compress_h264(clip: np.ndarray, crf: float, preset: str = "veryfast") -> np.ndarray:
    """:func:`compress_h264_frames` of a clip in memory: (t, h, w, 3) uint8 -> the same shape."""
    return np.stack(list(compress_h264_frames(clip, crf, preset)))


def compress_h264_frames(
    frames: Iterable[np.ndarray], crf: float, preset: str = "veryfast"
) -> Iterator[np.ndarray]:
    """Encode frames (h, w, 3) uint8 of one size with x264 (yuv420p, one thread) and decode them again; deterministic.

    All are encoded, into a temporary file, before the first one comes back. Errors: :class:`InputError`.
    """
    with tempfile.TemporaryFile() as file:
        count, size = _encode(frames, file, crf, preset)
        if count == 0:
            return
        file.seek(0)
        decoded = 0
        with av.open(file, "r") as container:
            container.streams.video[0].thread_count = 1
            for frame in container.decode(video=0):
                decoded += 1
                yield frame.to_ndarray(format="rgb24")[: size[0], : size[1]]
        if decoded != count:
            raise InputError(
                f"The H.264 encoder returned {decoded} of {count} frames of {size[1]}×{size[0]} pixels."
            )


def _encode(
    frames: Iterable[np.ndarray], file: BinaryIO, crf: float, preset: str
) -> tuple[int, tuple[int, int]]:
    """Write ``frames`` into ``file``; → how many there were, and their (height, width)."""
    count, size = 0, (0, 0)
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        # x264's macroblock tree gives other bytes from run to run on processors with AVX-512, with one thread too.
        stream.options = {"crf": f"{crf:.2f}", "preset": preset, "x264-params": "mbtree=0"}
        for image in frames:
            if count == 0:
                h, w, _ = image.shape
                size = (h, w)
                stream.width, stream.height = w + w % 2, h + h % 2
            # 4:2:0 needs even sizes: the last row or column is repeated for the encoder and cut off again.
            padded = np.pad(image, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(padded, format="rgb24")
            frame.pts, frame.time_base = count, 1 / RATE
            container.mux(stream.encode(frame))
            count += 1
        if count:
            container.mux(stream.encode())
    return count, size
