"""How the benchmarks print their figures: a row at a time, as JSON or as a line of a Markdown table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]
"""Column name → figure or word; ``error`` in a row that could not be measured."""


def print_rows(rows: Iterable[Row], as_json: bool) -> int:
    """Print each row as soon as it is there; → exit code, 1 where one of them holds an ``error``.

    The table has the first row's columns; an error takes the place of the figures that its row lacks.
    """
    names: list[str] = []
    failed = False
    for row in rows:
        failed |= "error" in row
        if as_json:
            print(json.dumps(row), flush=True)
            continue
        if not names:
            names = list(row)
            print(line(names) + "\n" + line(["---"] * len(names)))
        lacking = [name for name in names if name not in row]
        shown = row | ({lacking[0]: row["error"]} if lacking and "error" in row else {})
        print(line([cell(shown.get(name)) for name in names]), flush=True)
    return int(failed)


def markdown_table(rows: list[Row]) -> str:
    """A table of all the columns that any of the rows has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[cell(row.get(name)) for name in names] for row in rows]
    return "\n".join(line(row) for row in [names, ["---"] * len(names), *cells])


def line(cells: list[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def cell(value: Any) -> str:
    """A figure with four digits, words as they are, nothing for None."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(part)}" for key, part in value.items())
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
