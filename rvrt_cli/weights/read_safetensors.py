"""Read ``.safetensors``: an 8-byte length, a JSON header, the elements.

Written out here (format: https://huggingface.co/docs/safetensors) because every number in the header is checked before it is
used, and because bfloat16 has no numpy type.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli.errors import WeightsError
from rvrt_cli.weights.raw import NUMPY_TYPES, RawFile, count, decode, item_size, quoted, read_bytes

MAX_HEADER_BYTES = 8 << 20
"""Our headers have about 40 kB."""


def read_safetensors(path: Path) -> RawFile:
    """Read a ``.safetensors`` file.

    Errors: :class:`WeightsError` for a header that is too large, no JSON, or disagrees with the file's size.
    """
    return parse_safetensors(path, read_bytes(path))


def _header_length(path: Path, data: bytes) -> int:
    (length,) = struct.unpack("<Q", data[:8])
    if length > MAX_HEADER_BYTES:
        raise WeightsError(
            f"{path} claims a safetensors header of {length} bytes; no weight file has one, so it is not read."
        )
    return int(length)


def parse_safetensors(path: Path, data: bytes) -> RawFile:
    """Read the bytes of a ``.safetensors`` file; ``path`` is for messages."""
    if len(data) < 8:
        raise WeightsError(f"{path} is too short for a safetensors file; it is truncated, download it again.")
    start = 8 + _header_length(path, data)
    if start > len(data):
        raise WeightsError(f"{path} ends inside its safetensors header; it is truncated, download it again.")
    try:
        header = json.loads(data[8:start])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"The safetensors header of {path} is not JSON; the file is damaged.") from error
    if not isinstance(header, dict):
        raise WeightsError(f"The safetensors header of {path} is not a JSON object; the file is damaged.")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError(
            f"The safetensors metadata of {path} is not a table of strings; the file is damaged."
        )
    tensors: dict[str, np.ndarray] = {}
    body = memoryview(data)[start:]
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(item[1])):
        kind, shape, begin, stop = _entry(path, name, entry)
        # The format allows neither gaps nor overlaps, so a small file cannot grow into many large tensors.
        if begin != end or stop > len(body) or stop - begin != count(shape) * item_size(kind):
            raise WeightsError(
                f"Tensor {quoted(name)} of {path} does not lie in the file as its header says; the file is damaged."
            )
        tensors[name] = decode(kind, body[begin:stop]).reshape(shape)
        end = stop
    if end != len(body):
        raise WeightsError(
            f"{path} has {len(body) - end} bytes that belong to no tensor; the file is damaged."
        )
    return RawFile("safetensors", tensors, metadata)


def _begin(entry: Any) -> int:
    try:
        return int(entry["data_offsets"][0])
    except (TypeError, KeyError, IndexError, ValueError, OverflowError):
        return -1  # _entry refuses it by name


def _entry(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape and byte range of a tensor, each checked to be what the format says."""
    entry = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = entry.get("dtype"), _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if (
        not isinstance(kind, str)
        or kind not in NUMPY_TYPES
        or shape is None
        or count(shape) < 0
        or offsets is None
        or len(offsets) != 2
        or offsets[0] > offsets[1]
    ):
        raise WeightsError(
            f"The header entry of tensor {quoted(name)} in {path} is malformed or of an unknown type; the file is damaged."
        )
    return kind, shape, offsets[0], offsets[1]


def _sizes(value: Any) -> tuple[int, ...] | None:
    """A list of non-negative integers as a tuple, or None."""
    if isinstance(value, list) and all(type(size) is int and size >= 0 for size in value):
        return tuple(value)
    return None
