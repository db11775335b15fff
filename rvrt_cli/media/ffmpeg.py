"""The ffmpeg binary that imageio-ffmpeg ships: where it is and how it is run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rvrt_cli.errors import DeviceError, DiskFullError, OutputError

STDERR_LINES_KEPT = 12
# Of ffmpeg 9.0, which imageio-ffmpeg ships since its version 0.8. Older ones move chapters and sound into Matroska by what a
# decoder needs to warm up, count frames shown for long otherwise, and crash on MPEG sound from transport streams into MP4.
OLDEST_LIBAVUTIL = 61
# A group of its own keeps the terminal's Ctrl+C from ffmpeg, which would end half done; who started it decides.
OWN_GROUP: dict[str, Any] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    if os.name == "nt"
    else {"start_new_session": True}
)


@lru_cache(maxsize=1)
def ffmpeg_executable() -> str:
    """Path of the ffmpeg binary (``IMAGEIO_FFMPEG_EXE`` overrides it); :class:`DeviceError` when there is none that will do."""
    import imageio_ffmpeg

    try:
        path = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise DeviceError(
            "No ffmpeg binary was found; reinstall imageio-ffmpeg or set IMAGEIO_FFMPEG_EXE to an ffmpeg of version 9.0 or newer."
        ) from error
    _check_version(path)
    return path


def _check_version(path: str) -> None:
    """Refuse an ffmpeg that lacks options used here, or writes other files; :class:`DeviceError` says which it is."""
    try:
        done = subprocess.run([path, "-version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise DeviceError(
            f"{path} cannot be run as ffmpeg ({error.strerror}); leave IMAGEIO_FFMPEG_EXE unset."
        ) from error
    said = done.stdout.decode("utf-8", "replace")
    library = re.search(r"^libavutil\s+(\d+)\.", said, re.MULTILINE)  # builds without a release have it, too
    if library is None:
        raise DeviceError(f"{path} is not an ffmpeg that states its version; leave IMAGEIO_FFMPEG_EXE unset.")
    if int(library[1]) < OLDEST_LIBAVUTIL:
        version = re.match(r"ffmpeg version (\S+)", said)
        raise DeviceError(
            f"{path} is ffmpeg {version[1] if version else 'of an unknown version'}, rvrt needs 9.0 or newer: leave "
            "IMAGEIO_FFMPEG_EXE unset to use the one that is installed with it."
        )


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
