"""``rvrt eval``: the field's protocols, one row per clip, beside a baseline or a second model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rvrt_cli.cli.options import (
    BackendOption,
    DebugOption,
    DeviceOption,
    JsonOption,
    LightOption,
    ModelOption,
    PrecisionOption,
    QuietOption,
    ThreadsOption,
    WeightsOption,
    choose_model,
)
from rvrt_cli.upscale.option import MODEL

if TYPE_CHECKING:
    from rvrt_cli.evaluate.models import ModelSpec

DATA = "Data"
RUN = "Run"
RESULT = "Result"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("eval")(evaluate_command)


def evaluate_command(
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME",
            help="vimeo90k, vid4, reds4, udm10 or davis: the data set and its protocol.",
            rich_help_panel=DATA,
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="Folder of the data set.", rich_help_panel=DATA),
    ] = None,
    gt: Annotated[
        Path | None,
        typer.Option(
            "--gt",
            metavar="DIR",
            help="Instead of --dataset: any folder of frame folders as ground truth (Y, all frames).",
            rich_help_panel=DATA,
        ),
    ] = None,
    lq: Annotated[
        Path | None,
        typer.Option(
            "--lq",
            metavar="DIR",
            help="Low-quality frames under the same clip names; made on the fly where absent.",
            rich_help_panel=DATA,
        ),
    ] = None,
    make_lq: Annotated[
        bool,
        typer.Option(
            "--make-lq",
            help="Make low quality on the fly even if the data set holds it.",
            rich_help_panel=DATA,
        ),
    ] = False,
    degradation: Annotated[
        str,
        typer.Option(
            "--degradation", metavar="BI|BD|real", help="How low quality is made.", rich_help_panel=DATA
        ),
    ] = "BI",
    rgb: Annotated[
        bool, typer.Option("--rgb", help="With --gt: compare RGB instead of Y.", rich_help_panel=DATA)
    ] = False,
    crop: Annotated[
        int,
        typer.Option(
            "--crop",
            min=0,
            metavar="PX",
            help="With --gt: border left out of the comparison.",
            rich_help_panel=DATA,
        ),
    ] = 0,
    scale: Annotated[
        int | None,
        typer.Option(
            "--scale",
            min=2,
            max=4,
            metavar="2|3|4",
            help="How many times smaller low quality is; default: the model's scale. Models of a larger one are reduced.",
            rich_help_panel=DATA,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="The first N clips only.", rich_help_panel=DATA),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames", min=1, metavar="N", help="The first N frames of each clip only.", rich_help_panel=DATA
        ),
    ] = None,
    model: ModelOption = None,
    light: LightOption = False,
    weights: WeightsOption = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="NAME",
            help="Show a second method beside it, usually bicubic.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--compare",
            metavar="A B",
            help="Two models (names or weights files) and their difference per clip.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    no_neighbours: Annotated[
        bool,
        typer.Option(
            "--no-neighbours",
            help="Give the model each frame alone, repeated: shows what its neighbours are worth.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    device: DeviceOption = "auto",
    devices: Annotated[
        int,
        typer.Option(
            "--devices",
            min=1,
            metavar="N",
            help="Spread the clips over N devices (processes).",
            rich_help_panel=MODEL,
        ),
    ] = 1,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = 0,
    window: Annotated[
        int | None,
        typer.Option(
            "--window",
            metavar="N",
            help="Frames per model call; whole clips unless given.",
            rich_help_panel=RUN,
        ),
    ] = None,
    overlap: Annotated[
        int,
        typer.Option(
            "--overlap", metavar="N", help="Frames of context behind each window.", rich_help_panel=RUN
        ),
    ] = 2,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile",
            metavar="PX",
            help="Tile side in low-quality pixels; whole frames unless given.",
            rich_help_panel=RUN,
        ),
    ] = None,
    tile_overlap: Annotated[
        int,
        typer.Option(
            "--tile-overlap", metavar="PX", help="Low-quality pixels shared by tiles.", rich_help_panel=RUN
        ),
    ] = 16,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            "--work-dir",
            metavar="DIR",
            help="Where finished clips are noted until the table is complete.",
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume", help="Go on with an interrupted run, or start anew.", rich_help_panel=RUN
        ),
    ] = True,
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            help="psnr and ssim are always measured; vmaf and vmaf-neg, separated by commas, are measured beside them.",
            rich_help_panel=RESULT,
        ),
    ] = "psnr,ssim",
    temporal: Annotated[
        bool,
        typer.Option(
            "--temporal",
            help="Also the warping error and tOF: does the picture flicker?",
            rich_help_panel=RESULT,
        ),
    ] = False,
    save_images: Annotated[
        Path | None,
        typer.Option(
            "--save-images", metavar="DIR", help="Write the compared frames as PNG.", rich_help_panel=RESULT
        ),
    ] = None,
    save_metrics: Annotated[
        Path | None,
        typer.Option(
            "--save-metrics",
            metavar="FILE",
            help="Write all figures to a .json or .csv file.",
            rich_help_panel=RESULT,
        ),
    ] = None,
    report_page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="Write a page with a wipe between the models on up to 12 clips, and the curves of all frames.",
            rich_help_panel=RESULT,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a --report that is there.", rich_help_panel=RESULT)
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure PSNR, SSIM and VMAF of a model by the field's protocols, per clip and in total."""
    import json
    from dataclasses import replace

    from rvrt_cli.cli.app import enable_debug
    from rvrt_cli.cli.eval_view import EvalView, print_report
    from rvrt_cli.cli.stopping import signals_as_interrupt
    from rvrt_cli.data.degrade import DEGRADATIONS
    from rvrt_cli.errors import InputError, UsageError
    from rvrt_cli.evaluate.compare import check_page_path
    from rvrt_cli.evaluate.measure import parse_metrics
    from rvrt_cli.evaluate.models import WindowConfig
    from rvrt_cli.evaluate.protocols import find_protocol
    from rvrt_cli.evaluate.run import EvalOptions, evaluate
    from rvrt_cli.evaluate.save import check_metrics_path, save_report
    from rvrt_cli.evaluate.vmaf import VMAF_MODELS
    from rvrt_cli.inference.tiles import TilePlan

    enable_debug(debug)
    if (dataset is None) == (gt is None):
        raise UsageError("Give either --dataset with --root, or --gt with a folder of frames.")
    if dataset is not None and root is None:
        raise UsageError(f"--dataset {dataset} needs --root, the folder it lies in.")
    if dataset is not None and (rgb or crop):
        raise UsageError("--rgb and --crop go with --gt; a data set's protocol is fixed.")
    protocol = find_protocol(dataset or "folder")
    if gt is not None:
        protocol = replace(protocol, y_channel=not rgb, crop_px=crop)
    degradation = next((name for name in DEGRADATIONS if name.lower() == degradation.lower()), degradation)
    if degradation not in DEGRADATIONS:
        raise UsageError(f"--degradation {degradation!r} is none of {', '.join(DEGRADATIONS)}.")
    if save_metrics is not None:
        check_metrics_path(save_metrics)
    if report_page is not None:
        check_page_path(report_page, overwrite)
    elif overwrite:
        raise UsageError("--overwrite is for --report; name a page with it, or leave it out.")
    if save_images is not None and save_images.is_file():
        raise InputError(f"{save_images} is a file; --save-images needs a folder.")
    tiles = TilePlan(None) if tile is None else TilePlan(tile, tile_overlap)
    windows = WindowConfig(window, overlap, tiles, no_neighbours)
    _check_windows(windows)

    folder = gt or root
    assert folder is not None
    settings: dict[str, Any] = {
        "device": device,
        "backend": backend,
        "precision": precision,
        "threads": threads,
    }
    options = EvalOptions(
        protocol=protocol,
        root=folder,
        models=_models(model, light, weights, baseline, compare, settings, tell=not (quiet or as_json)),
        lq_root=lq,
        degradation=degradation,
        scale=scale,
        make_lq=make_lq,
        limit=limit,
        frames=frames,
        windows=windows,
        temporal=temporal,
        vmaf=tuple(name for name in parse_metrics(metrics) if name in VMAF_MODELS),
        page=report_page,
        devices=devices,
        save_images=save_images,
        work_dir=work_dir,
        resume=resume,
    )
    with signals_as_interrupt(), EvalView(quiet or as_json) as view:
        report = evaluate(options, view.show_clip, view.show_engine)
    if save_metrics is not None:
        save_report(save_metrics, report)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    elif not quiet:
        print_report(report)


