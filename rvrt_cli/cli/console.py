"""The consoles that tables and lines are written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PIPE_COLUMNS = 180
"""Width where stdout is no terminal: in a file or pipe nobody wants columns cut to 80 characters."""


def stdout_console() -> Console:
    """A console on stdout that colours nothing by guessing, as wide as the terminal or :data:`PIPE_COLUMNS`."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_COLUMNS)
