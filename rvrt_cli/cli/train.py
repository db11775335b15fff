"""``rvrt train``: options → settings, recipe and network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rvrt_cli.model.config import ModelConfig
    from rvrt_cli.train.launch import Cluster
    from rvrt_cli.train.loop import RunSettings
    from rvrt_cli.train.recipe import Recipe

DATA, RECIPE, MACHINE, OUTPUT = "Data", "Recipe (defaults: the published one)", "Machine", "Run and reports"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("train", help="Train or fine-tune a network; continue a run with --resume auto.")(train)


def train(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder of the run: checkpoints, logs, weights.",
            rich_help_panel=OUTPUT,
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", metavar="NAME", help="rvrt, light, light-s, ...", rich_help_panel=RECIPE
        ),
    ] = "light-s",
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="DIR[:WEIGHT]",
            help="Folder of videos, frame folders or photographs; may be repeated.",
            rich_help_panel=DATA,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", metavar="NAME", help="A published data set: vimeo90k.", rich_help_panel=DATA
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="Where --dataset lies.", rich_help_panel=DATA),
    ] = None,
    degradation: Annotated[
        str,
        typer.Option(
            "--degradation",
            metavar="NAME",
            help="BI, BD or real (blur, noise, compression).",
            rich_help_panel=DATA,
        ),
    ] = "BI",
    augment: Annotated[
        bool,
        typer.Option(
            "--augment/--no-augment", help="Flips, transposes and time reversal.", rich_help_panel=DATA
        ),
    ] = True,
    mirror: Annotated[
        bool | None,
        typer.Option(
            "--mirror/--no-mirror",
            help="Append each clip's mirror image in time; default: where --frames is odd.",
            rich_help_panel=DATA,
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="N",
            min=0,
            help="Data processes per device; 0 works in the training process.",
            rich_help_panel=DATA,
        ),
    ] = 1,
    val: Annotated[
        list[str] | None,
        typer.Option(
            "--val",
            metavar="[NAME=]DIR",
            help="Validation clips: a folder of frame folders, or Vimeo-90K; may be repeated.",
            rich_help_panel=DATA,
        ),
    ] = None,
    val_frames: Annotated[
        int,
        typer.Option(
            "--val-frames",
            metavar="N",
            min=1,
            help="First frames of each validation clip.",
            rich_help_panel=DATA,
        ),
    ] = 6,
    val_clips: Annotated[
        int,
        typer.Option(
            "--val-clips", metavar="N", min=1, help="At most so many clips per set.", rich_help_panel=DATA
        ),
    ] = 16,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, help="Optimizer steps.", rich_help_panel=RECIPE)
    ] = 300_000,
    batch: Annotated[
        int,
        typer.Option(
            "--batch",
            metavar="N",
            min=1,
            help="Clips per step over all devices together.",
            rich_help_panel=RECIPE,
        ),
    ] = 8,
    frames: Annotated[
        int, typer.Option("--frames", metavar="N", min=1, help="Frames per clip.", rich_help_panel=RECIPE)
    ] = 7,
    patch: Annotated[
        int,
        typer.Option(
            "--patch",
            metavar="PX",
            min=1,
            help="Side of a patch in GT pixels (the LQ patch is a quarter).",
            rich_help_panel=RECIPE,
        ),
    ] = 256,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="K=V,...",
            help="A stretch of the run, in order: steps=4000,frames=2,patch=128,batch=16 (patch in GT pixels); the cosine spans all stages.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    lr: Annotated[
        float, typer.Option("--lr", help="Learning rate at the start of the cosine.", rich_help_panel=RECIPE)
    ] = 2e-4,
    lr_min: Annotated[
        float, typer.Option("--lr-min", help="Learning rate at its end.", rich_help_panel=RECIPE)
    ] = 1e-7,
    warmup: Annotated[
        int,
        typer.Option(
            "--warmup", metavar="STEPS", help="Steps of linear growth at the start.", rich_help_panel=RECIPE
        ),
    ] = 0,
    clip_grad: Annotated[
        float,
        typer.Option(
            "--clip-grad", metavar="NORM", help="Largest gradient norm; 0 for none.", rich_help_panel=RECIPE
        ),
    ] = 0.0,
    ema: Annotated[
        float,
        typer.Option(
            "--ema",
            metavar="DECAY",
            help="Moving average of the weights, which is validated and exported; 0 for none.",
            rich_help_panel=RECIPE,
        ),
    ] = 0.999,
    accumulate: Annotated[
        int,
        typer.Option(
            "--accumulate",
            metavar="N",
            min=1,
            help="Cut a device's share of the batch into N parts.",
            rich_help_panel=RECIPE,
        ),
    ] = 1,
    flow_freeze: Annotated[
        int,
        typer.Option(
            "--flow-freeze",
            metavar="STEPS",
            help="Steps before the optical-flow network is trained, at a quarter of the rate.",
            rich_help_panel=RECIPE,
        ),
    ] = 5000,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="Of the initial weights and the data.", rich_help_panel=RECIPE),
    ] = 0,
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="WEIGHTS", help="Weights to start from (fine-tuning).", rich_help_panel=RECIPE
        ),
    ] = None,
    backend: Annotated[
        str, typer.Option("--backend", metavar="NAME", help="torch or mindspore.", rich_help_panel=MACHINE)
    ] = "torch",
    device: Annotated[
        str,
        typer.Option(
            "--device", metavar="NAME", help="auto, cpu, cuda, gpu, ascend.", rich_help_panel=MACHINE
        ),
    ] = "auto",
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            metavar="N",
            min=0,
            help="CPU threads per device; 0 takes the framework's choice.",
            rich_help_panel=MACHINE,
        ),
    ] = 0,
    devices: Annotated[
        int,
        typer.Option(
            "--devices",
            metavar="N",
            min=1,
            help="Devices of this machine (on CPU: processes), each with an equal share of the batch.",
            rich_help_panel=MACHINE,
        ),
    ] = 1,
    nodes: Annotated[
        int, typer.Option("--nodes", metavar="N", min=1, help="Machines.", rich_help_panel=MACHINE)
    ] = 1,
    node_rank: Annotated[
        int,
        typer.Option(
            "--node-rank", metavar="N", min=0, help="Number of this machine, from 0.", rich_help_panel=MACHINE
        ),
    ] = 0,
    master: Annotated[
        str,
        typer.Option("--master", metavar="HOST:PORT", help="Address of machine 0.", rich_help_panel=MACHINE),
    ] = "",
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            metavar="NAME",
            help="fp32, bf16 or fp16 (with dynamic loss scaling).",
            rich_help_panel=MACHINE,
        ),
    ] = "fp32",
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Recompute activations: less memory, about a third more time.",
            rich_help_panel=MACHINE,
        ),
    ] = False,
    compile_: Annotated[
        bool, typer.Option("--compile", help="torch.compile the network.", rich_help_panel=MACHINE)
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="auto",
            help="Continue from the newest checkpoint in --out, or start where there is none.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    val_interval: Annotated[
        int, typer.Option("--val-interval", metavar="STEPS", min=1, rich_help_panel=OUTPUT)
    ] = 1000,
    save_interval: Annotated[
        int, typer.Option("--save-interval", metavar="STEPS", min=1, rich_help_panel=OUTPUT)
    ] = 1000,
    log_interval: Annotated[
        int, typer.Option("--log-interval", metavar="STEPS", min=1, rich_help_panel=OUTPUT)
    ] = 10,
    keep: Annotated[
        int,
        typer.Option(
            "--keep",
            metavar="N",
            min=1,
            help="Checkpoints that stay; the best weights always do.",
            rich_help_panel=OUTPUT,
        ),
    ] = 3,
    time_limit: Annotated[
        float,
        typer.Option(
            "--time-limit",
            metavar="MINUTES",
            min=0,
            help="Save and stop after so many minutes; 0 for no limit.",
            rich_help_panel=OUTPUT,
        ),
    ] = 0.0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, show the plan and stop.", rich_help_panel=OUTPUT),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard events.", rich_help_panel=OUTPUT)
    ] = False,
    samples: Annotated[
        bool,
        typer.Option("--samples/--no-samples", help="Write pictures at validation.", rich_help_panel=OUTPUT),
    ] = True,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of errors.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Train a network on clips that are cut, degraded and (photographs) moved on the fly."""
    from rvrt_cli.cli.app import enable_debug
    from rvrt_cli.cli.train_view import TrainView
    from rvrt_cli.errors import InterruptedRun, UsageError
    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.train.batches import SourceSpec, parse_source
    from rvrt_cli.train.engine import ENGINES, Place
    from rvrt_cli.train.launch import Cluster, current_place, is_scheduler
    from rvrt_cli.train.loop import RunSettings, run_training
    from rvrt_cli.train.recipe import Recipe, Stage, parse_stage
    from rvrt_cli.train.validate import parse_validation

    enable_debug(debug)
    if is_scheduler():
        from rvrt_cli.train.engine_mindspore import run_scheduler

        return run_scheduler()
    if resume not in (None, "auto"):
        raise UsageError(f"--resume knows only 'auto', not {resume!r}.")
    if model not in PRESETS:
        raise UsageError(f"There is no network called {model!r}; choose one of {', '.join(PRESETS)}.")
    sources = tuple(parse_source(text) for text in data or [])
    if dataset is not None:
        if dataset != "vimeo90k":
            raise UsageError(
                f"There is no data set called {dataset!r}; use vimeo90k, or --data for a folder."
            )
        if root is None:
            raise UsageError("--dataset needs --root, the folder that holds the data set.")
        sources = (*sources, SourceSpec(str(root), 1.0, "vimeo90k"))
    if not sources:
        raise UsageError("There is nothing to train on; give --data DIR or --dataset vimeo90k --root DIR.")
    config = PRESETS[model]
    if config.upscale == 1:
        raise UsageError(
            f"{model} restores without enlarging; rvrt trains the x4 networks: rvrt, light, light-s."
        )
    base = Stage(steps, batch, frames, patch)
    stages = tuple(parse_stage(text, base) for text in stage) if stage else (base,)
    recipe = Recipe(
        stages=stages, seed=seed, lr=lr, lr_min=lr_min, warmup=warmup, clip_grad=clip_grad, ema=ema, mirror=mirror,
        flow_freeze_steps=flow_freeze, accumulate=accumulate, precision=precision, recompute=recompute,
        compile=compile_, degradation=degradation, augment=augment,
    )  # fmt: skip
    initial = None
    if init is not None:
        from rvrt_cli.weights.files import load_weights

        weights = load_weights(_weights_path(init))
        config, initial = weights.config, weights.tensors
        if config != PRESETS[model]:
            raise UsageError(
                f"The weights {init} are no {model}; choose the --model that they were made for."
            )
    settings = RunSettings(
        out=out, model=model, sources=sources,
        validation=tuple(parse_validation(text, val_frames, val_clips) for text in val or []),
        backend=backend, device=device, threads=threads, workers=workers, resume=resume == "auto",
        val_interval=val_interval, save_interval=save_interval, log_interval=log_interval, keep=keep,
        tensorboard=tensorboard, samples=samples, time_limit_s=60 * time_limit,
        initial_label=init or "random", command="rvrt " + " ".join(sys.argv[1:]),
    )  # fmt: skip
    if backend not in ENGINES:
        raise UsageError(f"Training runs on {' or '.join(ENGINES)}, not on {backend!r}.")
    place = current_place()
    if dry_run:
        return _show_plan(settings, config, recipe, max(1, devices * nodes))
    cluster = Cluster(devices, nodes, node_rank, master)
    if place is None and cluster.world > 1:
        recipe.check(config, cluster.world)
        return _launch(cluster, settings, recipe)
    with TrainView(place) as view:
        try:
            summary = run_training(settings, config, recipe, initial, view.show, place or Place())
        except InterruptedRun:
            if place is None:
                raise
            return None  # launchers take another exit code for a failure; the launching process explains
        view.finish(summary, settings, recipe)
    return None


