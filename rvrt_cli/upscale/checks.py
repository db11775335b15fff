"""Opens the input and refuses options that it, or the kind of output, has no use for."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from rvrt_cli.errors import OutputError, UsageError
from rvrt_cli.media import Source, probe
from rvrt_cli.upscale.dropped_features import varies
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.output_path import OutputKind
from rvrt_cli.upscale.writers import image_bit_depth


def open_source(input_path: Path | str, options: UpscaleOptions) -> Source:
    """Probe the input. Errors: :class:`UsageError` for options that this kind of input has no use for."""
    source = probe(str(input_path) if str(input_path) == "-" else Path(input_path), fps=_rate(options.fps))
    if options.fps is not None and source.kind != "images":
        raise UsageError(
            "--fps is the rate of an image sequence, and the input has a rate of its own; leave it out."
        )
    if options.preview is not None and source.kind == "y4m":
        raise UsageError("--preview picks places in a film; it cannot seek in standard input.")
    return source


def _rate(text: str | None) -> Fraction | None:
    """Frames per second of ``--fps``. Errors: :class:`UsageError`."""
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise UsageError(f"--fps must be a positive number such as 24, 29.97 or 30000/1001; got {text!r}.")
    return rate


def check_kind(source: Source, kind: OutputKind, options: UpscaleOptions) -> None:
    """Refuse what this kind of output cannot hold or has no use for. Errors: :class:`UsageError`, :class:`OutputError`."""
    if kind == "images":
        refuse_encoding(options, "PNG images, which are always lossless")
        image_bit_depth(source, options.pix_fmt)
    elif kind == "stream":
        refuse_encoding(options, "y4m, which is not compressed")
        refuse_work(options, "a stream")
        if source.kind == "video" and not options.trimmed and varies(source):
            raise OutputError(
                "the film has a variable frame rate, which y4m cannot hold; write a video file instead."
            )


def refuse_encoding(options: UpscaleOptions, what: str) -> None:
    """Raise :class:`UsageError` for options that mean nothing where no encoder runs."""
    for name, value in (
        ("--codec", options.codec),
        ("--crf", options.crf),
        ("--preset", options.preset),
        ("--container", options.container),
        ("--lossless", options.lossless or None),
    ):
        if value is not None:
            raise UsageError(f"{name} has no meaning for {what}; leave it out.")


def refuse_work(options: UpscaleOptions, what: str) -> None:
    """Raise :class:`UsageError` for options about segments where there are none."""
    for name, value in (
        ("--work-dir", options.work_dir),
        ("--keep-work", options.keep_work or None),
        ("--segment-frames", options.segment_frames),
    ):
        if value is not None:
            raise UsageError(f"{name} has no meaning for {what}, which has no segments; leave it out.")
