"""Options that several commands share, declared once so that they mean and say the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

MODEL_PANEL = "Model and machine"
OUTPUT_PANEL = "Messages"

# Optional[...] instead of "| None": Typer reads these at import time on Python 3.10 too.
LightOption = Annotated[bool, typer.Option("--light", help="RVRT Light, small (the shipped model, and the default).", rich_help_panel=MODEL_PANEL)]
ModelOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--model", "-m", metavar="NAME|PATH", help="A model's name (light-s, light, rvrt, bicubic) or its weights file.", rich_help_panel=MODEL_PANEL),
]
WeightsOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--weights", metavar="PATH", help="Weights to use with --model (.safetensors, .pth, .ckpt).", rich_help_panel=MODEL_PANEL),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, gpu, gpu:1, ascend or ascend:1; auto picks the fastest.", rich_help_panel=MODEL_PANEL)
]
BackendOption = Annotated[
    str,
    typer.Option("--backend", metavar="NAME", help="auto, onnx, openvino, onnxruntime, torch or mindspore.", rich_help_panel=MODEL_PANEL),
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", metavar="NAME", help="auto, fp32 or mixed (half precision where the device gains from it).", rich_help_panel=MODEL_PANEL)
]
ThreadsOption = Annotated[int, typer.Option("--threads", metavar="N", help="CPU threads of the model; 0 takes all cores.", rich_help_panel=MODEL_PANEL)]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Events and the final report on stdout, one JSON object a line.", rich_help_panel=OUTPUT_PANEL)
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.", rich_help_panel=OUTPUT_PANEL)]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show details: every segment and how memory was planned.", rich_help_panel=OUTPUT_PANEL)]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.", rich_help_panel=OUTPUT_PANEL)]
