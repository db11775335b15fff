"""What still pictures say beside their pixels: how to turn them (EXIF) and in which colour space they are (ICC)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_HEADER_END = len(PNG_START) + 25  # its first chunk is IHDR
ORIENTATION = 0x0112
MAX_PROFILE_BYTES = 1 << 24
# The eight orientations of EXIF as what turns the stored picture upright.
_UPRIGHT = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p),
}


def turn_upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    """``picture`` (h, w, c) as it is shown, given its EXIF orientation (1 to 8)."""
    turn = _UPRIGHT.get(orientation)
    return picture if turn is None else np.ascontiguousarray(turn(picture))


def exif_orientation(data: bytes) -> int:
    """The orientation (1 to 8) in a JPEG, PNG or WebP file's EXIF block; 1 where there is none."""
    for kind, block in _blocks(data):
        if kind in (b"eXIf", b"EXIF", b"\xff\xe1") and (kind != b"\xff\xe1" or block.startswith(b"Exif\0\0")):
            with suppress(struct.error):
                return _orientation(block.removeprefix(b"Exif\0\0"))
    return 1


def _orientation(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for number in range(count):
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * number)
        if tag == ORIENTATION:
            return int(value) if 1 <= value <= 8 else 1
    return 1


def stated_shape(data: bytes) -> tuple[int, int, int, int] | None:
    """(height, width, channels, bits) of what :func:`rvrt_cli.media.images.decode_image` makes of a PNG or JPEG file, from
    its header; None where only decoding tells.
    """
    shape = None
    for kind, block in _blocks(data):
        if kind == b"IHDR" and len(block) >= 10:
            width, height, bits, colour = struct.unpack_from(">IIBB", block)
            shape = height, width, 4 if colour in (4, 6) else 3, 16 if bits == 16 else 8
        elif kind == b"tRNS":
            return None
        elif kind == b"IDAT":
            break
        elif (
            kind[0] == 0xFF
            and 0xC0 <= kind[1] <= 0xCF
            and kind[1] not in (0xC4, 0xC8, 0xCC)
            and len(block) >= 5
        ):
            bits, height, width = struct.unpack_from(">BHH", block)
            shape = (height, width, 3, 8) if bits == 8 and height else None
            break
    if shape is not None and exif_orientation(data) > 4:
        shape = (shape[1], shape[0], *shape[2:])
    return shape


def foreign_profile(data: bytes) -> bytes:
    """The ICC profile in a JPEG, PNG or WebP file; empty where there is none or it is sRGB's."""
    profile = b""
    for kind, block in _blocks(data):
        if kind == b"\xff\xe2" and block.startswith(b"ICC_PROFILE\0"):
            profile += block[14:]  # 12 bytes of name, number and count of the parts
        elif kind == b"ICCP":
            profile += block
        elif kind == b"iCCP":
            with suppress(zlib.error):
                profile += zlib.decompressobj().decompress(block.partition(b"\0")[2][1:], MAX_PROFILE_BYTES)
    return unless_srgb(profile)


def unless_srgb(profile: bytes) -> bytes:
    """An ICC profile, empty where it is sRGB's."""
    return b"" if b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile else profile


def fits_rgb_png(profile: bytes) -> bool:
    """Whether a profile is whole and of RGB: one of grey or CMYK says nothing of the RGB pictures made from such files."""
    whole = len(profile) >= 128 and int.from_bytes(profile[:4], "big") == len(profile)
    return whole and profile[16:20] == b"RGB " and profile[36:40] == b"acsp"


def with_profile(png: bytes, profile: bytes) -> bytes:
    """A PNG file that says its colours are ``profile``'s; it must not say anything about them yet."""
    content = b"iCCP" + b"ICC profile\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return png[:PNG_HEADER_END] + chunk + png[PNG_HEADER_END:]


def _blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of the blocks before or between the pixels; nothing for formats without such blocks."""
    with suppress(struct.error):
        if data.startswith(b"\xff\xd8"):
            yield from _jpeg_segments(data)
        elif data.startswith(PNG_START):
            position = len(PNG_START)
            while position + 8 <= len(data):
                size, kind = struct.unpack_from(">I4s", data, position)
                yield kind, data[position + 8 : position + 8 + size] if kind != b"IDAT" else b""
                position += 12 + size
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            position = 12
            while position + 8 <= len(data):
                kind, size = struct.unpack_from("<4sI", data, position)
                yield kind, data[position + 8 : position + 8 + size]
                position += 8 + size + size % 2


def _jpeg_segments(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        kind, size = struct.unpack_from(">2sH", data, position)
        if kind == b"\xff\xda":  # the pixels begin
            return
        yield kind, data[position + 4 : position + 2 + size]
        position += 2 + size
