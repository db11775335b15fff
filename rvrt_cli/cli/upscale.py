"""``rvrt upscale``: any real video in, a faithful video out."""

from __future__ import annotations

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
    VerboseOption,
    WeightsOption,
    choose_model,
)
from rvrt_cli.cli.upscale_options import (
    CodecOption,
    CompareOption,
    ContainerOption,
    CrfOption,
    DeblurOption,
    DeinterlaceOption,
    DenoiseOption,
    EndOption,
    EstimateOption,
    FpsOption,
    FrameOption,
    FramesOption,
    HeightOption,
    InputArgument,
    KeepWorkOption,
    LosslessOption,
    MemoryLimitOption,
    OutputArgument,
    OverlapOption,
    OverwriteOption,
    PixFmtOption,
    PresetOption,
    PreviewOption,
    ResumeOption,
    ScaleOption,
    SegmentFramesOption,
    ShotsOption,
    StartOption,
    StrengthOption,
    TileOption,
    TileOverlapOption,
    UpscaleThreadsOption,
    WidthOption,
    WindowOption,
    WorkDirOption,
    parse_time,
)
from rvrt_cli.errors import OutputError, UsageError
from rvrt_cli.system.standard_streams import was_closed


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
    input_path: InputArgument,
    output: OutputArgument = None,
    light: LightOption = False,
    model: ModelOption = None,
    weights: WeightsOption = None,
    scale: ScaleOption = None,
    height: HeightOption = None,
    width: WidthOption = None,
    denoise: DenoiseOption = None,
    deblur: DeblurOption = False,
    strength: StrengthOption = 1.0,
    compare: CompareOption = None,
    deinterlace: DeinterlaceOption = "auto",
    codec: CodecOption = None,
    crf: CrfOption = None,
    preset: PresetOption = None,
    pix_fmt: PixFmtOption = None,
    lossless: LosslessOption = False,
    container: ContainerOption = None,
    fps: FpsOption = None,
    start: StartOption = None,
    end: EndOption = None,
    frames: FramesOption = None,
    preview: PreviewOption = None,
    frame: FrameOption = None,
    estimate: EstimateOption = False,
    window: WindowOption = None,
    overlap: OverlapOption = None,
    tile: TileOption = "auto",
    tile_overlap: TileOverlapOption = 16,
    memory_limit: MemoryLimitOption = None,
    shots: ShotsOption = True,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    threads: UpscaleThreadsOption = 0,
    resume: ResumeOption = True,
    overwrite: OverwriteOption = False,
    work_dir: WorkDirOption = None,
    keep_work: KeepWorkOption = False,
    segment_frames: SegmentFramesOption = None,
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
    if output == "-" and was_closed("stdout"):
        raise OutputError("standard output is closed; redirect it to a program or a file.")
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
