"""``rvrt train``: options → settings, recipe and network."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rvrt_cli.cli import train_options as options

if TYPE_CHECKING:
    from rvrt_cli.train.batches import SourceSpec
    from rvrt_cli.train.checkpoint import Tensors


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("train", help="Train or fine-tune a network; continue a run with --resume auto.")(train)


def train(
    out: options.Out = None,
    model: options.Model = "light-s",
    data: options.Data = None,
    dataset: options.Dataset = None,
    root: options.Root = Path("vimeo_septuplet"),
    degradation: options.Degradation = "BI",
    augment: options.Augment = True,
    mirror: options.Mirror = None,
    workers: options.Workers = None,
    cache: options.Cache = 2048,
    val: options.Val = None,
    val_frames: options.ValFrames = 6,
    val_clips: options.ValClips = 16,
    steps: options.Steps = 300_000,
    batch: options.Batch = 8,
    frames: options.Frames = 7,
    patch: options.Patch = 256,
    stage: options.Stage = None,
    lr: options.Lr = 2e-4,
    lr_min: options.LrMin = 1e-7,
    warmup: options.Warmup = 0,
    beta1: options.Beta1 = 0.9,
    beta2: options.Beta2 = 0.99,
    epsilon: options.Epsilon = 1e-8,
    charbonnier_epsilon: options.CharbonnierEpsilon = 1e-9,
    clip_grad: options.ClipGrad = 0.0,
    ema: options.Ema = 0.999,
    accumulate: options.Accumulate = 1,
    flow_freeze: options.FlowFreeze = 5000,
    flow_lr_factor: options.FlowLrFactor = 0.25,
    seed: options.Seed = 0,
    init: options.Init = None,
    backend: options.Backend = "auto",
    device: options.Device = "auto",
    threads: options.Threads = 0,
    devices: options.Devices = 1,
    nodes: options.Nodes = 1,
    node_rank: options.NodeRank = 0,
    master: options.Master = "",
    precision: options.Precision = "fp32",
    recompute: options.Recompute = False,
    compile_: options.Compile = False,
    resume: options.Resume = None,
    val_interval: options.ValInterval = 1000,
    save_interval: options.SaveInterval = 1000,
    log_interval: options.LogInterval = 10,
    keep: options.Keep = 3,
    time_limit: options.TimeLimit = 0.0,
    dry_run: options.DryRun = False,
    tensorboard: options.Tensorboard = False,
    samples: options.Samples = True,
    debug: options.Debug = False,
) -> None:
    """Train a network on clips that are cut, degraded and (photographs) moved on the fly."""
    from rvrt_cli.cli.app import enable_debug
    from rvrt_cli.errors import UsageError
    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.train.batches import default_workers
    from rvrt_cli.train.choice import AUTO, choose_backend
    from rvrt_cli.train.create_engine import ENGINES
    from rvrt_cli.train.export import LAST_NAME
    from rvrt_cli.train.job import current_rank_info, is_scheduler
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
            f"{model} restores without enlarging; rvrt trains the networks that enlarge: {', '.join(name for name in PRESETS if PRESETS[name].upscale > 1)}."
        )
    base = Stage(steps, batch, frames, patch)
    stages = tuple(parse_stage(text, base) for text in stage) if stage else (base,)
    recipe = Recipe(
        stages=stages, seed=seed, lr=lr, lr_min=lr_min, warmup=warmup, beta1=beta1, beta2=beta2, epsilon=epsilon,
        clip_grad=clip_grad, ema=ema, charbonnier_epsilon=charbonnier_epsilon, mirror=mirror,
        flow_lr_factor=flow_lr_factor, flow_freeze_steps=flow_freeze, accumulate=accumulate, precision=precision,
        recompute=recompute, compile=compile_, degradation=degradation, augment=augment,
    )  # fmt: skip
    initial, initial_label = (None, "random") if init is None else _initial_tensors(init, model)
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
        keep=keep, tensorboard=tensorboard, samples=samples, time_limit_s=60 * time_limit, initial_label=initial_label,
        command=shlex.join(["rvrt", *sys.argv[1:]]),
    )  # fmt: skip
    cluster = Cluster(devices, nodes, node_rank, master)
    rank_info = current_rank_info()
    if rank_info is not None:
        return run_rank(rank_info, settings, config, recipe, initial)
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


def _initial_tensors(init: str, model: str) -> tuple[Tensors, str]:
    """The tensors of a weight file, or of a name that the weight registry knows, and where they are from, in words.

    Those of the same network for another scale are adapted.
    """
    from rvrt_cli.errors import UsageError
    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.train.adapt import adapt_tensors, can_adapt
    from rvrt_cli.train.checkpoint import is_checkpoint
    from rvrt_cli.train.export import BEST_NAME, LAST_NAME
    from rvrt_cli.weights import find_weights
    from rvrt_cli.weights.files import load_weights

    path = Path(init) if Path(init).exists() else find_weights(init)
    if is_checkpoint(path):
        raise UsageError(
            f"{init} is a checkpoint; start from the {BEST_NAME} or {LAST_NAME} of its run, or continue that run with --resume auto."
        )
    weights = load_weights(path)
    wanted = PRESETS[model]
    if can_adapt(weights.config, wanted):
        words = f"{init}, adapted from x{weights.config.upscale} to x{wanted.upscale}"
        return adapt_tensors(weights.tensors, weights.config, wanted), words
    if weights.config != wanted:
        kind = "of another size" if weights.preset == model else f"for {weights.preset}, not for {model}"
        raise UsageError(f"The weights {init} are {kind}; choose the --model that they were made for.")
    return weights.tensors, init
