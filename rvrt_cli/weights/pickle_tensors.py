"""A reader of the one kind of pickle that PyTorch writes for a state dict, without Python's pickle machinery.

Nothing is ever imported or called: the names that PyTorch writes (:data:`STORAGES`, :data:`CALLS`) are understood here as
data, and every other name or instruction is refused. The instruction set is documented in the standard library's
``pickletools``; the way PyTorch uses it in ``torch/serialization.py`` (``persistent_id``) and ``torch/_utils.py``.

Not ``pickle.Unpickler`` with ``find_class`` and ``persistent_load``: that guards what is called, not what is built. Eight bytes
that store an entry under a large number take gigabytes of its memory, 500 bytes of nested tuples as a key are hashed for ever,
and BUILD sets attributes on whatever lies on the stack (CPython 3.11).
"""

from __future__ import annotations

import pickletools
import struct
from dataclasses import dataclass
from typing import Any

STORAGES: dict[str, str] = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "LongStorage": "I64",
    "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL",
}  # fmt: skip
"""Storage classes of module ``torch`` and their element types as named in :data:`rvrt_cli.weights.raw.NUMPY_TYPES`."""

CALLS = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}
"""The functions whose calls are understood."""

INSTRUCTIONS = {opcode.code: opcode.name for opcode in pickletools.opcodes}

MAX_PICKLE_BYTES = 4 << 20
"""The published files have 0.1 MB of pickle; this bounds time and memory of the interpreter below."""

MAX_NAME_BYTES = 256


class Refused(Exception):  # noqa: N818 - it never leaves this package; the reader turns it into a WeightsError
    """Why a pickle is not read, as the end of a sentence about the file."""


@dataclass(frozen=True)
class Global:
    """A name that the pickle refers to."""

    module: str
    name: str


@dataclass(frozen=True)
class Storage:
    """A run of elements that lies elsewhere in the file under ``key``."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class TensorView:
    """A strided view of a storage; offset and strides in elements, not yet checked."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Mark:
    """Where a group of stack entries begins."""


_MARK = _Mark()


class OrderedTable(dict[Any, Any]):
    """A dictionary that the pickle made as an ``OrderedDict``; only these may carry (ignored) attributes."""


def load(data: bytes | memoryview, start: int = 0) -> tuple[Any, int]:
    """Read one pickle that begins at ``start``; → (its value, the position after it).

    Values are dicts with str or int keys, lists, tuples, numbers, strings, None, :class:`TensorView` and :class:`Storage`.
    Errors: :class:`Refused`.
    """
    return _Interpreter(data, start).run()


