"""What a HEIF file (AVIF, HEIC) holds: a still picture, its transparency and colour profile, or a film.

The boxes are those of ISO/IEC 23008-12 (HEIF) and 14496-12; FFmpeg gives the coded pictures, each as a stream whose id is
the item's, but says neither which of them is the picture nor that others are tiles of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

BRANDS = frozenset(
    {
        b"avif",
        b"avis",
        b"mif1",
        b"mif2",
        b"msf1",
        b"miaf",
        b"heic",
        b"heix",
        b"heim",
        b"heis",
        b"hevc",
        b"hevx",
    }
)
CODED = frozenset({b"av01", b"hvc1", b"hev1", b"jpeg"})
ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
MAX_META_BYTES = 1 << 26


@dataclass(frozen=True)
class Heif:
    """primary: id of the item that is the picture. kind: its type, one of CODED or how it is derived ("grid": tiles).

    alpha: id of the item with its transparency. profile: its ICC profile, empty where there is none. is_film: it has
    tracks, too.
    """

    primary: int = 0
    kind: bytes = b""
    alpha: int | None = None
    profile: bytes = b""
    is_film: bool = False


def read_heif(path: Path) -> Heif | None:
    """Describe a file of the HEIF family; None for any other. What is damaged in its description is left out."""
    with open(path, "rb") as file:
        start = file.read(12)
        if start[4:8] != b"ftyp" or start[8:12] not in BRANDS:
            return None
        meta, is_film, position, end = b"", False, 0, path.stat().st_size
        while position + 8 <= end:
            file.seek(position)
            size, kind = struct.unpack(">I4s", file.read(8))
            head = 8
            if size == 1:
                size, head = int.from_bytes(file.read(8), "big"), 16
            size = size or end - position
            if size < head:
                break
            is_film |= kind == b"moov"
            if kind == b"meta":
                meta = file.read(min(size - head, MAX_META_BYTES))
            position += size
    with suppress(struct.error, IndexError):
        return replace(_read_meta(meta), is_film=is_film)
    return Heif(is_film=is_film)


def _read_meta(meta: bytes) -> Heif:
    boxes = dict(_boxes(meta[4:]))
    pitm = boxes.get(b"pitm", b"")
    primary = int.from_bytes(pitm[4:8] if pitm[:1] != b"\0" else pitm[4:6], "big")
    properties = _properties(boxes.get(b"iprp", b""))
    alpha = None
    for kind, item, targets in _references(boxes.get(b"iref", b"")):
        meanings = [body[4:] for name, body in properties.get(item, []) if name == b"auxC"]
        if kind == b"auxl" and primary in targets and any(meaning.startswith(ALPHA) for meaning in meanings):
            alpha = item
    colours = [body for name, body in properties.get(primary, []) if name == b"colr"]
    profile = next((body[4:] for body in colours if body[:4] in (b"prof", b"rICC")), b"")
    return Heif(primary, dict(_item_kinds(boxes.get(b"iinf", b""))).get(primary, b""), alpha, profile)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of the boxes that lie one after the other in ``data``; the last one may be cut off."""
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            head = 16
        size = size or len(data) - position
        if size < head:
            return
        yield kind, data[position + head : position + size]
        position += size


def _item_kinds(iinf: bytes) -> Iterator[tuple[int, bytes]]:
    for kind, body in _boxes(iinf[6 if iinf[:1] == b"\0" else 8 :]):
        if kind == b"infe" and body[0] in (2, 3):
            wide = 2 if body[0] == 2 else 4
            yield int.from_bytes(body[4 : 4 + wide], "big"), body[6 + wide : 10 + wide]


def _references(iref: bytes) -> Iterator[tuple[bytes, int, list[int]]]:
    """(type, from, to) of the references between items."""
    wide = 4 if iref[:1] == b"\1" else 2
    for kind, body in _boxes(iref[4:]):
        numbers = [int.from_bytes(body[p : p + wide], "big") for p in range(wide + 2, len(body), wide)]
        yield kind, int.from_bytes(body[:wide], "big"), numbers


def _properties(iprp: bytes) -> dict[int, list[tuple[bytes, bytes]]]:
    """The properties of each item, as (type, content)."""
    parts = list(_boxes(iprp))
    known = [box for kind, body in parts if kind == b"ipco" for box in _boxes(body)]
    found: dict[int, list[tuple[bytes, bytes]]] = {}
    for body in (body for kind, body in parts if kind == b"ipma"):
        wide_id, wide_index = (4 if body[0] else 2), (2 if body[3] & 1 else 1)
        (count,) = struct.unpack_from(">I", body, 4)
        position = 8
        for _ in range(count):
            item = int.from_bytes(body[position : position + wide_id], "big")
            position += wide_id
            number = body[position]
            position += 1
            for _ in range(number):
                index = int.from_bytes(body[position : position + wide_index], "big") & (
                    0x7FFF if wide_index == 2 else 0x7F
                )
                position += wide_index
                if 0 < index <= len(known):
                    found.setdefault(item, []).append(known[index - 1])
    return found
