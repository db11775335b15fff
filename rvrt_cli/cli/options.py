"""Options that several commands share, declared once so that they mean and say the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from rvrt_cli.errors import UsageError

MODEL_PANEL = "Model and machine"
OUTPUT_PANEL = "Messages"

LightOption = Annotated[
    bool,
    typer.Option(
        "--light",
        help="RVRT Light: the full width where it was fetched (`rvrt weights fetch light`), else the small one that ships (light-s, the default).",
        rich_help_panel=MODEL_PANEL,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|PATH",
        help="A model's name (light-s, light-s-real, light-s-x2, light, rvrt, bicubic) or its weights file.",
        rich_help_panel=MODEL_PANEL,
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="PATH",
        help="A weights file (.safetensors, .pth, .ckpt); it says itself which network it holds.",
        rich_help_panel=MODEL_PANEL,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="auto, cpu, gpu, gpu:1, ascend or ascend:1; auto picks the fastest.",
        rich_help_panel=MODEL_PANEL,
    ),
]
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="auto, onnx, openvino, onnxruntime, torch or mindspore.",
        rich_help_panel=MODEL_PANEL,
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="auto, fp32 or mixed (half precision where the device gains from it).",
        rich_help_panel=MODEL_PANEL,
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads",
        metavar="N",
        help="CPU threads of the model; 0 takes all cores.",
        rich_help_panel=MODEL_PANEL,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Events and the final report on stdout, one JSON object a line.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show errors only.", rich_help_panel=OUTPUT_PANEL)
]
VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Show details: every segment and how memory was planned.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks of errors.", rich_help_panel=OUTPUT_PANEL)
]


@dataclass(frozen=True)
class ModelChoice:
    """The model that ``--light``, ``--model`` and ``--weights`` mean. ``words``: which one ``--light`` took, for the user."""

    name: str
    words: str | None = None


def choose_model(light: bool, model: str | None, weights: Path | None) -> ModelChoice:
    """Settle ``--light``, ``--model`` and ``--weights``; without ``--model`` a weights file says itself what it holds.

    Errors: :class:`UsageError` where they contradict each other.
    """
    from rvrt_cli.weights.find import LIGHT, LIGHT_SMALL, LIGHTS, light_model

    if light and model not in (None, *LIGHTS):
        raise UsageError(f"--light and --model {model} contradict each other; give one of them.")
    if weights is not None:
        if light and model is None:
            _check_light(weights)
        return ModelChoice(model or str(weights))
    if model is not None or not light:
        return ModelChoice(model or LIGHT_SMALL)
    name = light_model()
    if name == LIGHT:
        return ModelChoice(name, "Model: light (full width, found on this machine)")
    return ModelChoice(
        name,
        f"Model: {name} (small; the full-width light is not on this machine, `rvrt weights fetch light` gets it)",
    )


def _check_light(weights: Path) -> None:
    """Errors: :class:`UsageError` for a file that holds no RVRT Light."""
    from rvrt_cli.weights import load_weights
    from rvrt_cli.weights.find import LIGHTS

    preset = load_weights(weights).preset
    if preset not in LIGHTS:
        raise UsageError(f"--weights {weights} holds {preset}, not an RVRT Light; leave out --light.")
