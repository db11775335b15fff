"""``rvrt preprocess``: low-quality frames for Vimeo-90K or any folder, and training clips from photographs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rvrt_cli.cli.bar import counting_bar
from rvrt_cli.cli.options import DebugOption, JsonOption, QuietOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rvrt_cli.data.prepare import OnProgress, PrepareProgress, PrepareResult
    from rvrt_cli.data.tasks import Degrade, Task

REPORT_NAME = "preprocess-report.json"
_PLAIN_INTERVAL_S = 10.0

preprocess_app = typer.Typer(
    help="Prepare training and evaluation data: exact Matlab bicubic, parallel, resumable.",
    no_args_is_help=True,
)

DegradationOption = Annotated[
    str,
    typer.Option(
        "--degradation",
        metavar="BI|BD|real",
        help="BI: Matlab bicubic. BD: Gaussian of sigma 1.6, then every 4th pixel. real: blur, noise, H.264.",
    ),
]
ScaleOption = Annotated[
    int, typer.Option("--scale", min=1, max=16, help="How many times smaller the low-quality frames are.")
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Worker processes; 0 takes one per core.")
]
VerifyOption = Annotated[
    bool,
    typer.Option("--verify", help="Write nothing; check that what was written before is whole and right."),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.add_typer(preprocess_app, name="preprocess")


@preprocess_app.command("vimeo90k")
def vimeo90k(
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Folder with sequences/, sep_trainlist.txt and sep_testlist.txt."),
    ] = None,
    images_root: Annotated[
        Path | None,
        typer.Option("--images-root", help="Folder of the septuplets, instead of ROOT/sequences."),
    ] = None,
    train_annotation: Annotated[
        Path | None,
        typer.Option(
            "--train-annotation", help="List of training septuplets, instead of ROOT/sep_trainlist.txt."
        ),
    ] = None,
    test_annotation: Annotated[
        Path | None,
        typer.Option("--test-annotation", help="List of test septuplets, instead of ROOT/sep_testlist.txt."),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", help="Where BIx4/ and the annotation files go; ROOT unless given."),
    ] = None,
    generate_lq: Annotated[
        bool,
        typer.Option(
            "--generate-lq/--no-generate-lq", help="Write low-quality frames, or the annotation files alone."
        ),
    ] = True,
    subset: Annotated[
        str, typer.Option("--subset", metavar="train|test|all", help="Which septuplets.")
    ] = "all",
    degradation: DegradationOption = "BI",
    scale: ScaleOption = 4,
    seed: SeedOption = 0,
    workers: WorkersOption = 0,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the low-quality frames of Vimeo-90K (BIx4/ beside sequences/) and its annotation files."""
    from rvrt_cli.data.plans import plan_vimeo, write_vimeo_annotations
    from rvrt_cli.errors import UsageError

    _enable_debug(debug)
    if subset not in ("train", "test", "all"):
        raise UsageError(f"--subset {subset!r} is none of train, test and all.")
    annotations = {
        name: path
        for name, path in (("train", train_annotation), ("test", test_annotation))
        if path is not None
    }
    tasks, names, output = plan_vimeo(
        root,
        images_root=images_root,
        annotations=annotations,
        output_dir=output_dir,
        subsets=("train", "test") if subset == "all" else (subset,),
        degrade=_degrade(degradation, scale, seed, known=("BI", "BD")),
    )
    if not verify:
        for path in write_vimeo_annotations(output, names, tasks):
            _say(f"Wrote {path}.", quiet or as_json)
    if generate_lq:
        _carry_out(tasks, output, workers, verify, as_json, quiet)


