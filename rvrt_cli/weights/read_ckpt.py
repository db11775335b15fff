"""Read MindSpore's ``.ckpt`` without MindSpore: three protobuf messages, told apart by field numbers.

The messages (MindSpore, ``mindspore/ccsrc/utils/checkpoint.proto``)::

    Checkpoint  { repeated Value value = 1; }   Value { string tag = 1; TensorProto tensor = 2; MapTensorProto maptensor = 3; }
    TensorProto { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3; }

A large tensor is split over consecutive values of the same tag. ``save_checkpoint(crc_check=True)`` appends ``crc_num`` and
the CRC-32 of everything before it in 10 bytes.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rvrt_cli.errors import WeightsError
from rvrt_cli.weights.raw import MAX_DIMENSIONS, RawFile, count, decode, item_size, quoted, read_bytes

TENSOR_TYPES: dict[str, str] = {
    "Float64": "F64", "Float32": "F32", "Float16": "F16", "BFloat16": "BF16", "Int64": "I64", "Int32": "I32", "Int16": "I16",
    "Int8": "I8", "UInt64": "U64", "UInt32": "U32", "UInt16": "U16", "UInt8": "U8", "Bool": "BOOL",
}  # fmt: skip
CRC_MARK = b"crc_num"
CRC_BYTES = 10
_VARINT, _BYTES = 0, 2


class _Damaged(Exception):  # noqa: N818 - it never leaves this module
    """Why the bytes are no checkpoint, as the end of a sentence about the file."""


def read_ckpt(path: Path) -> RawFile:
    """Read a MindSpore checkpoint.

    Errors: :class:`WeightsError` for a file that is truncated, encrypted or not a checkpoint.
    """
    return parse_ckpt(path, read_bytes(path))


def parse_ckpt(path: Path, data: bytes) -> RawFile:
    """Read the bytes of a MindSpore checkpoint; ``path`` is for messages."""
    try:
        return _parse(data)
    except _Damaged as damage:
        raise WeightsError(
            f"{path} is no readable MindSpore checkpoint: it {damage}; download it again."
        ) from damage


def _parse(data: bytes) -> RawFile:
    view = memoryview(_without_crc(data))
    pieces: dict[str, list[memoryview]] = {}
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    last = None
    for number, value in _fields(view):
        if number != 1 or not isinstance(value, memoryview):
            raise _Damaged("has an unknown part (it may be encrypted)")
        tag, kind, dims, content = _value(value)
        if tag in pieces and (tag != last or kinds[tag] != (kind, dims)):
            raise _Damaged(f"has the tensor {quoted(tag)} twice")
        pieces.setdefault(tag, []).append(content)
        kinds[tag] = (kind, dims)
        last = tag
    if not pieces:
        raise _Damaged("is empty")
    tensors: dict[str, np.ndarray] = {}
    metadata: dict[str, str] = {}
    for tag, contents in pieces.items():
        kind, dims = kinds[tag]
        joined = contents[0] if len(contents) == 1 else memoryview(b"".join(contents))
        if kind == "str":
            metadata[tag] = str(joined, "utf-32-le", "replace").rstrip("\0")
        else:
            tensors[tag] = _tensor(tag, kind, dims, joined)
    return RawFile("MindSpore checkpoint", tensors, metadata)


def _without_crc(data: bytes) -> bytes:
    body = data[: -len(CRC_MARK) - CRC_BYTES]
    if data[len(body) : -CRC_BYTES] != CRC_MARK:
        return data
    if binascii.crc32(body) != int.from_bytes(data[-CRC_BYTES:], "big"):
        raise _Damaged("does not match its own checksum")
    return body


def _tensor(tag: str, kind: str, dims: tuple[int, ...], content: memoryview) -> np.ndarray:
    if kind not in TENSOR_TYPES:
        raise _Damaged(f"stores tensor {quoted(tag)} as {kind[:40]!r}, an unknown type")
    size = item_size(TENSOR_TYPES[kind])
    shape = () if dims == (0,) and len(content) == size else dims  # MindSpore writes a scalar's dims as [0]
    if count(shape) * size != len(content):
        raise _Damaged(
            f"has {len(content)} bytes for tensor {quoted(tag)} of shape {list(shape)[:MAX_DIMENSIONS]} ({kind})"
        )
    return decode(TENSOR_TYPES[kind], content).reshape(shape)


def _value(message: memoryview) -> tuple[str, str, tuple[int, ...], memoryview]:
    """Tag, type, dims and content of one ``Value``."""
    tag, tensor = None, None
    for number, value in _fields(message):
        if number == 1 and isinstance(value, memoryview):
            tag = _text(value)
        elif number == 2 and isinstance(value, memoryview):
            tensor = value
        elif number == 3:
            raise _Damaged("holds a hash table (MapTensor), which no RVRT model has")
    if tag is None or tensor is None:
        raise _Damaged("has a tensor without a name or without content")
    dims: list[int] = []
    kind, content = "", memoryview(b"")
    for number, value in _fields(tensor):
        if number == 1 and isinstance(value, memoryview):  # packed, as newer protobuf writers may do
            position = 0
            while position < len(value):
                size, position = _varint(value, position)
                dims.append(size)
        elif number == 1 and isinstance(value, int):
            dims.append(value)
        elif number == 2 and isinstance(value, memoryview):
            kind = _text(value)
        elif number == 3 and isinstance(value, memoryview):
            content = value
    return tag, kind, tuple(size - (1 << 64) if size >> 63 else size for size in dims), content


def _text(value: memoryview) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise _Damaged("has a name that is not UTF-8 (it may be encrypted)") from error


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of a protobuf message (https://protobuf.dev/programming-guides/encoding/)."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        if key & 7 == _VARINT:
            number, position = _varint(message, position)
            yield key >> 3, number
        elif key & 7 == _BYTES:
            size, position = _varint(message, position)
            if position + size > len(message):
                raise _Damaged("ends inside a tensor (it is truncated)")
            yield key >> 3, message[position : position + size]
            position += size
        else:
            raise _Damaged("has a field of a kind that checkpoints do not use (it may be encrypted)")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(message):
            raise _Damaged("ends inside a number (it is truncated)")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), position
    raise _Damaged("has a number of more than 64 bits")