class _Interpreter:
    def __init__(self, data: bytes | memoryview, start: int) -> None:
        self.data = memoryview(data)
        self.position = start
        self.limit = min(len(self.data), start + MAX_PICKLE_BYTES)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> tuple[Any, int]:
        while True:
            code = chr(self.take(1)[0])
            if code == ".":
                value = self.pop()
                if self.stack:
                    raise Refused("holds a malformed pickle (values are left over)")
                return value, self.position
            handler = _HANDLERS.get(code)
            if handler is None:
                raise Refused(
                    f"uses the pickle instruction {INSTRUCTIONS.get(code, hex(ord(code)))}, which no weight file needs"
                )
            handler(self)

    def take(self, size: int) -> memoryview:
        end = self.position + size
        if end > self.limit:
            if self.limit < len(self.data):
                raise Refused(f"holds a pickle of more than {MAX_PICKLE_BYTES} bytes")
            raise Refused("ends inside its pickle; it is truncated")
        chunk = self.data[self.position : end]
        self.position = end
        return chunk

    def number(self, layout: str) -> int:
        return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])

    def text(self, size: int) -> str:
        try:
            return str(self.take(size), "utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise Refused("holds a malformed pickle (a string is not UTF-8)") from error

    def line(self) -> str:
        end = self.position
        while bytes(self.take(1)) != b"\n":
            if self.position - end > MAX_NAME_BYTES:
                raise Refused("holds a malformed pickle (a name without end)")
        return str(self.data[end : self.position - 1], "utf-8", "replace")

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise Refused("holds a malformed pickle (a value is missing)")
        return self.stack.pop()

    def pop_group(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                group = self.stack[index + 1 :]
                del self.stack[index:]
                return group
        raise Refused("holds a malformed pickle (a mark is missing)")

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise Refused(f"holds a malformed pickle (a {kind.__name__} is missing)")
        return self.stack[-1]

    def push_tuple(self, size: int) -> None:
        items = [self.pop() for _ in range(size)]
        self.stack.append(tuple(reversed(items)))

    def remember(self, index: int) -> None:
        if not self.stack or self.stack[-1] is _MARK:
            raise Refused("holds a malformed pickle (nothing to remember)")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise Refused("holds a malformed pickle (it recalls what it never stored)")
        self.stack.append(self.memo[index])

    def set_items(self, pairs: list[Any]) -> None:
        table = self.top(dict)
        if len(pairs) % 2:
            raise Refused("holds a malformed pickle (a value is missing)")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            # Tuples of tuples of ... are cheap to write and endless to hash; no state dict has them as keys.
            if not isinstance(key, str | int):
                raise Refused(f"has a dictionary key of type {type(key).__name__}")
            table[key] = value

    def refer(self, module: str, name: str) -> None:
        if not ((module, name) in CALLS or (module == "torch" and name in STORAGES)):
            raise Refused(
                f"asks Python to load {f'{module}.{name}'!r}, which is not part of a weight file; nothing was executed"
            )
        self.stack.append(Global(module, name))

    def refer_from_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Refused("holds a malformed pickle (a name is not a string)")
        self.refer(module[:MAX_NAME_BYTES], name[:MAX_NAME_BYTES])

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise Refused("holds a malformed pickle (it calls what is no function)")
        self.stack.append(_understand(function, arguments))

    def build(self) -> None:
        """Attributes of an object: ``_metadata`` of a state dict, which holds versions of layers and is not needed."""
        self.pop()
        self.top(OrderedTable)

    def persistent(self) -> None:
        """The place of a storage: ``("storage", type, key, device, elements[, view])``."""
        identity = self.pop()
        if (
            not isinstance(identity, tuple)
            or len(identity) not in (5, 6)
            or identity[0] != "storage"
            or not isinstance(identity[1], Global)
            or identity[1].name not in STORAGES
            or not isinstance(identity[2], str)
            or not _is_size(identity[4])
        ):
            raise Refused("holds a malformed pickle (a storage is not described as PyTorch does)")
        if len(identity) == 6 and identity[5] is not None:
            raise Refused(
                "has views of storages as PyTorch wrote them before version 0.4; save it with a newer PyTorch"
            )
        self.stack.append(Storage(STORAGES[identity[1].name], identity[2], identity[4]))


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _understand(function: Global, arguments: tuple[Any, ...]) -> Any:
    """The value of a call that PyTorch writes."""
    if function.name == "OrderedDict" and arguments == ():
        return OrderedTable()
    if function.name == "_rebuild_parameter" and len(arguments) == 3 and isinstance(arguments[0], TensorView):
        return arguments[0]
    if function.name == "_rebuild_tensor_v2" and len(arguments) in (6, 7):
        storage, offset, shape, stride = arguments[:4]
        sizes = [shape, stride]
        if (
            isinstance(storage, Storage)
            and _is_size(offset)
            and all(isinstance(size, tuple) and all(map(_is_size, size)) for size in sizes)
            and len(shape) == len(stride)
        ):
            return TensorView(storage, offset, shape, stride)
    raise Refused(f"calls {function.module}.{function.name} with arguments that PyTorch does not write")


def _long(machine: _Interpreter) -> None:
    size = machine.number("<B")
    machine.stack.append(int.from_bytes(machine.take(size), "little", signed=True))


_HANDLERS: dict[str, Any] = {
    "\x80": lambda m: m.take(1),  # PROTO
    "\x95": lambda m: m.take(8),  # FRAME: a hint for buffering
    "}": lambda m: m.stack.append({}),
    "]": lambda m: m.stack.append([]),
    ")": lambda m: m.stack.append(()),
    "(": lambda m: m.stack.append(_MARK),
    "t": lambda m: m.stack.append(tuple(m.pop_group())),
    "\x85": lambda m: m.push_tuple(1),
    "\x86": lambda m: m.push_tuple(2),
    "\x87": lambda m: m.push_tuple(3),
    "N": lambda m: m.stack.append(None),
    "\x88": lambda m: m.stack.append(True),
    "\x89": lambda m: m.stack.append(False),
    "J": lambda m: m.stack.append(m.number("<i")),
    "K": lambda m: m.stack.append(m.number("<B")),
    "M": lambda m: m.stack.append(m.number("<H")),
    "\x8a": _long,
    "G": lambda m: m.stack.append(struct.unpack(">d", m.take(8))[0]),
    "X": lambda m: m.stack.append(m.text(m.number("<I"))),
    "\x8c": lambda m: m.stack.append(m.text(m.number("<B"))),
    "q": lambda m: m.remember(m.number("<B")),
    "r": lambda m: m.remember(m.number("<I")),
    "\x94": lambda m: m.remember(len(m.memo)),
    "h": lambda m: m.recall(m.number("<B")),
    "j": lambda m: m.recall(m.number("<I")),
    "c": lambda m: m.refer(m.line(), m.line()),
    "\x93": lambda m: m.refer_from_stack(),
    "R": lambda m: m.call(),
    "b": lambda m: m.build(),
    "Q": lambda m: m.persistent(),
    "s": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    "u": lambda m: m.set_items(m.pop_group()),
    "a": lambda m: (lambda item: m.top(list).append(item))(m.pop()),
    "e": lambda m: (lambda items: m.top(list).extend(items))(m.pop_group()),
}
"""The instructions that PyTorch's pickles are made of, by their byte."""
