"""``rvrt doctor``: is this installation able to do the job, and if not, what to do about it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from rvrt_cli.cli.options import DebugOption
from rvrt_cli.errors import DeviceError

SIGNS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "problem": ("PROBLEM", "bold red")}


def register(app: typer.Typer) -> None:
    """Add ``rvrt doctor`` to the command line."""
    app.command("doctor")(doctor_command)


def doctor_command(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="The model to run, as for rvrt upscale.")
    ] = "light-s",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON document.")] = False,
    debug: DebugOption = False,
) -> None:
    """Check the installation end to end on a tiny film, and say what to do about each problem."""
    from rich.text import Text

    from rvrt_cli.cli.app import enable_debug
    from rvrt_cli.cli.console import stdout_console
    from rvrt_cli.upscale.doctor import examine

    enable_debug(debug)
    console = stdout_console()
    findings = []
    for finding in examine(model):
        findings.append(finding)
        if as_json:
            continue
        sign, style = SIGNS[finding.state]
        console.print(
            Text(f"{finding.name:<10}"), Text(f"{sign:<8}", style=style), Text(finding.found), soft_wrap=True
        )
        if finding.advice and finding.state != "ok":
            console.print(Text(f"{'':<20}{finding.advice}"), soft_wrap=True)
    problems = [finding.name for finding in findings if finding.state == "problem"]
    if as_json:
        typer.echo(
            json.dumps({"ok": not problems, "findings": [vars(finding) for finding in findings]}, indent=2)
        )
    if problems:
        raise DeviceError(
            f"This installation has {len(problems)} problem(s): {', '.join(problems)}; see the advice beside each."
        )
    if not as_json:
        console.print("Everything that a run needs works.", style="green")
