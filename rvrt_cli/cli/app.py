"""The ``rvrt`` command: its sub-commands and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import os
import sys

import typer

from rvrt_cli import __version__
from rvrt_cli.errors import ExitCode, RvrtError

COMMANDS: tuple[str, ...] = ("upscale", "weights", "preprocess", "evaluate", "train")
"""Modules of :mod:`rvrt_cli.cli` with a ``register(app)`` function, in the order of ``rvrt --help``."""

app = typer.Typer(
    name="rvrt",
    help="Upscale films 4x with the Recurrent Video Restoration Transformer; train and evaluate it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
debug_enabled = False


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"rvrt {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks of errors."),
) -> None:
    enable_debug(debug)


def enable_debug(value: bool) -> None:
    """Show tracebacks from now on; commands with their own ``--debug`` call this too."""
    global debug_enabled
    debug_enabled = debug_enabled or value


for _name in COMMANDS:
    importlib.import_module(f"rvrt_cli.cli.{_name}").register(app)


def main() -> None:
    """Run the command line; every :class:`RvrtError` ends as one sentence on stderr and its exit code."""
    try:
        app()
    except RvrtError as error:
        if debug_enabled:
            raise
        sys.stderr.write(f"rvrt: {error}\n")
        sys.exit(int(error.exit_code))
    except KeyboardInterrupt:
        sys.stderr.write("rvrt: interrupted.\n")
        sys.exit(int(ExitCode.INTERRUPTED))
    except BrokenPipeError:
        # The reader of our stdout went away (for example `| head`): not an error of ours; keep Python quiet at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(int(ExitCode.OUTPUT))
    except Exception as error:
        if debug_enabled:
            raise
        sys.stderr.write(f"rvrt: unexpected {type(error).__name__}: {error}; run again with --debug and report the traceback.\n")
        sys.exit(int(ExitCode.UNEXPECTED))
