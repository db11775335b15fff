"""The ``rvrt`` command: its sub-commands and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import importlib
import io
import platform
import subprocess
import sys

import typer

from rvrt_cli.errors import ExitCode, RvrtError
from rvrt_cli.package import __version__
from rvrt_cli.system.standard_streams import drop, tolerate_lost_stderr

COMMANDS: tuple[str, ...] = (
    "upscale",
    "compare",
    "weights",
    "preprocess",
    "evaluate",
    "train",
    "doctor",
    "devices",
)
"""Modules of :mod:`rvrt_cli.cli` with a ``register(app)`` function, in the order of ``rvrt --help``."""

app = typer.Typer(
    name="rvrt",
    help="Upscale films 4x with the Recurrent Video Restoration Transformer; train and evaluate it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
debug_enabled = False


def engine_versions() -> dict[str, str]:
    """Engine → installed version, or "not installed"; read from package metadata, nothing is imported."""
    from rvrt_cli.system.hardware import ONNX_RUNTIME_PACKAGES, package_version

    engines = {
        "OpenVINO": ("openvino",),
        "ONNX Runtime": ONNX_RUNTIME_PACKAGES,
        "PyTorch": ("torch",),
        "MindSpore": ("mindspore",),
    }
    found = {}
    for name, packages in engines.items():
        package = next((package for package in packages if package_version(package)), None)
        variant = "" if package in (None, packages[0]) else f" ({package})"
        found[name] = f"{package_version(package)}{variant}" if package else "not installed"
    return found


def ffmpeg_version() -> str:
    """Version of the ffmpeg that assembles the files, or why there is none."""
    from rvrt_cli.media.ffmpeg import ffmpeg_executable

    try:
        done = subprocess.run([ffmpeg_executable(), "-version"], capture_output=True, timeout=20, check=True)
    except (RvrtError, OSError, subprocess.SubprocessError) as error:
        return f"not usable ({type(error).__name__})"
    words = done.stdout.decode("utf-8", "replace").split()
    return words[2] if len(words) > 2 else "unknown"


def _show_version(value: bool) -> None:
    if value:
        typer.echo(
            f"rvrt {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})"
        )
        for name, found in {**engine_versions(), "ffmpeg": ffmpeg_version()}.items():
            typer.echo(f"  {name:<13} {found}")
        raise typer.Exit()


@app.callback()
def _root(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_show_version,
        is_eager=True,
        help="Show the versions of rvrt, its engines and ffmpeg, and exit.",
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks of errors."),
) -> None:
    enable_debug(debug)


def enable_debug(value: bool) -> None:
    """Show tracebacks from now on; commands with their own ``--debug`` call this too."""
    global debug_enabled
    debug_enabled = debug_enabled or value


for _name in COMMANDS:
    importlib.import_module(f"rvrt_cli.cli.{_name}").register(app)


def replace_what_cannot_be_shown() -> None:
    """A terminal or pipe that is not UTF-8 gets "?" for what it cannot show (a name, a sign), not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def run_app() -> None:
    """Run Typer's command; what cannot be written to stdout is an :class:`OSError` here, not a surprise at the end."""
    try:
        app()
    except SystemExit as stop:
        sys.stdout.flush()
        if stop.code == 1:  # Typer and Rich end so, and only so, when the reader of stdout went away
            raise BrokenPipeError from stop
        if stop.code == ExitCode.INTERRUPTED:  # Typer ends so, without a word, on Ctrl+C
            raise KeyboardInterrupt from stop
        raise


def main() -> None:
    """Run the command line; every :class:`RvrtError` ends as one sentence on stderr and its exit code."""
    replace_what_cannot_be_shown()
    tolerate_lost_stderr()
    try:
        run_app()
    except RvrtError as error:
        if debug_enabled:
            raise
        sys.stderr.write(f"rvrt: {error}\n")
        sys.exit(int(error.exit_code))
    except KeyboardInterrupt:
        sys.stderr.write("rvrt: interrupted.\n")
        sys.exit(int(ExitCode.INTERRUPTED))
    except BrokenPipeError:
        # The reader of our stdout went away (for example `| head`): not an error of ours.
        drop(sys.stdout)
        sys.exit(int(ExitCode.OUTPUT))
    except Exception as error:
        if debug_enabled:
            raise
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            drop(sys.stdout)
            sys.stderr.write(
                f"rvrt: the disk is full ({error}); free some space and run the same command again.\n"
            )
            sys.exit(int(ExitCode.DISK_FULL))
        sys.stderr.write(
            f"rvrt: unexpected {type(error).__name__}: {error}; run again with --debug and report the traceback.\n"
        )
        sys.exit(int(ExitCode.UNEXPECTED))