def _models(
    model: str | None,
    light: bool,
    weights: Path | None,
    baseline: str | None,
    compare: tuple[str, str] | None,
    settings: dict[str, Any],
    *,
    tell: bool,
) -> tuple[ModelSpec, ...]:
    """The models in the order of the table's columns."""
    from rvrt_cli.errors import UsageError
    from rvrt_cli.evaluate.models import ModelSpec

    if compare is not None:
        if light or model or weights or baseline:
            raise UsageError(
                "--compare names both models; leave out --model, --light, --weights and --baseline."
            )
        first, second = (name if len(Path(name).parts) == 1 else Path(name).stem for name in compare)
        if first == second:
            first, second = compare
        return tuple(
            _spec(label, name, settings) for label, name in zip((first, second), compare, strict=True)
        )
    choice = choose_model(light, model, weights)
    if choice.statement and tell:
        typer.echo(choice.statement, err=True)
    name = choice.name
    label = weights.stem if weights else name if len(Path(name).parts) == 1 else Path(name).stem
    specs: tuple[ModelSpec, ...] = (ModelSpec(label, name, weights, **settings),)
    if baseline is not None and baseline != name:
        specs += (_spec(baseline, baseline, settings),)
    return specs


def _spec(label: str, name: str, settings: dict[str, Any]) -> ModelSpec:
    """One of two methods; where one is bicubic, --device, --backend and --precision are for the other."""
    from rvrt_cli.evaluate.models import ModelSpec

    return ModelSpec(label, name, **({} if name == "bicubic" else settings))


def _check_windows(windows: Any) -> None:
    """Refuse impossible windows and tiles before anything is loaded."""
    from rvrt_cli.inference.tiles import check_tiles
    from rvrt_cli.upscale.segments import check_window

    if windows.window is not None:
        check_window(windows.window, windows.overlap)
    check_tiles(windows.tile)
