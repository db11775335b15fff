"""The errors a user can meet, each with its own exit code.

Core code raises a subclass of :class:`RvrtError` whose message is one sentence: what is wrong and what to do.
``rvrt_cli.cli.app.main`` is the only place that catches them.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the ``rvrt`` command; the README lists them."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    INPUT = 3
    OUTPUT = 4
    DEVICE = 5
    WEIGHTS = 6
    MEMORY = 7
    DISK_FULL = 8
    VERIFY = 9
    NETWORK = 10
    PARTIAL = 11
    NON_FINITE = 12
    INTERRUPTED = 130


class RvrtError(Exception):
    """Base of every error that is explained to the user in one sentence."""

    exit_code: ExitCode = ExitCode.UNEXPECTED


class UsageError(RvrtError):
    """Options that contradict each other or are out of range."""

    exit_code = ExitCode.USAGE


class InputError(RvrtError):
    """An input that is missing, unreadable, damaged or not what the command needs."""

    exit_code = ExitCode.INPUT


class OutputError(RvrtError):
    """An output that cannot be written: it exists, its folder is missing, its format cannot hold the result."""

    exit_code = ExitCode.OUTPUT


class DeviceError(RvrtError):
    """A device, backend or package that was asked for and is absent or does not work."""

    exit_code = ExitCode.DEVICE


class WeightsError(RvrtError):
    """Weights that are missing, damaged, hostile or made for another architecture."""

    exit_code = ExitCode.WEIGHTS


class OutOfMemoryError_(RvrtError):  # noqa: N801, N818 - MemoryError and torch's OutOfMemoryError exist; the underscore keeps them apart
    """Memory ran out and no smaller piece of work is possible."""

    exit_code = ExitCode.MEMORY


class DiskFullError(RvrtError):
    """No space is left where the result or its work directory is written."""

    exit_code = ExitCode.DISK_FULL


class VerifyError(RvrtError):
    """The tool's own output differs from what it promised."""

    exit_code = ExitCode.VERIFY


class NetworkError(RvrtError):
    """A download failed; no half file is in the cache under its name, what had arrived is kept aside so that the next one continues."""

    exit_code = ExitCode.NETWORK


class PartialError(RvrtError):
    """A batch was finished, but some items in it failed and are named."""

    exit_code = ExitCode.PARTIAL


class NonFiniteError(RvrtError):
    """A loss, gradient or output is NaN or infinite."""

    exit_code = ExitCode.NON_FINITE


class InterruptedRun(RvrtError):  # noqa: N818 - it is the user's wish, not an error
    """The user interrupted the run; the message says how to continue."""

    exit_code = ExitCode.INTERRUPTED
