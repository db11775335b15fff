"""A weight file as it lies on disk, before its names are understood: plain arrays and the format's own metadata."""

from __future__ import annotations

import math
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvrt_cli.errors import WeightsError

MAX_FILE_BYTES = 1 << 30
"""Largest weight file that is read. The published ones have 34 to 55 MB, a training checkpoint stays below 200 MB."""

MAX_DIMENSIONS = 8

NUMPY_TYPES: dict[str, str] = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
    "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
"""Element types by their names in safetensors, as numpy type codes. BF16 is the upper half of a float32."""


@dataclass(frozen=True)
class RawFile:
    """The content of a weight file.

    ``format``: in words, e.g. "PyTorch zip". ``tensors``: floating-point ones as float32, integers as they are, by the
    file's own names. ``metadata``: the strings that the format stores beside them.
    """

    format: str
    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]


def read_bytes(path: Path) -> bytes:
    """All bytes of a regular file of at most :data:`MAX_FILE_BYTES`.

    Errors: :class:`WeightsError` when it is missing, no regular file (a pipe would block for ever) or too large.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise WeightsError(f"{path} is not a regular file; give a weight file.")
        if status.st_size > MAX_FILE_BYTES:
            raise WeightsError(
                f"{path} has {status.st_size} bytes, more than any RVRT weight file; give a .safetensors, .pth or .ckpt file."
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise WeightsError(
            f"The weight file {path} does not exist; check the path or run `rvrt weights list`."
        ) from error
    except OSError as error:
        raise WeightsError(f"The weight file {path} cannot be read: {error.strerror or error}.") from error


def item_size(kind: str) -> int:
    """Bytes per element of a type in :data:`NUMPY_TYPES`."""
    return np.dtype(NUMPY_TYPES[kind]).itemsize


def decode(kind: str, data: bytes | memoryview, big_endian: bool = False) -> np.ndarray:
    """The elements in ``data`` as a new 1-d array: floating-point ones as float32, others in their own type."""
    array = np.frombuffer(data, np.dtype((">" if big_endian else "<") + NUMPY_TYPES[kind]))
    if kind == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    if kind.startswith("F"):
        with np.errstate(
            over="ignore"
        ):  # a float64 beyond float32 becomes infinite and is refused by the caller
            return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="))


def count(shape: tuple[int, ...]) -> int:
    """Elements of a tensor; -1 for a shape that no tensor in a weight file has.

    Too many axes, a negative size, or sizes whose product is beyond any file even without those that are zero (numpy
    refuses to make such an array, empty or not).
    """
    if (
        len(shape) > MAX_DIMENSIONS
        or min(shape, default=0) < 0
        or math.prod(max(size, 1) for size in shape) > MAX_FILE_BYTES
    ):
        return -1
    return math.prod(shape)


def quoted(name: object) -> str:
    """A name from a file for a message: printable, and not longer than a line."""
    return repr(str(name)[:100])
