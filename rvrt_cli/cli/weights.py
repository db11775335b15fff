"""``rvrt weights``: list, fetch, inspect, convert and export weight files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rvrt_cli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from rvrt_cli.weights.download import Progress

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show errors only (the licence is shown all the same).")
]
TargetArgument = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="A name of `rvrt weights list`, or a weight file.")
]

weights_app = typer.Typer(help="List, fetch, inspect, convert and export weight files.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add ``rvrt weights`` to the command line."""
    app.add_typer(weights_app, name="weights")


@weights_app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """Show the shipped and published weights, and which of them are on this machine."""
    from rvrt_cli.weights import cache_folder, known_weights

    rows = known_weights()
    if as_json:
        _print_json([{**vars(row), "path": str(row.path) if row.path else None} for row in rows])
        return
    table = _table("Name", "Architecture", "State", "For", "Licence")
    for row in rows:
        style = {"shipped": "green", "cached": "green", "damaged": "red"}.get(row.state, "dim")
        table.add_row(row.name, row.preset, f"[{style}]{row.state}[/]", row.label, row.licence)
    _show(table)
    typer.echo(f"Cache: {cache_folder()}. Fetch with `rvrt weights fetch NAME`.")


@weights_app.command("fetch")
def fetch_command(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Names of `rvrt weights list`, or presets (rvrt, light ...)."),
    ],
    mirror: Annotated[
        str | None,
        typer.Option(
            "--mirror",
            metavar="URL",
            help="An http(s) folder with the same files; also $RVRT_WEIGHTS_MIRROR.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Take a copy that you downloaded yourself (one NAME only)."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch again, and accept a file with another SHA-256.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Download published weights into the cache; an interrupted download continues.

    The SHA-256 is recorded at the first fetch and checked ever after; the tensors are always checked.
    """
    from rvrt_cli.weights import PublishedWeights, fetch, published
    from rvrt_cli.weights.find import shipped
    from rvrt_cli.weights.registry import PRESET_DEFAULTS

    if source is not None and len(names) != 1:
        raise UsageError("--from FILE gives one file; name exactly one of `rvrt weights list`.")
    if source is not None and mirror is not None:
        raise UsageError("--from and --mirror exclude each other; choose one.")
    here = [name for name in names if name in shipped() and name not in PRESET_DEFAULTS]
    for name in here:
        typer.echo(f"{name}: ships with rvrt, nothing to fetch.", err=True)
    entries = list(dict.fromkeys(published(name) for name in names if name not in here))
    shown: set[str] = set()

    def announce(entry: PublishedWeights) -> None:
        if entry.licence not in shown:
            typer.echo(entry.licence_text + "\n", err=True)
            shown.add(entry.licence)

    results = []
    for entry in entries:

        def waiting(name: str = entry.name) -> None:
            if not quiet:
                typer.echo(f"{name}: another process is fetching it; waiting for that ...", err=True)

        with _progress(entry.file_name, quiet) as progress:
            result = fetch(
                entry,
                mirror=mirror,
                source=source,
                force=force,
                announce=announce,
                progress=progress,
                waiting=waiting,
            )
        if not quiet:
            state = "fetched" if result.new else "already here, unchanged"
            typer.echo(f"{entry.name}: {state}; SHA-256 {result.record.sha256}; {result.path}", err=True)
        results.append(
            {"name": entry.name, "path": str(result.path), "new": result.new, **vars(result.record)}
        )
    if as_json:
        _print_json(results)


@weights_app.command("info")
def info_command(target: TargetArgument, as_json: JsonOption = False) -> None:
    """Show what a weight file is: architecture, parameters, hash, metadata."""
    from rvrt_cli.weights import load_weights, weights_path
    from rvrt_cli.weights.files import summary

    path = weights_path(target)
    info = {"path": str(path), **summary(load_weights(path))}
    if as_json:
        _print_json(info)
        return
    table = _table("", "")
    for key, value in info.items():
        for name, entry in value.items() if isinstance(value, dict) else [("", value)]:
            text = f"{entry:,}" if isinstance(entry, int) and key == "parameters" else str(entry)
            table.add_row(_plain(f"{key}.{name}" if name else key), _plain(text))
    _show(table)


@weights_app.command("convert")
def convert_command(
    target: TargetArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.")],
    dtype: Annotated[str, typer.Option("--dtype", help="fp32, or fp16 for half the size.")] = "fp32",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing OUT.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert a published .pth or .ckpt file (or any that rvrt reads) to .safetensors."""
    from dataclasses import replace

    from rvrt_cli.weights import load_weights, save_weights, weights_path
    from rvrt_cli.weights.registry import PUBLISHED

    _check_output(output, force)
    path = weights_path(target)
    weights = load_weights(path)
    metadata = {**weights.metadata, "converted_from": f"{path.name} (SHA-256 {weights.sha256})"}
    for entry in PUBLISHED:
        if entry.file_name == path.name:
            metadata |= {"licence": entry.licence, "title": entry.label, "url": entry.url}
    sha256 = save_weights(output, replace(weights, metadata=metadata), dtype)
    if as_json:
        _print_json(
            {"path": str(output), "sha256": sha256, "dtype": dtype, "parameters": weights.parameter_count}
        )
    else:
        typer.echo(f"{output}: {weights.parameter_count:,} parameters as {dtype}; SHA-256 {sha256}")


@weights_app.command("export")
def export_command(
    target: TargetArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write: .onnx or .mindir.")],
    height: Annotated[int, typer.Option("--height", min=1, help="Height of the input in pixels.")],
    width: Annotated[int, typer.Option("--width", min=1, help="Width of the input in pixels.")],
    frames: Annotated[int, typer.Option("--frames", min=1, help="Frames of the input.")] = 6,
    precision: Annotated[str, typer.Option("--precision", help="fp32 or fp16 (ONNX only).")] = "fp32",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing OUT.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the network for one input size as an ONNX graph, or as MindIR (needs MindSpore)."""
    from rvrt_cli.weights import load_weights, weights_path

    kind = output.suffix.lower()
    if kind not in (".onnx", ".mindir"):
        raise UsageError(f"{output} must end in .onnx or .mindir.")
    if precision not in ("fp32", "fp16") or (kind == ".mindir" and precision != "fp32"):
        raise UsageError(
            f"--precision {precision} is not possible for {kind}; choose fp32, or fp16 for .onnx."
        )
    _check_output(output, force)
    weights = load_weights(weights_path(target))
    if kind == ".onnx":
        from rvrt_cli.inference.export import export_onnx

        export_onnx(weights, output, frames, height, width, precision)
    else:
        from rvrt_cli.inference.export_mindir import export_mindir

        export_mindir(weights, output, frames, height, width)
    config = weights.config
    result = {
        "path": str(output),
        "input": [1, frames, height, width, config.in_channels],
        "output": [1, frames, config.upscale * height, config.upscale * width, 3],
        "precision": precision,
        "size_bytes": output.stat().st_size,
    }
    if as_json:
        _print_json(result)
    else:
        typer.echo(
            f"{output}: {result['input']} -> {result['output']}, {precision}, {result['size_bytes']:,} bytes"
        )


def _check_output(output: Path, force: bool) -> None:
    if not output.parent.is_dir():
        raise OutputError(f"The folder {output.parent} does not exist; create it or choose another place.")
    if output.exists() and not force:
        raise OutputError(f"{output} exists; choose another name or use --force.")


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(show_header=any(columns))
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index == 0, overflow="fold")
    return table


def _plain(text: str) -> Any:
    """Text from a file as it is: no Rich markup, no control characters that a terminal would obey."""
    from rich.text import Text

    return Text("".join(character if character.isprintable() else "\ufffd" for character in text))


def _show(table: Any) -> None:
    from rvrt_cli.cli.console import stdout_console

    stdout_console().print(table)


@contextmanager
def _progress(label: str, quiet: bool) -> Iterator[Progress | None]:
    """A download bar on stderr; nothing where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    ]
    with Bar(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task: Any = None

        def show(done: int, total: int | None) -> None:
            nonlocal task
            if task is None:  # only now is the licence printed and the size known
                task = bar.add_task(label, total=total)
            bar.update(task, completed=done, total=total)

        yield show
