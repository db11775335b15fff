"""Turn everything the FFmpeg libraries raise on hostile files into one InputError."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from rvrt_cli.errors import InputError, OutOfMemoryError_, RvrtError

# PyAV raises UnicodeDecodeError on metadata and log lines that are not UTF-8, and ValueError on enum values that are
# newer than itself, besides its own errors.
LIBRARY_ERRORS = (av.error.FFmpegError, UnicodeDecodeError, ValueError, EOFError, IndexError, OverflowError)


def unreadable(error: OSError, path: Path) -> InputError:
    """The sentence for what the operating system says of ``path``, or of the file in it that the error names."""
    name = error.filename if isinstance(error.filename, str) else path
    return InputError(f"{name} cannot be read ({error.strerror}); check its permissions and the disk.")


@contextmanager
def translate_read_errors(path: Path) -> Iterator[None]:
    """Reword the operating system's refusals met while looking at ``path``."""
    try:
        yield
    except OSError as error:
        raise unreadable(error, path) from error


@contextmanager
def translate_av_errors(path: Path) -> Iterator[None]:
    """Reword library errors met while reading ``path``."""
    try:
        yield
    except RvrtError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError_(
            f"Memory ran out while reading {path}; its pictures are too large for this machine."
        ) from error
    except LIBRARY_ERRORS as error:
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
            raise unreadable(error, path) from error
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"{path} is not a readable video ({reason}); it is damaged or of a kind FFmpeg does not know."
        ) from error
    except OSError as error:
        raise unreadable(error, path) from error
