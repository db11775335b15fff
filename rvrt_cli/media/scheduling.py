"""Keeps the process an ordinary one for the operating system."""

from __future__ import annotations

import os
import sys


def keep_ordinary_scheduling() -> None:
    """Give every thread of this process the ordinary scheduling policy back (Linux; nothing to do elsewhere).

    Run as root, SVT-AV1 makes the whole process real-time (SCHED_FIFO, priority 99) when an encoder is opened. The model,
    children and everything else on the machine would then starve or, where a library spins, stand still.
    """
    if sys.platform != "linux":
        return
    for thread in os.listdir("/proc/self/task"):
        try:
            if os.sched_getscheduler(int(thread)) != os.SCHED_OTHER:
                os.sched_setscheduler(int(thread), os.SCHED_OTHER, os.sched_param(0))
        except ProcessLookupError:
            continue  # the thread has ended meanwhile
