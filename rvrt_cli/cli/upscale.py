"""``rvrt upscale``: any real video in, a faithful video out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from rvrt_cli.cli.options import (
    MODEL_PANEL,
    BackendOption,
    DebugOption,
    DeviceOption,
    JsonOption,
    LightOption,
    ModelOption,
    PrecisionOption,
    QuietOption,
    VerboseOption,
    WeightsOption,
    choose_model,
)
from rvrt_cli.errors import UsageError

PICTURE = "Picture"
ENCODING = "Encoding"
RANGE = "Which frames"
MEMORY = "Windows, tiles and memory"
RUN = "The run"


def register(app: typer.Typer) -> None:
    """Add ``rvrt upscale`` to the command line."""
    app.command("upscale", help=help_text(), no_args_is_help=True)(upscale_command)


HELP = """Upscale a video four times, from neighbouring frames.

IN is a video, a folder of videos (each becomes a video in OUT; what exists is skipped), an image sequence
(frames/%05d.png or a folder of images), or - for y4m on standard input.

OUT is a video (its suffix names the container), a folder, an image sequence (frames/%05d.png), one .png (for one
picture, or with --frame), or - for y4m on standard output. Pictures keep the numbers and, in a folder, the names of
the pictures they are made from.

Sound, subtitles, chapters, attachments, metadata, timestamps and colour are carried over, and the finished file is
checked. An interrupted or killed run continues where it was: give the same command again.

Examples:
  rvrt upscale in.mp4 out.mp4 --light
  rvrt upscale in.mkv out.mkv --estimate
  rvrt upscale in.mp4 out.mp4 --preview 3 --compare split
  rvrt upscale in.mp4 frame.png --frame 1:02.5
