"""Reading and writing single images as RGB uint8 arrays, with damage found before it is used."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np

from rvrt_cli.errors import InputError
from rvrt_cli.system.files import visible, write_bytes
from rvrt_cli.system.suffixes import OPENCV_SUFFIXES

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Sort key under which ``im10`` follows ``im9``."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def list_images(folder: Path) -> list[Path]:
    """Images directly inside ``folder`` in natural order; hidden and temporary files are left out."""
    return sorted(
        (path for path in visible(folder) if path.suffix.lower() in OPENCV_SUFFIXES),
        key=natural_key,
    )


def find_png_damage(data: bytes) -> str | None:
    """What is wrong with the bytes of a PNG file, in words, or None: truncation and flipped bits are found by its CRCs."""
    if not data.startswith(_PNG_SIGNATURE):
        return "it is not a PNG file"
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return "its checksum does not match"
        if data[position + 4 : position + 8] == b"IEND":
            return None
        position = end
    return "it is cut off"


def read_image(path: Path, *, convert: bool = False) -> np.ndarray:
    """Read an 8-bit RGB image: (h, w, 3) uint8.

    ``convert`` also accepts grey, 16-bit and transparent images and turns EXIF-rotated photographs upright; without
    it they are refused, because a protocol that compares 8-bit RGB would silently mean something else.

    Errors: :class:`InputError` naming the file for one that is missing, empty, damaged or (without ``convert``) of
    another kind.
    """
    import cv2

    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    if data.size == 0:
        raise InputError(f"{path} is empty; copy or download it again.")
    if path.suffix.lower() == ".png":
        damage = find_png_damage(data.tobytes())
        if damage:
            raise InputError(f"{path} is damaged ({damage}); copy or download it again.")
    image = cv2.imdecode(data, cv2.IMREAD_COLOR if convert else cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{path} is damaged or not an image; copy or download it again.")
    if image.dtype != np.uint8:
        raise InputError(
            f"{path} has {image.dtype.itemsize * 8} bits per sample; convert it to 8-bit RGB first."
        )
    if image.ndim == 2:
        raise InputError(f"{path} is a grey image; convert it to 8-bit RGB first.")
    if image.shape[2] == 4:
        raise InputError(f"{path} has an alpha channel; convert it to 8-bit RGB first.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def encode_png(image: np.ndarray, compression: int = 3) -> bytes:
    """The bytes of a PNG file holding an (h, w, 3) uint8 RGB image."""
    import cv2

    done, data = cv2.imencode(
        ".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, compression]
    )
    if not done:
        raise InputError(f"An image of shape {image.shape} cannot be stored as PNG.")
    return data.tobytes()


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an (h, w, 3) uint8 RGB image atomically."""
    write_bytes(path, encode_png(image))
