"""The options of ``rvrt train``, by the panels of its help; their defaults stand with the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DATA, RECIPE, MACHINE, OUTPUT = "Data", "Recipe (defaults: the published one)", "Machine", "Run and reports"

# Data

Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="[KIND=]DIR[:WEIGHT]",
        help="Folder of videos, frame folders or photographs; may be repeated. KIND (photos, frames, videos, vimeo90k) where it is taken for something else.",
        rich_help_panel=DATA,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME[:WEIGHT]",
        help="A published data set: vimeo90k.",
        rich_help_panel=DATA,
    ),
]
Root = Annotated[
    Path,
    typer.Option("--root", metavar="DIR", help="Where --dataset lies.", rich_help_panel=DATA),
]
Degradation = Annotated[
    str,
    typer.Option(
        "--degradation",
        metavar="NAME",
        help="BI, BD or real (blur, noise, compression).",
        rich_help_panel=DATA,
    ),
]
Augment = Annotated[
    bool,
    typer.Option(
        "--augment/--no-augment",
        help="Flips and transposes, and (not in the published recipe) reversal in time, each with probability one half.",
        rich_help_panel=DATA,
    ),
]
Mirror = Annotated[
    bool | None,
    typer.Option(
        "--mirror/--no-mirror",
        help="Append each clip's mirror image in time; default: where --frames is odd.",
        rich_help_panel=DATA,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        help="Data processes per device; 0 works in the training process. Default: the cores that are left, 1 to 8.",
        rich_help_panel=DATA,
    ),
]
Cache = Annotated[
    int,
    typer.Option(
        "--cache",
        metavar="MIB",
        min=0,
        help="Memory for decoded pictures, of all data processes of a device together.",
        rich_help_panel=DATA,
    ),
]
Val = Annotated[
    list[str] | None,
    typer.Option(
        "--val",
        metavar="[NAME=]DIR",
        help="Validation clips: a folder of frame folders, or Vimeo-90K; may be repeated.",
        rich_help_panel=DATA,
    ),
]
ValFrames = Annotated[
    int,
    typer.Option(
        "--val-frames",
        metavar="N",
        min=1,
        help="First frames of each validation clip.",
        rich_help_panel=DATA,
    ),
]
ValClips = Annotated[
    int,
    typer.Option(
        "--val-clips", metavar="N", min=1, help="At most so many clips per set.", rich_help_panel=DATA
    ),
]

# Recipe

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="NAME", help="rvrt, light, light-s, light-s-x2, ...", rich_help_panel=RECIPE
    ),
]
Steps = Annotated[
    int, typer.Option("--steps", metavar="N", min=1, help="Optimizer steps.", rich_help_panel=RECIPE)
]
Batch = Annotated[
    int,
    typer.Option(
        "--batch",
        metavar="N",
        min=1,
        help="Clips per step over all devices together.",
        rich_help_panel=RECIPE,
    ),
]
Frames = Annotated[
    int, typer.Option("--frames", metavar="N", min=1, help="Frames per clip.", rich_help_panel=RECIPE)
]
Patch = Annotated[
    int,
    typer.Option(
        "--patch",
        metavar="PX",
        min=1,
        help="Side of a patch in GT pixels (the LQ patch is that over the model's scale).",
        rich_help_panel=RECIPE,
    ),
]
Stage = Annotated[
    list[str] | None,
    typer.Option(
        "--stage",
        metavar="K=V,...",
        help="A stretch of the run, as steps=4000,patch=128 (also frames, batch; the rest as for the whole run); repeated, in order; the cosine spans all stages.",
        rich_help_panel=RECIPE,
    ),
]
Lr = Annotated[
    float, typer.Option("--lr", help="Learning rate at the start of the cosine.", rich_help_panel=RECIPE)
]
LrMin = Annotated[
    float, typer.Option("--lr-min", help="Learning rate at the end of the cosine.", rich_help_panel=RECIPE)
]
Warmup = Annotated[
    int,
    typer.Option(
        "--warmup", metavar="STEPS", help="Steps of linear growth at the start.", rich_help_panel=RECIPE
    ),
]
Beta1 = Annotated[
    float, typer.Option("--beta1", help="Adam's decay of the gradient's mean.", rich_help_panel=RECIPE)
]
Beta2 = Annotated[
    float, typer.Option("--beta2", help="Adam's decay of its square's mean.", rich_help_panel=RECIPE)
]
Epsilon = Annotated[
    float, typer.Option("--epsilon", help="Adam's addend to the root.", rich_help_panel=RECIPE)
]
CharbonnierEpsilon = Annotated[
    float,
    typer.Option(
        "--charbonnier-epsilon",
        help="Addend to the squared difference in the loss.",
        rich_help_panel=RECIPE,
    ),
]
ClipGrad = Annotated[
    float,
    typer.Option(
        "--clip-grad", metavar="NORM", help="Largest gradient norm; 0 for none.", rich_help_panel=RECIPE
    ),
]
Ema = Annotated[
    float,
    typer.Option(
        "--ema",
        metavar="DECAY",
        help="Moving average of the weights, which is validated and exported; grows to this decay over the first steps; 0 for none.",
        rich_help_panel=RECIPE,
    ),
]
Accumulate = Annotated[
    int,
    typer.Option(
        "--accumulate",
        metavar="N",
        min=1,
        help="Cut a device's share of the batch into N parts.",
        rich_help_panel=RECIPE,
    ),
]
FlowFreeze = Annotated[
    int,
    typer.Option(
        "--flow-freeze",
        metavar="STEPS",
        help="Steps before the optical-flow network is trained.",
        rich_help_panel=RECIPE,
    ),
]
FlowLrFactor = Annotated[
    float,
    typer.Option(
        "--flow-lr-factor",
        help="Learning rate of the optical-flow network over that of the rest.",
        rich_help_panel=RECIPE,
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, help="Of the initial weights and the data.", rich_help_panel=RECIPE),
]
Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        metavar="WEIGHTS",
        help="Weights to start from (fine-tuning); those of the same network for another scale are adapted.",
        rich_help_panel=RECIPE,
    ),
]

# Machine

Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="mindspore, torch, or auto: MindSpore where it is installed and can do what is asked for, else PyTorch; a resumed run keeps its own.",
        rich_help_panel=MACHINE,
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, gpu, ascend.", rich_help_panel=MACHINE),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        metavar="N",
        min=0,
        help="CPU threads per device; 0 takes the framework's choice.",
        rich_help_panel=MACHINE,
    ),
]
Devices = Annotated[
    int,
    typer.Option(
        "--devices",
        metavar="N",
        min=1,
        help="Devices of this machine (on CPU: processes), each with an equal share of the batch.",
        rich_help_panel=MACHINE,
    ),
]
Nodes = Annotated[int, typer.Option("--nodes", metavar="N", min=1, help="Machines.", rich_help_panel=MACHINE)]
NodeRank = Annotated[
    int,
    typer.Option(
        "--node-rank", metavar="N", min=0, help="Number of this machine, from 0.", rich_help_panel=MACHINE
    ),
]
Master = Annotated[
    str,
    typer.Option("--master", metavar="HOST:PORT", help="Address of machine 0.", rich_help_panel=MACHINE),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="fp32, bf16 or fp16 (with dynamic loss scaling).",
        rich_help_panel=MACHINE,
    ),
]
Recompute = Annotated[
    bool,
    typer.Option(
        "--recompute",
        help="Recompute activations: less memory, about a third more time.",
        rich_help_panel=MACHINE,
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="torch.compile the network.", rich_help_panel=MACHINE)
]

# Run and reports

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Folder of the run: checkpoints, logs, weights; shared by all machines. Default: runs/MODEL.",
        rich_help_panel=OUTPUT,
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="auto",
        help="Continue from the newest checkpoint in --out, or start where there is none.",
        rich_help_panel=OUTPUT,
    ),
]
ValInterval = Annotated[
    int,
    typer.Option(
        "--val-interval",
        metavar="STEPS",
        min=1,
        help="Steps between two validations.",
        rich_help_panel=OUTPUT,
    ),
]
SaveInterval = Annotated[
    int,
    typer.Option(
        "--save-interval",
        metavar="STEPS",
        min=1,
        help="Steps between two checkpoints: what a killed run loses at most.",
        rich_help_panel=OUTPUT,
    ),
]
LogInterval = Annotated[
    int,
    typer.Option(
        "--log-interval",
        metavar="STEPS",
        min=1,
        help="Steps between two lines of the log.",
        rich_help_panel=OUTPUT,
    ),
]
Keep = Annotated[
    int,
    typer.Option(
        "--keep",
        metavar="N",
        min=1,
        help="Checkpoints that stay; the best weights always do.",
        rich_help_panel=OUTPUT,
    ),
]
TimeLimit = Annotated[
    float,
    typer.Option(
        "--time-limit",
        metavar="MINUTES",
        min=0,
        help="Save and stop after so many minutes; 0 for no limit.",
        rich_help_panel=OUTPUT,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check options, data, devices and folders, show the plan and stop.",
        rich_help_panel=OUTPUT,
    ),
]
Tensorboard = Annotated[
    bool, typer.Option("--tensorboard", help="Also write TensorBoard events.", rich_help_panel=OUTPUT)
]
Samples = Annotated[
    bool,
    typer.Option("--samples/--no-samples", help="Write pictures at validation.", rich_help_panel=OUTPUT),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.", rich_help_panel=OUTPUT)]
