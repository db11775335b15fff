"""Write weight files in each published format, byte by byte, without PyTorch or MindSpore."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from rvrt_cli.model.config import PRESETS, ModelConfig
from rvrt_cli.weights.names import MINDSPORE, mindspore_arithmetic, published_tensors

STORAGE_NAMES = {
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "float64": "DoubleStorage",
}
MINDSPORE_NAMES = {"float32": "Float32", "float16": "Float16", "int64": "Int64", "float64": "Float64"}
LEGACY_HEAD = (
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    + b"\x80\x02M\xe9\x03."
    + b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."
)


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def sizes(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(number(value) for value in values) + b"t"


def name(module: str, attribute: str) -> bytes:
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


ORDERED = name("collections", "OrderedDict") + b")R"


def tensor(
    array: np.ndarray,
    key: str,
    *,
    legacy: bool = False,
    shape: tuple[int, ...] | None = None,
    storage: int | None = None,
) -> bytes:
    """The pickle of a tensor whose elements lie in storage ``key``; ``shape``/``storage`` tell lies."""
    shape = array.shape if shape is None else shape
    strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    count = array.size if storage is None else storage
    place = (
        b"("
        + text("storage")
        + name("torch", STORAGE_NAMES[array.dtype.name])
        + text(key)
        + text("cpu")
        + number(count)
    )
    place += b"N" if legacy else b""
    arguments = b"(" + place + b"tQ" + number(0) + sizes(shape) + sizes(strides) + b"\x89" + ORDERED + b"t"
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def state_dict(entries: dict[str, bytes], key: str | None = "params") -> bytes:
    """The pickle of ``{key: OrderedDict(entries)}``, or of the bare OrderedDict."""
    items = ORDERED + b"(" + b"".join(text(n) + value for n, value in entries.items()) + b"u"
    # PyTorch attaches the layers' versions to the dictionary.
    items += b"}" + text("_metadata") + ORDERED + b"sb"
    return b"\x80\x02" + (b"}" + text(key) + items + b"s" if key else items) + b"."


def zip_file(
    pickle: bytes,
    storages: dict[str, bytes],
    compression: int = zipfile.ZIP_STORED,
    extra: dict[str, bytes] | None = None,
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle)
        for entry, data in (extra or {}).items():
            archive.writestr(entry, data)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return buffer.getvalue()


def pth_zip(tensors: dict[str, np.ndarray], key: str | None = "params") -> bytes:
    entries = {n: tensor(array, str(i)) for i, (n, array) in enumerate(tensors.items())}
    return zip_file(
        state_dict(entries, key), {str(i): array.tobytes() for i, array in enumerate(tensors.values())}
    )


def pth_legacy(tensors: dict[str, np.ndarray], key: str | None = "params") -> bytes:
    entries = {n: tensor(array, str(i), legacy=True) for i, (n, array) in enumerate(tensors.items())}
    keys = b"\x80\x02](" + b"".join(text(str(i)) for i in range(len(tensors))) + b"e."
    body = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in tensors.values())
    return LEGACY_HEAD + state_dict(entries, key) + keys + body


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(data)) + data


def ckpt_value(tag: str, kind: str, dims: tuple[int, ...], content: bytes) -> bytes:
    message = b"".join(b"\x08" + varint(size) for size in dims) + field(2, kind.encode()) + field(3, content)
    return field(1, field(1, tag.encode()) + field(2, message))


def ckpt(tensors: dict[str, np.ndarray]) -> bytes:
    return b"".join(
        ckpt_value(n, MINDSPORE_NAMES[array.dtype.name], array.shape or (0,), array.tobytes())
        for n, array in tensors.items()
    )


WRITERS = {"zip": pth_zip, "legacy": pth_legacy, "ckpt": ckpt}


def random_tensors(config: ModelConfig, scheme: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under published names and in published shapes; constants have their true values."""
    rng = np.random.default_rng(seed)
    return {
        n: entry.values if entry.values is not None else rng.standard_normal(entry.shape, np.float32)
        for n, entry in published_tensors(config, scheme).items()
    }


def small(preset: str, scheme: str, embed_dim: int = 12) -> ModelConfig:
    """A published preset made narrow, so that tests are quick."""
    changes = mindspore_arithmetic() if scheme == MINDSPORE else {}
    return replace(PRESETS[preset], embed_dim=embed_dim, **changes)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
