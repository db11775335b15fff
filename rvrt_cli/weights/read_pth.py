"""Read PyTorch's ``.pth``: the zip archive of version 1.6 and later, and the legacy sequence of pickles before it.

Layouts: ``torch/serialization.py`` (``_save`` and ``_legacy_save``). The pickles are read by
:mod:`rvrt_cli.weights.pickle_tensors`, which executes nothing.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli.errors import WeightsError
from rvrt_cli.weights.pickle_tensors import Refused, Storage, TensorView, load
from rvrt_cli.weights.raw import MAX_FILE_BYTES, RawFile, count, decode, item_size, quoted, read_bytes

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
"""First pickled value of a legacy file."""

STATE_KEYS = ("params_ema", "params", "state_dict")
"""Where a state dict lies in files that hold more than one, best first; the official RVRT files use ``params``."""

MAX_ZIP_ENTRIES = 20_000


def read_pth(path: Path) -> RawFile:
    """Read a PyTorch file without PyTorch.

    Errors: :class:`WeightsError` for anything but plain tensors in dictionaries: other pickled names are refused by name.
    """
    return parse_pth(path, read_bytes(path))


def parse_pth(path: Path, data: bytes) -> RawFile:
    """Read the bytes of a PyTorch file; ``path`` is for messages."""
    try:
        if data.startswith(ZIP_MAGIC):
            return _parse_zip(data)
        return _parse_legacy(data)
    except Refused as refusal:
        raise WeightsError(f"The weight file {path} {refusal}; it was not loaded.") from refusal


def _parse_zip(data: bytes) -> RawFile:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = _checked_entries(archive, len(data))
        pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused("is a zip archive, but not one that PyTorch writes for weights")
        folder = pickles[0].removesuffix("data.pkl")
        big_endian = folder + "byteorder" in entries and archive.read(folder + "byteorder").strip() == b"big"
        value, _ = load(archive.read(pickles[0]))

        def storage_bytes(storage: Storage) -> bytes:
            name = f"{folder}data/{storage.key}"
            if name not in entries:
                raise Refused(f"lacks the storage {quoted(storage.key)} of a tensor; it is damaged")
            return archive.read(name)

        return _collect("PyTorch zip", value, storage_bytes, big_endian)
    except Refused:
        raise
    except Exception as error:
        # zipfile raises a dozen kinds of errors on damaged archives: BadZipFile, EOFError, struct.error, ValueError ...
        raise Refused(f"is a damaged or truncated zip archive ({error or type(error).__name__})") from error


def _checked_entries(archive: zipfile.ZipFile, size: int) -> set[str]:
    """Names in the archive, after refusing what PyTorch never writes and what could unpack to more than the file."""
    entries = archive.infolist()
    names = {entry.filename for entry in entries}
    if len(entries) > MAX_ZIP_ENTRIES or len(names) != len(entries):
        raise Refused(f"is a zip archive with {len(entries)} entries, too many or with repeated names")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise Refused("is a compressed or encrypted zip archive; PyTorch stores weights uncompressed")
    if sum(entry.file_size for entry in entries) > size:
        raise Refused("is a zip archive that claims to unpack to more than its own size")
    return names


def _parse_legacy(data: bytes) -> RawFile:
    """Magic number, protocol version, system description, the value, storage keys, then each storage's elements."""
    magic, position = load(data)
    if magic != LEGACY_MAGIC_NUMBER or isinstance(magic, bool):
        raise Refused("is a pickle, but not a PyTorch file")
    _, position = load(data, position)
    system, position = load(data, position)
    big_endian = isinstance(system, dict) and system.get("little_endian") is False
    value, position = load(data, position)
    keys, position = load(data, position)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Refused("has no list of storages; it is damaged")
    kinds = {view.storage.key: view.storage.kind for view in _views(value)}
    view = memoryview(data)
    storages: dict[str, memoryview] = {}
    for key in keys:
        if position + 8 > len(data):
            raise Refused("ends before its last storage; it is truncated")
        (elements,) = struct.unpack((">" if big_endian else "<") + "q", view[position : position + 8])
        if key not in kinds:
            raise Refused(f"holds the storage {quoted(key)}, whose type is not known; it is damaged")
        end = position + 8 + elements * item_size(kinds[key])
        if elements < 0 or end > len(data):
            raise Refused("ends before its last storage; it is truncated")
        storages[key] = view[position + 8 : end]
        position = end

    def storage_bytes(storage: Storage) -> memoryview:
        if storage.key not in storages:
            raise Refused(f"lacks the storage {quoted(storage.key)} of a tensor; it is damaged")
        return storages[storage.key]

    return _collect("PyTorch legacy", value, storage_bytes, big_endian)


def _views(value: Any) -> list[TensorView]:
    """All tensors in nested dictionaries, lists and tuples, which may refer to themselves."""
    found: list[TensorView] = []
    seen: set[int] = set()
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, TensorView):
            found.append(item)
        elif isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            todo.extend(item.values() if isinstance(item, dict) else item)
    return found


def _collect(
    form: str, value: Any, storage_bytes: Callable[[Storage], bytes | memoryview], big_endian: bool
) -> RawFile:
    """The tensors of the state dict in ``value``."""
    if not isinstance(value, dict):
        raise Refused(f"holds a {type(value).__name__} instead of a dictionary of tensors")
    metadata = {}
    state = value
    for key in STATE_KEYS:
        if isinstance(value.get(key), dict):
            state = value[key]
            metadata["state_key"] = key
            break
    tensors: dict[str, np.ndarray] = {}
    decoded: dict[Storage, np.ndarray] = {}
    total = 0
    for name, view in state.items():
        if not isinstance(name, str) or not isinstance(view, TensorView):
            raise Refused(f"has the entry {quoted(name)}, which is no tensor")
        elements = count(view.shape)
        total += elements
        if elements < 0 or total * 4 > MAX_FILE_BYTES:
            raise Refused("describes tensors that are larger than any RVRT model")
        storage = view.storage
        if storage not in decoded:
            raw = storage_bytes(storage)
            if len(raw) != storage.count * item_size(storage.kind):
                raise Refused(
                    f"has {len(raw)} bytes for tensor {quoted(name)}, which needs {storage.count} elements; it is damaged"
                )
            decoded[storage] = decode(storage.kind, raw, big_endian)
        tensors[name] = _strided(name, view, decoded[storage])
    return RawFile(form, tensors, metadata)


def _strided(name: str, view: TensorView, elements: np.ndarray) -> np.ndarray:
    """The view of the storage as an array of its own; every element it names must exist."""
    needed = count(view.shape)
    last = view.offset + sum((size - 1) * step for size, step in zip(view.shape, view.stride, strict=True))
    if needed > elements.size or (needed and last >= elements.size):
        raise Refused(f"describes tensor {quoted(name)} beyond the elements that it stores; it is damaged")
    if needed == 0:
        return np.zeros(view.shape, elements.dtype)
    steps = tuple(step * elements.itemsize for step in view.stride)
    return np.array(np.lib.stride_tricks.as_strided(elements[view.offset :], view.shape, steps), order="C")
