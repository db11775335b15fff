"""What to do when a framework finds no more memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rvrt_cli.errors import OutOfMemoryError_
from rvrt_cli.inference.memory import memory_ran_out

SMALLER_STEP = (
    "The device has too little memory for this batch; use --accumulate 2, --recompute or a smaller --patch."
)
SMALLER_CLIP = (
    "The device has too little memory for a validation clip; use a smaller --val-frames or smaller clips."
)


@contextmanager
def translate_shortage(advice: str) -> Iterator[None]:
    """Turn a framework's words for "out of memory" into :class:`OutOfMemoryError_` with ``advice``."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if memory_ran_out(error):
            raise OutOfMemoryError_(advice) from error
        raise
