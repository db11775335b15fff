"""How much memory there is, and how much this process took."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

MIB = 1 << 20


def total_memory() -> int:
    """Bytes of memory this process may use: the machine's, or the container's limit where it is smaller."""
    import psutil

    total = psutil.virtual_memory().total
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = Path(name).read_text().strip()
        except OSError:
            continue
        if limit.isdigit():
            total = min(total, int(limit))
    return total


def peak_rss_mib() -> float:
    """Peak resident memory of this process so far, in MiB."""
    if os.name == "nt":
        import psutil

        return psutil.Process().memory_info().peak_wset / MIB  # type: ignore[attr-defined,unused-ignore]  # Windows only
    # Linux counts in ru_maxrss what the process had before its exec, which may be the size of a large parent.
    with suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def return_freed() -> None:
    """Give memory that was freed but is still held by the C library back to the system, where that can be asked for (glibc)."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