def _show_plan(settings: RunSettings, config: ModelConfig, recipe: Recipe, world: int) -> None:
    from rvrt_cli.cli.train_view import show_plan
    from rvrt_cli.train.batches import open_sources
    from rvrt_cli.train.plan import plan_training

    recipe.check(config, world)
    source = open_sources(settings.sources)
    show_plan(plan_training(config, recipe, len(source), world), settings, recipe, source.name, world)


def _launch(cluster: Cluster, settings: RunSettings, recipe: Recipe) -> None:
    """Run this command once per device; the result is read from what it saved."""
    from rvrt_cli.train.checkpoint import load_latest
    from rvrt_cli.train.launch import describe_stop, launch

    finished = launch(
        settings.backend,
        cluster,
        sys.argv[1:],
        settings.out / "logs",
        lambda line: typer.echo(line, err=True),
    )
    checkpoint = load_latest(settings.out / "checkpoints")
    steps_done = 0 if checkpoint is None else checkpoint.step
    if steps_done < recipe.steps and (
        not finished or cluster.node_rank == 0
    ):  # a time limit ends ranks without a signal
        raise describe_stop(steps_done, recipe.steps)


def _weights_path(text: str) -> Path:
    """A file, or a name that the weight registry knows."""
    path = Path(text)
    if path.exists():
        return path
    from rvrt_cli.weights import find_weights

    return find_weights(text)
