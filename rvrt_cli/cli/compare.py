"""``rvrt compare``: films beside one another in one HTML file."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from rvrt_cli.cli.options import OUTPUT_PANEL, DebugOption, QuietOption

PLACES = "Which frames"
FIGURES = "Figures"
RESULT = "Result"
_PLAIN_INTERVAL_S = 10.0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("compare")(compare_command)


def compare_command(
    films: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILM...",
            help="Films, pictures or folders of pictures of one content: a film and its result, or several results.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE.html", help="The page.", rich_help_panel=RESULT),
    ] = Path("compare.html"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.", rich_help_panel=RESULT)
    ] = False,
    max_mb: Annotated[
        float,
        typer.Option(
            "--max-mb",
            min=0.1,
            max=1000,
            metavar="MB",
            help="Size of the pictures in the page: lossless where that fits, else JPEG or WebP, else the part that differs most.",
            rich_help_panel=RESULT,
        ),
    ] = 16,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="NAME",
            help="What a film is called in the page, once for each film; the file's name unless given.",
            rich_help_panel=RESULT,
        ),
    ] = None,
    gt: Annotated[
        Path | None,
        typer.Option(
            "--gt",
            metavar="FILM",
            help="The ground truth: every frame is measured against it.",
            rich_help_panel=FIGURES,
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            help="With --gt: which of psnr, ssim, vmaf, vmaf-neg; all of them unless given.",
            rich_help_panel=FIGURES,
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help="A place to look at, such as 12.5 or 1:02; may be given again.",
            rich_help_panel=PLACES,
        ),
    ] = None,
    places: Annotated[
        int,
        typer.Option(
            "--places", min=0, max=100, metavar="N", help="Places at even distances.", rich_help_panel=PLACES
        ),
    ] = 6,
    differing: Annotated[
        int,
        typer.Option(
            "--differing",
            min=0,
            max=100,
            metavar="N",
            help="Places where the films differ most; in long films without --gt sought among 32.",
            rich_help_panel=PLACES,
        ),
    ] = 3,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="TIME", help="Look from here on only.", rich_help_panel=PLACES),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--end", metavar="TIME", help="Look up to here only.", rich_help_panel=PLACES),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames", min=1, metavar="N", help="Look at so many frames only.", rich_help_panel=PLACES
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object on stdout: the page, its places, means and notes.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare films in one HTML file: a wipe between two, zoom, a time line, curves. It needs no network."""
    import json

    from rvrt_cli.cli.app import enable_debug
    from rvrt_cli.cli.stopping import signals_as_interrupt
    from rvrt_cli.cli.upscale_options import parse_time
    from rvrt_cli.errors import UsageError
    from rvrt_cli.evaluate.compare import CompareOptions, check_page_path, compare_films
    from rvrt_cli.evaluate.measure import METRICS, parse_metrics

    enable_debug(debug)
    check_page_path(out, overwrite)
    if metrics is not None and gt is None:
        raise UsageError("--metrics measures against a ground truth; name it with --gt.")
    times = [parse_time("--at", one) for one in at or ()]
    options = CompareOptions(
        films=tuple(films),
        gt=gt,
        labels=tuple(label or ()),
        at_s=tuple(one for one in times if one is not None),
        places=places,
        differing=differing,
        start_s=parse_time("--start", start),
        end_s=parse_time("--end", end),
        max_frames=frames,
        metrics=parse_metrics(metrics) if metrics is not None else tuple(METRICS),
        max_bytes=max_mb * 1e6,
    )
    with signals_as_interrupt(), _Progress(quiet or as_json) as progress:
        made = compare_films(options, out, progress.show)
    if as_json:
        typer.echo(json.dumps(made.to_dict(), ensure_ascii=False))
    elif not quiet:
        _tell(made)


class _Progress:
    """A bar on a terminal, a line now and then elsewhere; nothing when ``silent``."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent
        self._bar: Any = None
        self._task: Any = None
        self._last = time.monotonic()

    def __enter__(self) -> _Progress:
        if not self._silent and sys.stderr.isatty():
            from rvrt_cli.cli.bar import counting_bar

            self._bar = counting_bar()
            self._bar.start()
            self._task = self._bar.add_task("", total=None, note="frames compared")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int | None) -> None:
        """So many of so many frames are compared."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif not self._silent and time.monotonic() - self._last >= _PLAIN_INTERVAL_S:
            self._last = time.monotonic()
            sys.stderr.write(f"{done}{f'/{total}' if total else ''} frames compared\n")
            sys.stderr.flush()


def _tell(made: Any) -> None:
    """Print what was made: notes, means, the file."""
    from rvrt_cli.evaluate.measure import METRICS
    from rvrt_cli.upscale.formatting import format_size

    for note in made.notes:
        typer.echo(note)
    for film, figures in made.means.items():
        words = ", ".join(
            f"{METRICS[name].title} {value:.{METRICS[name].digits}f} {METRICS[name].unit}".strip()
            for name, value in figures.items()
        )
        typer.echo(f"{film}: {words}")
    frames = f"{made.frames} frame{'s' if made.frames != 1 else ''} compared"
    shown = f"{len(made.places)} place{'s' if len(made.places) != 1 else ''} shown"
    typer.echo(f"{made.output}: {frames}, {shown}, {format_size(made.output_bytes)}.")