"""


def help_text() -> str:
    """:data:`HELP` with one line a paragraph, because Typer keeps its line ends in terminals of any width."""
    paragraphs = HELP.split("\n\n")
    return "\n\n".join(
        part if part.startswith("Examples:") else part.replace("\n", " ") for part in paragraphs
    )


def upscale_command(
    input_path: Annotated[
        str,
        typer.Argument(metavar="IN", help="Video, folder, image sequence or - (y4m).", show_default=False),
    ],
    output: Annotated[
        str | None,
        typer.Argument(
            metavar="OUT",
            help="Video, folder, image sequence, .png or - (y4m); not needed with --estimate.",
            show_default=False,
        ),
    ] = None,
    light: LightOption = False,
    model: ModelOption = None,
    weights: WeightsOption = None,
    scale: Annotated[
        int | None,
        typer.Option(
            "--scale",
            metavar="2|3|4",
            help="Size of the result; below 4 the model's x4 is reduced. 1 keeps the size (with --denoise or --deblur).",
            rich_help_panel=PICTURE,
        ),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(
            "--height",
            metavar="PX",
            help="Height of the result as it is shown; the width follows.",
            rich_help_panel=PICTURE,
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            "--width",
            metavar="PX",
            help="Width of the result as it is shown; the height follows.",
            rich_help_panel=PICTURE,
        ),
    ] = None,
    denoise: Annotated[
        float | None,
        typer.Option(
            "--denoise",
            metavar="SIGMA",
            help="Remove noise of this standard deviation (of 255) first.",
            rich_help_panel=PICTURE,
        ),
    ] = None,
    deblur: Annotated[
        bool, typer.Option("--deblur", help="Remove motion blur first.", rich_help_panel=PICTURE)
    ] = False,
    strength: Annotated[
        float,
        typer.Option(
            "--strength",
            metavar="0..1",
            help="1: the model alone, 0: bicubic alone, between: a blend.",
            rich_help_panel=PICTURE,
        ),
    ] = 1.0,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="side|split",
            help="Show bicubic (left) beside the result, or as the left half of the picture.",
            rich_help_panel=PICTURE,
        ),
    ] = None,
    deinterlace: Annotated[
        str,
        typer.Option(
            "--deinterlace",
            metavar="auto|on|off",
            help="auto: frames flagged interlaced, with bwdif.",
            rich_help_panel=PICTURE,
        ),
    ] = "auto",
    codec: Annotated[
        str | None,
        typer.Option(
            "--codec",
            metavar="NAME",
            help="h264, h265, av1, vp9, prores, ffv1 or libx264rgb; default by container.",
            rich_help_panel=ENCODING,
        ),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option(
            "--crf",
            metavar="N",
            help="Quality: less is better and larger; default visually lossless.",
            rich_help_panel=ENCODING,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="The encoder's speed preset, for example fast or slow.",
            rich_help_panel=ENCODING,
        ),
    ] = None,
    pix_fmt: Annotated[
        str | None,
        typer.Option(
            "--pix-fmt",
            metavar="NAME",
            help="Pixel format, for example yuv420p10le; for PNG rgb24 or rgb48. Default as the source.",
            rich_help_panel=ENCODING,
        ),
    ] = None,
    lossless: Annotated[
        bool, typer.Option("--lossless", help="Encode without loss.", rich_help_panel=ENCODING)
    ] = False,
    container: Annotated[
        str | None,
        typer.Option(
            "--container",
            metavar="NAME",
            help="mp4, mkv, mov, webm ...; default by OUT's suffix.",
            rich_help_panel=ENCODING,
        ),
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(
            "--fps",
            metavar="RATE",
            help="Frame rate of an image sequence on input (default 24).",
            rich_help_panel=ENCODING,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="TIME",
            help="Begin with the first frame at or after this time: 12.5, 1:02.5 or 1:00:02.",
            rich_help_panel=RANGE,
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--end", metavar="TIME", help="Stop before this time.", rich_help_panel=RANGE),
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", metavar="N", help="At most N frames.", rich_help_panel=RANGE)
    ] = None,
    preview: Annotated[
        int | None,
        typer.Option(
            "--preview",
            metavar="N",
            help="Two seconds from each of N places, without sound.",
            rich_help_panel=RANGE,
        ),
    ] = None,
    frame: Annotated[
        str | None,
        typer.Option(
            "--frame",
            metavar="TIME",
            help="Only the frame shown at this time, as a PNG.",
            rich_help_panel=RANGE,
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            "--dry-run",
            help="Measure a few windows and print the plan: time, memory, disk. Writes nothing.",
            rich_help_panel=RUN,
        ),
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(
            "--window",
            metavar="N",
            help="Frames given to the model at once (even; default 24, fewer when memory is short).",
            rich_help_panel=MEMORY,
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            "--overlap",
            metavar="N",
            help="Frames that consecutive windows share (even; default 6, fewer for short windows).",
            rich_help_panel=MEMORY,
        ),
    ] = None,
    tile: Annotated[
        str,
        typer.Option(
            "--tile",
            metavar="auto|N|off",
            help="Side of spatial tiles in source pixels (a multiple of 8).",
            rich_help_panel=MEMORY,
        ),
    ] = "auto",
    tile_overlap: Annotated[
        int,
        typer.Option(
            "--tile-overlap",
            metavar="N",
            help="Pixels that neighbouring tiles share (a multiple of 8).",
            rich_help_panel=MEMORY,
        ),
    ] = 16,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            "--memory-limit",
            metavar="SIZE",
            help="Plan windows and tiles for this much memory, for example 6G; default half of the machine's. A run that goes on under another limit keeps what is done.",
            rich_help_panel=MEMORY,
        ),
    ] = None,
    shots: Annotated[
        bool,
        typer.Option(
            "--shots/--no-shots", help="Detect cuts; windows never cross one.", rich_help_panel=MEMORY
        ),
    ] = True,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            metavar="N",
            help="CPU threads of the model and of the decoder; 0 takes all cores. Encoders always take 4: their number would change the file.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = 0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume", help="Continue an interrupted run, or start anew.", rich_help_panel=RUN
        ),
    ] = True,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace OUT when the run is finished; of a numbered sequence also the pictures that the new one does not have.",
            rich_help_panel=RUN,
        ),
    ] = False,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            "--work-dir",
            metavar="FOLDER",
            help="Where finished segments are kept until the end; default beside OUT. Work begun beside OUT may be moved here by hand.",
            rich_help_panel=RUN,
        ),
    ] = None,
    keep_work: Annotated[
        bool, typer.Option("--keep-work", help="Keep the segments after the run.", rich_help_panel=RUN)
    ] = False,
    segment_frames: Annotated[
        int | None,
        typer.Option(
            "--segment-frames",
            metavar="N",
            help="Frames per segment: at most this many are done again after a kill. Default 24 to 240, by size.",
            rich_help_panel=RUN,
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
) -> None:
    # The docstring would be shown instead of HELP.
    from rvrt_cli.cli.app import enable_debug

    enable_debug(debug)
    choice = choose_model(light, model, weights)
    for argument, name in (("IN", input_path), ("OUT", output)):
        if name == "":  # Path("") is this folder
            raise UsageError(f"{argument} is an empty name; name a file or folder.")
    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other; give one of them.")
    if as_json and output == "-":
        raise UsageError("--json and OUT - would both write to standard output; write the video to a file.")
    if output is None and not estimate:
        raise UsageError("OUT is missing; name the file to write, or add --estimate.")
    if frame is not None and (start, end, frames, preview) != (None, None, None, None):
        raise UsageError("--frame picks one frame; leave out --start, --end, --frames and --preview.")
    if frame is not None and estimate:
        raise UsageError("--estimate measures a run over many frames; leave out --frame.")
    if scale == 1 and (light or model is not None):
        raise UsageError("--scale 1 uses no super-resolution model; leave out --light and --model.")
    from rvrt_cli.upscale.options import UpscaleOptions

    options = UpscaleOptions(
        model=choice.name,
        weights=weights,
        scale=scale,
        height=height,
        width=width,
        denoise=denoise,
        deblur=deblur,
        strength=strength,
        codec=codec,
        crf=crf,
        preset=preset,
        pix_fmt=pix_fmt,
        lossless=lossless,
        container=container,
        fps=fps,
        start_s=parse_time("--start", start),
        end_s=parse_time("--end", end),
        frames=frames,
        preview=preview,
        compare=compare,  # type: ignore[arg-type]  # checked in UpscaleOptions.check
        window=window,
        overlap=overlap,
        tile=tile,
        tile_overlap=tile_overlap,
        memory_limit=memory_limit,
        shots=shots,
        deinterlace=deinterlace,  # type: ignore[arg-type]  # checked in UpscaleOptions.check
        device=device,
        backend=backend,
        precision=precision,
        threads=threads,
        resume=resume,
        overwrite=overwrite,
        work_dir=work_dir,
        keep_work=keep_work,
        segment_frames=segment_frames,
    )
    options.check()
    from rvrt_cli.cli.progress import View
    from rvrt_cli.cli.upscale_run import errors_as_events, run

    with View(quiet=quiet, verbose=verbose, as_json=as_json) as view, errors_as_events(view):
        if choice.words:
            view.say(choice.words)
        run(input_path, output, options, view, estimate=estimate, frame_s=parse_time("--frame", frame))


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
