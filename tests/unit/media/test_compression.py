"""How sparingly a film was encoded, told from its key frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from rvrt_cli.media.compression import bits_per_detail
from rvrt_cli.media.probe import probe


def detailed_clip(frames: int = 12) -> np.ndarray:
    """A moving texture with most of its contrast in its large shapes, as films have, (frames, 288, 384, 3) uint8."""
    rng = np.random.default_rng(3)
    texture = np.zeros((352, 448), np.float32)
    for size in (4, 8, 16, 32, 64, 128, 256):
        noise = rng.standard_normal((size, size)).astype(np.float32)
        texture += cv2.resize(noise, (448, 352), interpolation=cv2.INTER_CUBIC) * 2 / size
    picture = np.clip(128 + 60 * texture, 0, 255).astype(np.uint8)
    return np.stack([np.repeat(picture[t : t + 288, t : t + 384, None], 3, axis=2) for t in range(frames)])


def encode(path: Path, clip: np.ndarray, crf: int, codec: str = "libx264") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "b": "0"} if codec == "libvpx-vp9" else {"crf": str(crf)}
        stream.thread_count = 1
        for image in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_stronger_compression_leaves_fewer_bits_for_what_there_is_to_see(tmp_path: Path) -> None:
    clip = detailed_clip()
    bits = [bits_per_detail(probe(encode(tmp_path / f"{crf}.mkv", clip, crf))) for crf in (10, 20, 30)]
    assert all(value is not None for value in bits)
    careful, usual, sparing = (float(value or 0) for value in bits)
    assert careful > 1.5 * usual > 2.25 * sparing > 0


def test_flat_films_and_image_sequences_are_not_judged(tmp_path: Path) -> None:
    flat = np.full((6, 64, 64, 3), 90, np.uint8)
    assert bits_per_detail(probe(encode(tmp_path / "flat.mkv", flat, 20))) is None
    for index, image in enumerate(detailed_clip(3)):
        cv2.imwrite(str(tmp_path / f"{index:03d}.png"), image)
    assert bits_per_detail(probe(str(tmp_path / "%03d.png"))) is None


def test_a_damaged_film_is_judged_by_what_can_be_read(tmp_path: Path) -> None:
    path = encode(tmp_path / "whole.mkv", detailed_clip(40), 18)
    source = probe(path)
    whole = bits_per_detail(source)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 9 // 10])
    assert whole is not None
    assert bits_per_detail(source) == pytest.approx(whole, rel=0.3)
