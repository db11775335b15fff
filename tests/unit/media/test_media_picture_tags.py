"""EXIF orientation and ICC profiles of pictures."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from rvrt_cli.media import probe, read_frames
from rvrt_cli.media.picture_tags import exif_orientation, is_srgb

# A picture with four different corners: red, green, blue, white (clockwise from the top left), in BGR.
UPRIGHT = np.zeros((32, 48, 3), np.uint8)
UPRIGHT[:16, :24], UPRIGHT[:16, 24:], UPRIGHT[16:, 24:], UPRIGHT[16:, :24] = (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255)  # fmt: skip
# What a camera stores for each orientation, in OpenCV's words.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda p: p,
    2: lambda p: cv2.flip(p, 1),
    3: lambda p: cv2.rotate(p, cv2.ROTATE_180),
    4: lambda p: cv2.flip(p, 0),
    5: cv2.transpose,
    6: lambda p: cv2.rotate(p, cv2.ROTATE_90_COUNTERCLOCKWISE),
    7: lambda p: cv2.rotate(cv2.transpose(p), cv2.ROTATE_180),
    8: lambda p: cv2.rotate(p, cv2.ROTATE_90_CLOCKWISE),
}


def exif(orientation: int, order: str) -> bytes:
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)


def jpeg_with(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    return data[:2] + b"".join(struct.pack(">BBH", 255, k, len(b) + 2) + b for k, b in segments) + data[2:]


def png_with(data: bytes, kind: bytes, block: bytes) -> bytes:
    """The chunk is put behind the header, which is 33 bytes long with the signature."""
    chunk = struct.pack(">I", len(block)) + kind + block + struct.pack(">I", zlib.crc32(kind + block))
    return data[:33] + chunk + data[33:]


def webp_with(data: bytes, kind: bytes, block: bytes) -> bytes:
    body = data[8:] + kind + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def coded(suffix: str, picture: np.ndarray, *parameters: int) -> bytes:
    return bytes(cv2.imencode(suffix, picture, parameters)[1])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(suffix: str, orientation: int, tmp_path: Path) -> None:
    """OpenCV's own decoder, which knows EXIF, turns them the same way."""
    stored = STORED[orientation](UPRIGHT)
    block = exif(orientation, "<" if orientation % 2 else ">")
    if suffix == ".jpg":
        data = jpeg_with(coded(suffix, stored, cv2.IMWRITE_JPEG_QUALITY, 100), (0xE1, b"Exif\0\0" + block))
    elif suffix == ".png":
        data = png_with(coded(suffix, np.dstack([stored, stored[..., :1] // 2 + 100])), b"eXIf", block)
    else:
        data = webp_with(coded(suffix, stored, cv2.IMWRITE_WEBP_QUALITY, 101), b"EXIF", b"Exif\0\0" + block)
    assert exif_orientation(data) == orientation
    (tmp_path / f"a{suffix}").write_bytes(data)
    source = probe(tmp_path / f"a{suffix}")
    assert (source.video.width, source.video.height) == (48, 32)
    with read_frames(source) as frames:
        frame = next(frames)
    np.testing.assert_allclose(frame.rgb[4::24, 4::40], UPRIGHT[4::24, 4::40, ::-1] / 255, atol=0.02)
    if suffix == ".jpg":
        np.testing.assert_allclose(
            frame.rgb[..., ::-1] * 255,
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR),
            atol=0.01,
        )


def test_damaged_tags_are_ignored() -> None:
    plain = coded(".jpg", UPRIGHT)
    assert exif_orientation(plain) == 1
    assert exif_orientation(b"") == exif_orientation(b"\xff\xd8\xff") == exif_orientation(b"BM") == 1
    block = exif(6, "<")
    for damaged in (block[:5], block[:12], b"XX" + block[2:], exif(9, "<"), block[:4] + b"\xff\xff\xff\xff"):
        assert exif_orientation(jpeg_with(plain, (0xE1, b"Exif\0\0" + damaged))) == 1
    assert exif_orientation(png_with(coded(".png", UPRIGHT), b"eXIf", block)[:40]) == 1
    assert is_srgb(png_with(coded(".png", UPRIGHT), b"iCCP", b"x\0\0not zlib"))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_other_colour_profiles_are_named(suffix: str, tmp_path: Path) -> None:
    for name, plain in ((b"Display P3", False), (b"sRGB IEC61966-2.1", True), ("sRGB built-in".encode("utf-16-be"), True)):  # fmt: skip
        profile = bytes(128) + name + bytes(40)
        if suffix == ".jpg":
            parts = [(0xE2, b"ICC_PROFILE\0" + bytes([n, 2]) + part) for n, part in ((1, profile[:9]), (2, profile[9:]))]  # fmt: skip
            data = jpeg_with(coded(suffix, UPRIGHT), *parts)
        elif suffix == ".png":
            data = png_with(coded(suffix, UPRIGHT), b"iCCP", b"a profile\0\0" + zlib.compress(profile))
        else:
            data = webp_with(coded(suffix, UPRIGHT), b"ICCP", profile)
        (tmp_path / f"a{suffix}").write_bytes(data)
        notes = probe(tmp_path / f"a{suffix}").notes
        assert any("colour profile" in note for note in notes) != plain
