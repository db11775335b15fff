"""The options of ``rvrt upscale`` that no other command has, in the order of its help."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from rvrt_cli.cli.options import MODEL_PANEL
from rvrt_cli.errors import UsageError

PICTURE = "Picture"
ENCODING = "Encoding"
RANGE = "Which frames"
MEMORY = "Windows, tiles and memory"
RUN = "The run"

InputArgument = Annotated[
    str,
    typer.Argument(metavar="IN", help="Video, folder, image sequence or - (y4m).", show_default=False),
]
OutputArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="OUT",
        help="Video, folder, image sequence, .png or - (y4m); not needed with --estimate.",
        show_default=False,
    ),
]
ScaleOption = Annotated[
    int | None,
    typer.Option(
        "--scale",
        metavar="2|3|4",
        help="Size of the result; below the model's own (4; 2 for light-s-x2) it is reduced. 1 keeps the size (with --denoise or --deblur).",
        rich_help_panel=PICTURE,
    ),
]
HeightOption = Annotated[
    int | None,
    typer.Option(
        "--height",
        metavar="PX",
        help="Height of the result as it is shown; the width follows.",
        rich_help_panel=PICTURE,
    ),
]
WidthOption = Annotated[
    int | None,
    typer.Option(
        "--width",
        metavar="PX",
        help="Width of the result as it is shown; the height follows.",
        rich_help_panel=PICTURE,
    ),
]
DenoiseOption = Annotated[
    float | None,
    typer.Option(
        "--denoise",
        metavar="SIGMA",
        help="Remove noise of this standard deviation (of 255) first.",
        rich_help_panel=PICTURE,
    ),
]
DeblurOption = Annotated[
    bool, typer.Option("--deblur", help="Remove motion blur first.", rich_help_panel=PICTURE)
]
StrengthOption = Annotated[
    float,
    typer.Option(
        "--strength",
        metavar="0..1",
        help="1: the model alone, 0: bicubic alone, between: a blend.",
        rich_help_panel=PICTURE,
    ),
]
CompareOption = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar="side|split",
        help="Show bicubic (left) beside the result, or as the left half of the picture.",
        rich_help_panel=PICTURE,
    ),
]
DeinterlaceOption = Annotated[
    str,
    typer.Option(
        "--deinterlace",
        metavar="auto|on|off",
        help="auto: frames flagged interlaced, with bwdif.",
        rich_help_panel=PICTURE,
    ),
]
CodecOption = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="NAME",
        help="h264, h265, av1, vp9, prores, ffv1 or libx264rgb; default by container.",
        rich_help_panel=ENCODING,
    ),
]
CrfOption = Annotated[
    float | None,
    typer.Option(
        "--crf",
        metavar="N",
        help="Quality: less is better and larger; default visually lossless.",
        rich_help_panel=ENCODING,
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="The encoder's speed preset, for example fast or slow.",
        rich_help_panel=ENCODING,
    ),
]
PixFmtOption = Annotated[
    str | None,
    typer.Option(
        "--pix-fmt",
        metavar="NAME",
        help="Pixel format, for example yuv420p10le; for PNG rgb24 or rgb48. Default as the source.",
        rich_help_panel=ENCODING,
    ),
]
LosslessOption = Annotated[
    bool, typer.Option("--lossless", help="Encode without loss.", rich_help_panel=ENCODING)
]
ContainerOption = Annotated[
    str | None,
    typer.Option(
        "--container",
        metavar="NAME",
        help="mp4, mkv, mov, webm ...; default by OUT's suffix.",
        rich_help_panel=ENCODING,
    ),
]
FpsOption = Annotated[
    str | None,
    typer.Option(
        "--fps",
        metavar="RATE",
        help="Frame rate of an image sequence on input (default 24).",
        rich_help_panel=ENCODING,
    ),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="TIME",
        help="Begin with the first frame at or after this time: 12.5, 1:02.5 or 1:00:02.",
        rich_help_panel=RANGE,
    ),
]
EndOption = Annotated[
    str | None,
    typer.Option("--end", metavar="TIME", help="Stop before this time.", rich_help_panel=RANGE),
]
FramesOption = Annotated[
    int | None, typer.Option("--frames", metavar="N", help="At most N frames.", rich_help_panel=RANGE)
]
PreviewOption = Annotated[
    int | None,
    typer.Option(
        "--preview",
        metavar="N",
        help="Two seconds from each of N places, without sound.",
        rich_help_panel=RANGE,
    ),
]
FrameOption = Annotated[
    str | None,
    typer.Option(
        "--frame",
        metavar="TIME",
        help="Only the frame shown at this time, as a PNG.",
        rich_help_panel=RANGE,
    ),
]
EstimateOption = Annotated[
    bool,
    typer.Option(
        "--estimate",
        "--dry-run",
        help="Measure a few windows and print the plan: time, memory, disk. Writes nothing.",
        rich_help_panel=RUN,
    ),
]
WindowOption = Annotated[
    int | None,
    typer.Option(
        "--window",
        metavar="N",
        help="Frames given to the model at once (even; default 24, fewer when memory is short).",
        rich_help_panel=MEMORY,
    ),
]
OverlapOption = Annotated[
    int | None,
    typer.Option(
        "--overlap",
        metavar="N",
        help="Frames that consecutive windows share (even; default 6, fewer for short windows).",
        rich_help_panel=MEMORY,
    ),
]
TileOption = Annotated[
    str,
    typer.Option(
        "--tile",
        metavar="auto|N|off",
        help="Side of spatial tiles in source pixels (a multiple of 8).",
        rich_help_panel=MEMORY,
    ),
]
TileOverlapOption = Annotated[
    int,
    typer.Option(
        "--tile-overlap",
        metavar="N",
        help="Pixels that neighbouring tiles share (a multiple of 8).",
        rich_help_panel=MEMORY,
    ),
]
MemoryLimitOption = Annotated[
    str | None,
    typer.Option(
        "--memory-limit",
        metavar="SIZE",
        help="Plan windows and tiles for this much memory, for example 6G; default half of the machine's. A run that goes on under another limit keeps what is done.",
        rich_help_panel=MEMORY,
    ),
]
ShotsOption = Annotated[
    bool,
    typer.Option("--shots/--no-shots", help="Detect cuts; windows never cross one.", rich_help_panel=MEMORY),
]
UpscaleThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads",
        metavar="N",
        help="CPU threads of the model and of the decoder; 0 takes all cores. Encoders always take 4: their number would change the file.",
        rich_help_panel=MODEL_PANEL,
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume", help="Continue an interrupted run, or start anew.", rich_help_panel=RUN
    ),
]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace OUT when the run is finished; of a numbered sequence also the pictures that the new one does not have.",
        rich_help_panel=RUN,
    ),
]
WorkDirOption = Annotated[
    Path | None,
    typer.Option(
        "--work-dir",
        metavar="FOLDER",
        help="Where finished segments are kept until the end; default beside OUT. Work begun beside OUT may be moved here by hand.",
        rich_help_panel=RUN,
    ),
]
KeepWorkOption = Annotated[
    bool, typer.Option("--keep-work", help="Keep the segments after the run.", rich_help_panel=RUN)
]
SegmentFramesOption = Annotated[
    int | None,
    typer.Option(
        "--segment-frames",
        metavar="N",
        help="Frames per segment: at most this many are done again after a kill. Default 24 to 240, by size.",
        rich_help_panel=RUN,
    ),
]


def parse_time(option: str, text: str | None) -> float | None:
    """Seconds of ``12.5``, ``1:02.5`` or ``1:00:02``."""
    if text is None:
        return None
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if (
        not 1 <= len(parts) <= 3
        or any(part < 0 or not math.isfinite(part) for part in parts)
        or any(part >= 60 for part in parts[1:])
    ):
        raise UsageError(f"{option} must be a time such as 12.5, 1:02.5 or 1:00:02; got {text!r}.")
    seconds = 0.0
    for part in parts:
        seconds = 60 * seconds + part
    return seconds
