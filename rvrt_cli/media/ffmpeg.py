"""The ffmpeg binary that imageio-ffmpeg ships: where it is and how it is run."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rvrt_cli.errors import DeviceError, DiskFullError, OutputError

STDERR_LINES_KEPT = 12
# A group of its own keeps the terminal's Ctrl+C from ffmpeg, which would end half done; who started it decides.
OWN_GROUP: dict[str, Any] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    if os.name == "nt"
    else {"start_new_session": True}
)


@lru_cache(maxsize=1)
def ffmpeg_executable() -> str:
    """Path of the ffmpeg binary (``IMAGEIO_FFMPEG_EXE`` overrides it); :class:`DeviceError` when there is none."""
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise DeviceError(
            "No ffmpeg binary was found; reinstall imageio-ffmpeg or set IMAGEIO_FFMPEG_EXE to your ffmpeg."
        ) from error


def explain_ffmpeg_failure(
    stderr: str, doing: str, returncode: int | None = None
) -> OutputError | DiskFullError:
    """The error for a failed ffmpeg run; ``doing`` completes "ffmpeg failed while ..."; ``returncode`` as in Popen."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if any("No space left on device" in line for line in lines):
        return DiskFullError(
            f"The disk is full: ffmpeg failed while {doing}; free some space and run the same command again."
        )
    if returncode is not None and returncode < 0:
        # Another program, the system short of memory, or a limit (ulimit) ended it: it could not say anything.
        name = signal.Signals(-returncode).name if -returncode in set(signal.Signals) else "a signal"
        return OutputError(
            f"ffmpeg was ended from outside ({name}) while {doing}; look for a limit on memory or file size, then run the same "
            "command again."
        )
    said = " | ".join(lines[-STDERR_LINES_KEPT:]) or "nothing"
    return OutputError(f"ffmpeg failed while {doing}; it said: {said}")


def run_ffmpeg(arguments: Sequence[str], *, doing: str, timeout_s: float | None = None) -> str:
    """Run ffmpeg with ``arguments`` and return its stderr.

    Errors: :class:`OutputError` (or :class:`DiskFullError`) carrying the end of ffmpeg's stderr.
    """
    done = _finish(arguments, doing, timeout_s)
    stderr = done.stderr.decode("utf-8", "replace")
    if done.returncode != 0:
        raise explain_ffmpeg_failure(stderr, doing, done.returncode)
    return stderr


def _finish(
    arguments: Sequence[str], doing: str, timeout_s: float | None
) -> subprocess.CompletedProcess[bytes]:
    """Run ffmpeg to its end, whatever its exit code. Errors: :class:`OutputError` where it takes too long."""
    command = [ffmpeg_executable(), "-hide_banner", "-nostdin", *arguments]
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            **OWN_GROUP,
        )
    except subprocess.TimeoutExpired as error:
        raise OutputError(
            f"ffmpeg did not finish within {timeout_s:.0f} s while {doing}; the input is probably damaged."
        ) from error


def list_streams(path: Path, *, timeout_s: float = 60.0) -> str:
    """ffmpeg's own verbose description of a file, to check facts independently of PyAV. Errors: :class:`OutputError`."""
    arguments = ["-v", "verbose", "-protocol_whitelist", "file", "-i", f"file:{path}"]
    done = _finish(arguments, f"describing {path}", timeout_s)
    return done.stderr.decode("utf-8", "replace")
