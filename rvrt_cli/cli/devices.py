"""``rvrt devices``: what this machine can run the model on."""

from __future__ import annotations

from typing import Annotated

import typer

UNUSED = "nothing installed can use it"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("devices")(devices)


def devices(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Show the devices, backends and runtimes found on this machine, and what `auto` picks."""
    from dataclasses import asdict

    from rvrt_cli.inference.device_report import make_device_report

    found = make_device_report()
    if as_json:
        import json

        typer.echo(json.dumps(asdict(found), indent=2))
        return

    from rich.markup import escape
    from rich.table import Table

    from rvrt_cli.cli.console import stdout_console

    console = stdout_console()
    table = Table(title="Devices", title_justify="left")
    for column in ("--device", "Name", "Memory", "Seen by"):
        table.add_column(column)
    for device in found.devices:
        memory = f"{device.memory_mib / 1024:.1f} GiB" if device.memory_mib else "unknown"
        table.add_row(device.device, escape(device.name), memory, ", ".join(device.seen_by) or UNUSED)
    console.print(table)
    table = Table(title="Backends", title_justify="left")
    for column in ("--backend", "Package", "Version", "Runs on"):
        table.add_column(column)
    for engine in found.engines:
        state = ", ".join(engine.runs_on) if engine.version else f"not installed: {engine.install}"
        table.add_row(engine.backend, engine.package, engine.version or "-", state)
    console.print(table)
    console.print(f"auto: {found.auto}", soft_wrap=True, markup=False)
