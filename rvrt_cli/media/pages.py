"""Several pictures in one file of a picture's format: animated WebP and TIFF of several pages.

FFmpeg reads no animated WebP and only the first page of a TIFF; APNG and AVIF films it reads like any film.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np

from rvrt_cli.errors import InputError
from rvrt_cli.media.heif import read_heif
from rvrt_cli.media.picture_tags import PNG_START

MAX_PAGES = 1 << 20
# Browsers show pictures that are to last less than this for a tenth of a second.
SHORTEST_MS, USUAL_MS = 11, 100
REDUCED_OR_MASK = 1 | 4
"""Bits of TIFF's NewSubfileType: a smaller version or the transparency of another page."""


@dataclass(frozen=True)
class Pages:
    """How many pictures a file holds. shown_ms: for how long each is shown, empty where the format does not say. one_size:
    whether all have the first one's."""

    count: int = 1
    shown_ms: tuple[int, ...] = ()
    one_size: bool = True


class _Anmf(NamedTuple):
    """A frame of an animated WebP: place and size in pixels, duration, and how it meets what is there."""

    x: int
    y: int
    shown_ms: int
    clears: bool
    blends: bool
    data: bytes


class _Page(NamedTuple):
    offset: int
    width: int
    height: int


def holds_film(path: Path) -> bool:
    """Whether FFmpeg reads several pictures from a file with a picture's suffix: APNG, a HEIF file with tracks."""
    with open(path, "rb") as file:
        if file.read(8) == PNG_START:
            return _is_apng(file)
    heif = read_heif(path)
    return heif is not None and heif.is_film


def count_pages(path: Path) -> Pages:
    """The pictures of a WebP or TIFF file; one for all others, and for what cannot be understood."""
    with open(path, "rb") as file, suppress(struct.error):
        start = file.read(12)
        if start[:4] == b"RIFF" and start[8:] == b"WEBP":
            frames = [frame.shown_ms for frame in _anmf_frames(file, with_data=False)]
            return Pages(len(frames), tuple(frames)) if len(frames) > 1 else Pages()
        if start[:4] in (b"II*\0", b"MM\0*"):
            pages = list(_tiff_pages(file, start))
            return Pages(max(1, len(pages)), one_size=len({page[1:] for page in pages}) <= 1)
    return Pages()


def read_pages(path: Path) -> Iterator[np.ndarray]:
    """The pictures of a file one after the other, as OpenCV gives them (BGR or BGRA). Errors: :class:`InputError`."""
    with open(path, "rb") as file:
        start = file.read(12)
        if start[:4] == b"RIFF":
            yield from _composed(path, file)
            return
        offsets = [page.offset for page in _tiff_pages(file, start)]
    coded = np.fromfile(path, np.uint8)
    for number, offset in enumerate(offsets):
        # A TIFF's header says where its first page is described; said otherwise, another page is the first.
        coded[4:8] = np.frombuffer(struct.pack("<I" if start[:2] == b"II" else ">I", offset), np.uint8)
        yield _decoded(coded, path, number)


def _decoded(coded: np.ndarray, path: Path, number: int) -> np.ndarray:
    with suppress(cv2.error):
        picture = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)
        if picture is not None:
            return np.asarray(picture)
    raise InputError(
        f"{path} is damaged in its picture {number + 1}; replace it and run the same command again."
    )


def _is_apng(file: BinaryIO) -> bool:
    """Whether the chunk acTL, which comes before the pixels, announces more than one picture (PNG specification, 11.3.6)."""
    with suppress(struct.error):
        while True:
            size, kind = struct.unpack(">I4s", file.read(8))
            if kind == b"acTL":
                return int.from_bytes(file.read(4), "big") > 1
            if kind in (b"IDAT", b"IEND"):
                return False
            file.seek(size + 4, 1)
    return False


def _anmf_frames(file: BinaryIO, *, with_data: bool) -> Iterator[_Anmf]:
    """The animation's frames in a WebP file, of which the first 12 bytes are read (RFC 9649, 2.7)."""
    while len(head := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        following = file.tell() + size + size % 2
        if kind == b"ANMF":
            x, y, _, _, shown = (int.from_bytes(file.read(3), "little") for _ in range(5))
            flags = file.read(1)[0] if size >= 16 else 0
            data = file.read(size - 16) if with_data else b""
            shown_ms = shown if shown >= SHORTEST_MS else USUAL_MS
            yield _Anmf(2 * x, 2 * y, shown_ms, bool(flags & 1), not flags & 2, data)
        file.seek(following)


def _composed(path: Path, file: BinaryIO) -> Iterator[np.ndarray]:
    """The pictures of an animated WebP, each frame laid over what the ones before it left."""
    head = file.read(18)
    has_alpha = bool(head[8] & 0x10)
    width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (12, 15))
    canvas: np.ndarray = np.zeros((height, width, 4), np.uint8)
    for number, frame in enumerate(_anmf_frames(file, with_data=True)):
        picture = _decoded(np.frombuffer(_as_still(frame.data), np.uint8), path, number)
        if picture.shape[2] == 3:
            picture = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
        place = canvas[frame.y : frame.y + picture.shape[0], frame.x : frame.x + picture.shape[1]]
        if place.shape != picture.shape:
            raise InputError(
                f"{path} is damaged in its picture {number + 1}; replace it and run the same command again."
            )
        place[...] = _over(picture, place) if frame.blends else picture
        yield canvas.copy() if has_alpha else canvas[..., :3].copy()
        if frame.clears:
            place[...] = 0


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """uint8 BGRA ``above`` laid over ``below``, both not premultiplied."""
    alpha, under = above[..., 3:] / np.float32(255), below[..., 3:] / np.float32(255)
    rest = under * (1 - alpha)
    total = alpha + rest
    colour = (above[..., :3] * alpha + below[..., :3] * rest) / np.maximum(total, np.float32(1e-6))
    return np.rint(np.concatenate([colour, total * 255], axis=2)).astype(np.uint8)


def _as_still(data: bytes) -> bytes:
    """A frame's chunks as a WebP file of their own; one with an ALPH chunk needs the extended header."""
    if data[:4] == b"ALPH":
        position = 8 + int.from_bytes(data[4:8], "little")
        bitstream = data[position + position % 2 + 8 :]
        width, height = (
            int.from_bytes(bitstream[at : at + 2], "little") & 0x3FFF for at in (6, 8)
        )  # RFC 6386, 9.1
        size = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
        data = b"VP8X" + struct.pack("<II", 10, 0x10) + size + data
    return b"RIFF" + struct.pack("<I", 4 + len(data)) + b"WEBP" + data


def _tiff_pages(file: BinaryIO, start: bytes) -> Iterator[_Page]:
    """The pages of a TIFF file that are pictures of their own (TIFF 6.0, sections 2 and 8)."""
    order = "<" if start[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(order + "I", start, 4)
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < MAX_PAGES:
        seen.add(offset)
        file.seek(offset)
        (count,) = struct.unpack(order + "H", file.read(2))
        tags: dict[int, int] = {}
        for _ in range(count):
            entry = file.read(12)
            tag, kind = struct.unpack_from(order + "HH", entry)
            tags[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), entry, 8)[0]
        page = _Page(offset, tags.get(256, 0), tags.get(257, 0))
        (offset,) = struct.unpack(order + "I", file.read(4))
        if not tags.get(254, 0) & REDUCED_OR_MASK:
            yield page
