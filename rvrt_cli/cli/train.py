"""``rvrt train``: options → settings, recipe and network."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rvrt_cli.train.batches import SourceSpec
    from rvrt_cli.train.checkpoint import Tensors

DATA, RECIPE, MACHINE, OUTPUT = "Data", "Recipe (defaults: the published one)", "Machine", "Run and reports"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("train", help="Train or fine-tune a network; continue a run with --resume auto.")(train)


def train(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder of the run: checkpoints, logs, weights; shared by all machines. Default: runs/MODEL.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
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
            metavar="[KIND=]DIR[:WEIGHT]",
            help="Folder of videos, frame folders or photographs; may be repeated. KIND (photos, frames, videos, vimeo90k) where it is taken for something else.",
            rich_help_panel=DATA,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME[:WEIGHT]",
            help="A published data set: vimeo90k.",
            rich_help_panel=DATA,
        ),
    ] = None,
    root: Annotated[
        Path,
        typer.Option("--root", metavar="DIR", help="Where --dataset lies.", rich_help_panel=DATA),
    ] = Path("vimeo_septuplet"),
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
            "--augment/--no-augment",
            help="Flips and transposes, and (not in the published recipe) reversal in time, each with probability one half.",
            rich_help_panel=DATA,
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
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=0,
            help="Data processes per device; 0 works in the training process. Default: the cores that are left, 1 to 8.",
            rich_help_panel=DATA,
        ),
    ] = None,
    cache: Annotated[
        int,
        typer.Option(
            "--cache",
            metavar="MIB",
            min=0,
            help="Memory for decoded pictures, of all data processes of a device together.",
            rich_help_panel=DATA,
        ),
    ] = 2048,
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
    beta1: Annotated[
        float, typer.Option("--beta1", help="Adam's decay of the gradient's mean.", rich_help_panel=RECIPE)
    ] = 0.9,
    beta2: Annotated[
        float, typer.Option("--beta2", help="Adam's decay of its square's mean.", rich_help_panel=RECIPE)
    ] = 0.99,
    epsilon: Annotated[
        float, typer.Option("--epsilon", help="Adam's addend to the root.", rich_help_panel=RECIPE)
    ] = 1e-8,
    charbonnier_epsilon: Annotated[
        float,
        typer.Option(
            "--charbonnier-epsilon",
            help="Addend to the squared difference in the loss.",
            rich_help_panel=RECIPE,
        ),
    ] = 1e-9,
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
            help="Moving average of the weights, which is validated and exported; grows to this decay over the first steps; 0 for none.",
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
            help="Steps before the optical-flow network is trained.",
            rich_help_panel=RECIPE,
        ),
    ] = 5000,
    flow_lr_factor: Annotated[
        float,
        typer.Option(
            "--flow-lr-factor",
            help="Learning rate of the optical-flow network over that of the rest.",
            rich_help_panel=RECIPE,
        ),
    ] = 0.25,
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
        str,
        typer.Option(
            "--backend",
            metavar="NAME",
            help="mindspore, torch, or auto: MindSpore where it is installed and can do what is asked for, else PyTorch; a resumed run keeps its own.",
            rich_help_panel=MACHINE,
        ),
    ] = "auto",
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
        typer.Option(
            "--dry-run",
            help="Check options, data, devices and folders, show the plan and stop.",
            rich_help_panel=OUTPUT,
        ),
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
    from rvrt_cli.errors import UsageError
    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.train.batches import default_workers
    from rvrt_cli.train.choice import AUTO, choose_backend
    from rvrt_cli.train.engine import ENGINES
    from rvrt_cli.train.export import LAST_NAME
    from rvrt_cli.train.job import current_place, is_scheduler
    from rvrt_cli.train.launch import Cluster
    from rvrt_cli.train.recipe import Recipe, Stage, parse_stage
    from rvrt_cli.train.settings import RunSettings
    from rvrt_cli.train.validate import parse_validation

    enable_debug(debug)
    if is_scheduler():
        from rvrt_cli.train.engine_mindspore import run_scheduler

        return run_scheduler()
    from rvrt_cli.cli.train_run import launch_ranks, run_alone, run_rank, show_plan

    if resume not in (None, "auto"):
        raise UsageError(f"--resume knows only 'auto', not {resume!r}.")
    if model not in PRESETS:
        raise UsageError(f"There is no network called {model!r}; choose one of {', '.join(PRESETS)}.")
    if not math.isfinite(time_limit):
        raise UsageError(f"--time-limit is a number of minutes, not {time_limit:g}.")
    if backend not in (AUTO, *ENGINES):
        raise UsageError(f"Training runs on {' or '.join(ENGINES)}, not on {backend!r}.")
    sources = _sources(data or [], dataset, root)
    config = PRESETS[model]
    if config.upscale == 1:
        raise UsageError(
            f"{model} restores without enlarging; rvrt trains the x4 networks: rvrt, light, light-s."
        )
    base = Stage(steps, batch, frames, patch)
    stages = tuple(parse_stage(text, base) for text in stage) if stage else (base,)
    recipe = Recipe(
        stages=stages, seed=seed, lr=lr, lr_min=lr_min, warmup=warmup, beta1=beta1, beta2=beta2, epsilon=epsilon,
        clip_grad=clip_grad, ema=ema, charbonnier_epsilon=charbonnier_epsilon, mirror=mirror,
        flow_lr_factor=flow_lr_factor, flow_freeze_steps=flow_freeze, accumulate=accumulate, precision=precision,
        recompute=recompute, compile=compile_, degradation=degradation, augment=augment,
    )  # fmt: skip
    initial = None if init is None else _initial_tensors(init, model)
    out = out or Path("runs") / model
    reason = ""
    if backend == AUTO:
        choice = choose_backend(device, recipe, out / LAST_NAME if resume else None)
        backend, reason = choice.backend, choice.reason
    settings = RunSettings(
        out=out, model=model, sources=sources, validation=parse_validation(val or [], val_frames, val_clips),
        backend=backend, backend_reason=reason, device=device, machines=nodes,
        threads=threads, workers=default_workers(devices) if workers is None else workers, cache_mib=cache,
        resume=resume == "auto", val_interval=val_interval, save_interval=save_interval, log_interval=log_interval,
        keep=keep, tensorboard=tensorboard, samples=samples, time_limit_s=60 * time_limit, initial_label=init or "random",
        command=shlex.join(["rvrt", *sys.argv[1:]]),
    )  # fmt: skip
    cluster = Cluster(devices, nodes, node_rank, master)
    place = current_place()
    if place is not None:
        return run_rank(place, settings, config, recipe, initial)
    if dry_run:
        return show_plan(settings, config, recipe, cluster)
    from rvrt_cli.train.stopping import StopRequest

    with StopRequest().installed() as stop:
        if cluster.world > 1:
            return launch_ranks(cluster, settings, recipe, config, stop)
        return run_alone(settings, config, recipe, initial, stop)


def _sources(data: list[str], dataset: str | None, root: Path) -> tuple[SourceSpec, ...]:
    from rvrt_cli.errors import UsageError
    from rvrt_cli.train.batches import SourceSpec, parse_source, split_weight

    sources = [parse_source(text) for text in data]
    if dataset is not None:
        name, weight = split_weight(dataset, "--dataset")
        if name != "vimeo90k":
            raise UsageError(f"There is no data set called {name!r}; use vimeo90k, or --data for a folder.")
        if not root.exists():
            raise UsageError(f"{root} does not exist; give --root, the folder that holds the data set.")
        sources.append(SourceSpec(str(root), weight, "vimeo90k"))
    if not sources:
        raise UsageError("There is nothing to train on; give --data DIR or --dataset vimeo90k --root DIR.")
    return tuple(sources)


def _initial_tensors(init: str, model: str) -> Tensors:
    """The tensors of a weight file, or of a name that the weight registry knows."""
    from rvrt_cli.errors import UsageError
    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.weights import find_weights
    from rvrt_cli.weights.files import load_weights

    weights = load_weights(Path(init) if Path(init).exists() else find_weights(init))
    if weights.config != PRESETS[model]:
        raise UsageError(f"The weights {init} are no {model}; choose the --model that they were made for.")
    return weights.tensors
