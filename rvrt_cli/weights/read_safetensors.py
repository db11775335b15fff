"""Read ``.safetensors`` with its own package, which checks the header against the file; bfloat16 has no numpy type."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from rvrt_cli.errors import WeightsError
from rvrt_cli.weights.raw import NUMPY_TYPES, RawFile, count, decode, quoted, read_bytes

MAX_REASON = 200


def read_safetensors(path: Path) -> RawFile:
    """Read a ``.safetensors`` file. Errors: :class:`WeightsError` where it is damaged or not one."""
    return parse_safetensors(path, read_bytes(path))


def parse_safetensors(path: Path, data: bytes) -> RawFile:
    """Read the bytes of a ``.safetensors`` file; ``path`` is for messages."""
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(data)
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing: ")[:MAX_REASON]
        raise WeightsError(
            f"{path} is not a whole safetensors file ({reason}); it is damaged or truncated, download it again."
        ) from error
    tensors = {}
    for name, entry in entries:
        kind, shape = entry["dtype"], tuple(entry["shape"])
        if kind not in NUMPY_TYPES or count(shape) < 0:
            raise WeightsError(
                f"Tensor {quoted(name)} of {path} has a type or shape that no RVRT weight file has ({kind})."
            )
        tensors[name] = decode(kind, entry["data"]).reshape(shape)
    # The package checks the strings beside the tensors and does not give them out.
    (length,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    return RawFile("safetensors", tensors, metadata)