@preprocess_app.command("folder")
def folder(
    source: Annotated[Path, typer.Argument(help="Folder of videos, of frame folders, or of frames.")],
    output: Annotated[Path, typer.Argument(help="Folder for BIx4/ (and GT/ for frames taken from videos).")],
    degradation: DegradationOption = "BI",
    scale: ScaleOption = 4,
    seed: SeedOption = 0,
    workers: WorkersOption = 0,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Write low-quality frames of any folder of videos or frames; videos are also taken apart into GT/."""
    from rvrt_cli.data.plans import plan_folder
    from rvrt_cli.errors import UsageError

    _enable_debug(debug)
    tasks = plan_folder(source, output, _degrade(degradation, scale, seed))
    if verify:
        frames = [task for task in tasks if task.kind != "video"]
        if not frames:
            raise UsageError(
                "--verify compares with ground-truth images, but this folder holds videos; verify OUTPUT/GT instead."
            )
        tasks = frames
    _carry_out(tasks, output, workers, verify, as_json, quiet)


@preprocess_app.command("photos")
def photos(
    source: Annotated[Path, typer.Argument(help="Folder of photographs.")],
    output: Annotated[Path, typer.Argument(help="Folder for sequences/, sep_trainlist.txt and BIx4/.")],
    clips: Annotated[
        int, typer.Option("--clips", min=1, max=99_999_000, help="How many clips to make.")
    ] = 1000,
    frames: Annotated[
        int, typer.Option("--frames", min=1, max=1000, help="Frames per clip; Vimeo-90K has 7.")
    ] = 7,
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="Size of the ground truth.")] = "448x256",
    generate_lq: Annotated[
        bool, typer.Option("--generate-lq/--no-generate-lq", help="Write low-quality frames too.")
    ] = True,
    degradation: DegradationOption = "BI",
    scale: ScaleOption = 4,
    seed: SeedOption = 0,
    workers: WorkersOption = 0,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Turn still photographs into training clips by smooth synthetic motion, in the Vimeo-90K layout."""
    from rvrt_cli.data.plans import plan_photos, write_clip_list
    from rvrt_cli.data.vimeo import SEPTUPLET_FRAMES
    from rvrt_cli.errors import UsageError

    _enable_debug(debug)
    width, cross, height = size.lower().partition("x")
    if not (cross and width.isdigit() and height.isdigit() and int(width) >= scale and int(height) >= scale):
        raise UsageError(f"--size {size!r} is not a size such as 448x256.")
    tasks = plan_photos(
        source,
        output,
        clips=clips,
        frames=frames,
        height=int(height),
        width=int(width),
        degrade=_degrade(degradation, scale, seed),
        generate_lq=generate_lq,
    )
    _carry_out(tasks, output, workers, verify, as_json, quiet)
    if not verify and frames == SEPTUPLET_FRAMES:
        _say(f"Wrote {write_clip_list(output, clips)}.", quiet or as_json)


def _enable_debug(debug: bool) -> None:
    from rvrt_cli.cli.app import enable_debug

    enable_debug(debug)


def _degrade(name: str, scale: int, seed: int, known: Sequence[str] = ("BI", "BD", "real")) -> Degrade:
    from rvrt_cli.data.tasks import Degrade
    from rvrt_cli.errors import UsageError

    for candidate in known:
        if name.lower() == candidate.lower():
            return Degrade(candidate, scale, seed)
    raise UsageError(f"--degradation {name!r} is none of {', '.join(known)}.")


def _say(text: str, silent: bool) -> None:
    if not silent:
        typer.echo(text, err=True)


def _carry_out(
    tasks: Sequence[Task], output: Path, workers: int, verify: bool, as_json: bool, quiet: bool
) -> None:
    """Run the tasks with a progress bar, write the report, and end with the exit code that fits."""
    from rvrt_cli.cli.stopping import signals_as_interrupt
    from rvrt_cli.data.prepare import run_tasks
    from rvrt_cli.errors import PartialError, VerifyError
    from rvrt_cli.system.files import write_json
    from rvrt_cli.system.hardware import available_cores

    with signals_as_interrupt(), _progress(quiet or as_json) as on_progress:
        result = run_tasks(
            tasks, output, workers=workers or available_cores(), verify=verify, on_progress=on_progress
        )
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        _say(_describe(result, verify), quiet)
    if not verify:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / REPORT_NAME, result.to_dict())
    if result.failures:
        first = result.failures[0][1].rstrip(".")
        if verify:
            more = f" (and {len(result.failures) - 1} more)" if len(result.failures) > 1 else ""
            raise VerifyError(f"{first}{more}; run the command without --verify to write what is missing.")
        raise PartialError(
            f"{len(result.failures)} of {result.tasks} parts failed, the first one: {first}; all are named in {output / REPORT_NAME}."
        )


def _describe(result: PrepareResult, verify: bool) -> str:
    from rvrt_cli.cli.progress import format_size
    from rvrt_cli.upscale.events import counted

    if verify:
        return f"{counted(result.kept, 'file')} whole and right, {len(result.failures)} not."
    kept = f", {result.kept} there already" if result.kept else ""
    written = f"{counted(result.written, 'file')} written ({format_size(result.written_mib * (1 << 20))})"
    return f"{result.output}: {written}{kept}."


@contextmanager
def _progress(silent: bool) -> Iterator[OnProgress | None]:
    """A bar with ETA on a terminal, a line now and then elsewhere."""
    import sys
    import time

    if silent:
        yield None
        return
    if not sys.stderr.isatty():
        last = time.monotonic()

        def plain(progress: PrepareProgress) -> None:
            nonlocal last
            if time.monotonic() - last >= _PLAIN_INTERVAL_S:
                last = time.monotonic()
                _say(
                    f"{progress.done} of {progress.total} parts, {progress.written} files written, {progress.failures} failed",
                    False,
                )

        yield plain
        return

    with counting_bar() as bar:
        task = bar.add_task("", total=None, note="estimating the space needed")

        def live(progress: PrepareProgress) -> None:
            failed = f", {progress.failures} failed" if progress.failures else ""
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                note=f"{progress.written} written{failed}",
            )

        yield live
