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


@contextmanager
def reading(path: Path) -> Iterator[None]:
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
            raise InputError(
                f"{path} cannot be read ({error.strerror}); check its permissions and the disk."
            ) from error
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"{path} is not a readable video ({reason}); it is damaged or of a kind FFmpeg does not know."
        ) from error
