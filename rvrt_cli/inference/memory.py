"""Recognises that memory ran out, in the words of each engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rvrt_cli.errors import DeviceError, OutOfMemoryError_, RvrtError

SIGNS = (
    "out of memory", "out_of_memory", "out of host memory", "bad_alloc", "bad alloc", "cannot allocate", "can't allocate",
    "failed to allocate", "not enough memory", "memory allocation", "could not allocate", "out_of_resources",
    "unable to allocate", "alloc failed", "insufficient memory", "mmap failed", "array_new_length",
)  # fmt: skip
"""What OpenVINO, ONNX Runtime, PyTorch, MindSpore and their drivers write when an allocation fails, in lower case."""


def memory_ran_out(error: BaseException) -> bool:
    """Whether an engine's error means that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    words = f"{type(error).__name__} {error}".lower()
    return "outofmemory" in words or any(sign in words for sign in SIGNS)


@contextmanager
def translate_engine_errors(engine: str) -> Iterator[None]:
    """Turn an engine's own error into ours: :class:`OutOfMemoryError_` or :class:`DeviceError`."""
    try:
        yield
    except RvrtError:
        raise
    except ImportError as error:
        raise DeviceError(
            f"{engine} is not installed or cannot be loaded ({error}); install it or choose another --backend."
        ) from error
    except (TypeError, AttributeError, LookupError, AssertionError):
        raise  # a mistake of this program, which its traceback explains better
    except Exception as error:
        if memory_ran_out(error):
            raise OutOfMemoryError_(
                f"{engine} ran out of memory; use a smaller --tile or --window."
            ) from error
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise DeviceError(f"{engine} failed: {first}; try another --backend or --device.") from error
