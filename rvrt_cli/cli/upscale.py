"""``rvrt upscale``: any real video in, a faithful video out."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from rvrt_cli.cli.options import (
    DebugOption,
    JsonOption,
    LightOption,
    ModelOption,
    QuietOption,
    VerboseOption,
    choose_model,
)
from rvrt_cli.cli.upscale_options import parse_time, read_options, upscale_parameters
from rvrt_cli.errors import OutputError, UsageError
from rvrt_cli.system.standard_streams import was_closed
from rvrt_cli.upscale.option import RANGE, RUN

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
    frame: FrameOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
    **given: Any,
) -> None:
    # The docstring would be shown instead of HELP. ``given``: the options of UpscaleOptions but for the model, see `signature`.
    from rvrt_cli.cli.app import enable_debug

    enable_debug(debug)
    choice = choose_model(light, model, given["weights"])
    _check_names(input_path, output)
    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other; give one of them.")
    if as_json and output == "-":
        raise UsageError("--json and OUT - would both write to standard output; write the video to a file.")
    if output == "-" and was_closed("stdout"):
        raise OutputError("standard output is closed; redirect it to a program or a file.")
    if output is None and not estimate:
        raise UsageError("OUT is missing; name the file to write, or add --estimate.")
    if frame is not None and any(
        given[name] is not None for name in ("start_s", "end_s", "frames", "preview")
    ):
        raise UsageError("--frame picks one frame; leave out --start, --end, --frames and --preview.")
    if frame is not None and estimate:
        raise UsageError("--estimate measures a run over many frames; leave out --frame.")
    if given["scale"] == 1 and (light or model is not None):
        raise UsageError("--scale 1 uses no super-resolution model; leave out --light and --model.")
    options = read_options({**given, "model": choice.name})
    options.check()
    from rvrt_cli.cli.progress import View
    from rvrt_cli.cli.upscale_run import errors_as_events, run

    with View(quiet=quiet, verbose=verbose, as_json=as_json) as view, errors_as_events(view):
        if choice.statement:
            view.say(choice.statement)
        run(input_path, output, options, view, estimate=estimate, frame_s=parse_time("--frame", frame))


def _check_names(input_path: str, output: str | None) -> None:
    for argument, name in (("IN", input_path), ("OUT", output)):
        if name == "":  # Path("") is this folder
            raise UsageError(f"{argument} is an empty name; name a file or folder.")


def signature() -> inspect.Signature:
    """The command's own parameters and those made from UpscaleOptions, in the order of the help."""
    own = dict(inspect.signature(upscale_command, eval_str=True).parameters)
    del own["given"]
    made = {name: parameter for name, parameter in upscale_parameters().items() if name not in own}
    first = ("input_path", "output", "light", "model")
    upto = list(made).index("preview") + 1
    order = [*first, *list(made)[:upto], "frame", "estimate", *list(made)[upto:]]
    order += [name for name in own if name not in order]
    return inspect.Signature(
        [{**own, **made}[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in order]
    )


upscale_command.__signature__ = signature()  # type: ignore[attr-defined]  # what Typer reads
