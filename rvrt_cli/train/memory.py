"""How much memory this process has used, and what it means when there is no more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rvrt_cli.errors import OutOfMemoryError_
from rvrt_cli.runtime.memory import memory_ran_out

SMALLER_STEP = (
    "The device has too little memory for this batch; use --accumulate 2, --recompute or a smaller --patch."
)
SMALLER_CLIP = (
    "The device has too little memory for a validation clip; use a smaller --val-frames or smaller clips."
)


def peak_process_mib() -> float:
    """Largest resident memory of this process so far."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return getattr(psutil.Process().memory_info(), "peak_wset", 0) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


@contextmanager
def explained_shortage(advice: str) -> Iterator[None]:
    """Turn a framework's words for "out of memory" into :class:`OutOfMemoryError_` with ``advice``."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if memory_ran_out(error):
            raise OutOfMemoryError_(advice) from error
        raise
