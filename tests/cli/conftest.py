"""Fixtures of the commands' tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from rvrt_cli.cli.app import main


@dataclass(frozen=True)
class Result:
    """What a shell would see of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def rvrt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the command as a shell would, error boundary included."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["rvrt", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run
