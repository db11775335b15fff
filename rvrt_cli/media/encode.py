"""Choose how the output is encoded: container, codec, size, colour and tags."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av

from rvrt_cli.errors import OutputError, UsageError
from rvrt_cli.media.codecs import ALIASES, CODECS, NAMES, Codec
from rvrt_cli.media.color import nearest_planar_name, planar_format
from rvrt_cli.media.containers import CARRIES_ROTATION, CONTAINERS, MUXERS
from rvrt_cli.media.encode_settings import EncodeOptions, EncodeSettings
from rvrt_cli.media.encoder_options import encoder_options
from rvrt_cli.media.pixel_format import choose_pix_fmt, is_coarser
from rvrt_cli.media.source import Source, VideoStream
from rvrt_cli.media.written_color import written_color

MAX_ENCODER_RATE = Fraction(240)
# A frame of FFmpeg must fit 31 bits with 8 bytes a pixel and 128 pixels more on each side (libavutil/imgutils.c).
FRAME_BYTES, FRAME_EDGE, FRAME_LIMIT = 8, 128, 1 << 31
# Codecs hold the terms of the pixel aspect in 16 bits.
LARGEST_ASPECT_TERM = 1000


def with_shape_kept(video: VideoStream, height: int, width: int) -> VideoStream:
    """``video`` with the pixel aspect that pictures of ``height`` x ``width`` (before rotation) need to keep its shape.

    The aspect stays as it is where the proportions are the source's, but for sizes rounded to even numbers.
    """
    stretch = Fraction(video.width * height, video.height * width)
    if abs(stretch - 1) <= Fraction(2, height) + Fraction(2, width):
        return video
    return replace(video, sar=(video.sar * stretch).limit_denominator(LARGEST_ASPECT_TERM))


def resolve_encoding(
    source: Source, options: EncodeOptions, output: Path | str, width: int, height: int
) -> EncodeSettings:
    """Settle how frames of ``width`` x ``height`` (the upscaled size, before rotation) are written to ``output``.

    Defaults are visually lossless in the source's bit depth, subsampling and colour.
    Errors: :class:`UsageError` for combinations that cannot work, with what to choose instead;
    :class:`OutputError` for a suffix that names no known container.
    """
    video = source.video
    notes: list[str] = []
    container = _choose_container(options, Path(output))
    encoder = _choose_encoder(source, options, container, min(width, height))
    codec = CODECS[encoder]
    if container not in codec.containers:
        raise UsageError(
            f"{encoder} video does not go into .{container}; choose another --codec or a container that takes it "
            f"({', '.join(sorted(codec.containers))})."
        )
    if min(width, height) < codec.smallest:
        raise UsageError(
            f"{encoder} needs at least {codec.smallest} pixels on each side, the output is {width}x{height}; choose --codec ffv1 or vp9."
        )
    pix_fmt = choose_pix_fmt(source, options, codec, width, height, notes)
    layout = planar_format(nearest_planar_name(av.VideoFormat(pix_fmt)))
    assert layout is not None
    color = written_color(video, layout, codec, notes)
    if video.has_alpha and not layout.has_alpha:
        notes.append(
            f"{pix_fmt} in .{container} holds no transparency: the alpha channel is dropped (use .webm, .mkv or .mov to keep it)."
        )
    if options.pix_fmt is None and is_coarser(layout, video.chroma):
        notes.append(
            f"{pix_fmt} has a coarser colour resolution than the source ({video.pix_fmt}); .mkv keeps it."
        )
    if layout.bit_depth < min(video.bit_depth, 12):
        notes.append(
            f"{pix_fmt} has {layout.bit_depth} bits, the source {video.bit_depth}; gradients may band."
        )
    bake = (video.rotation != 0 or video.flipped) and container not in CARRIES_ROTATION
    if bake:
        notes.append(
            f".{container} does not carry this rotation reliably; the picture is turned upright instead."
        )
    rate = min(video.average_rate or Fraction(25), MAX_ENCODER_RATE).limit_denominator(100_000)
    settings = EncodeSettings(
        encoder=encoder,
        container=container,
        pix_fmt=pix_fmt,
        bit_depth=layout.bit_depth,
        width=width,
        height=height,
        time_base=video.time_base,
        rate=rate,
        sar=1 / video.sar if bake and video.rotation % 180 else video.sar,
        color=color,
        hdr=video.hdr,
        has_alpha=video.has_alpha and layout.has_alpha,
        bake_rotation=video.rotation if bake else 0,
        bake_flip=video.flipped and bake,
        encoder_options=(),
        notes=tuple(notes),
    )
    _refuse_too_large(settings, codec)
    return replace(settings, encoder_options=encoder_options(settings, codec, options))


def _refuse_too_large(settings: EncodeSettings, codec: Codec) -> None:
    """Raise :class:`UsageError` for pictures that the encoder, or any frame of FFmpeg, cannot hold."""
    width, height = settings.coded_size
    if FRAME_BYTES * (width + FRAME_EDGE) * (height + FRAME_EDGE) >= FRAME_LIMIT:
        raise UsageError(
            f"no video holds pictures of {width}x{height} pixels; choose a smaller --scale, --height or --width, or write PNG images."
        )
    if width > codec.largest[0] or height > codec.largest[1]:
        raise UsageError(
            f"{codec.encoder} takes at most {codec.largest[0]}x{codec.largest[1]} pixels and the output has {width}x{height}; "
            "choose --codec vp9 or ffv1, a smaller --scale, --height or --width, or write PNG images."
        )


def _choose_container(options: EncodeOptions, output: Path) -> str:
    asked = options.container
    container = asked.lower().lstrip(".") if asked else CONTAINERS.get(output.suffix.lower())
    container = {"matroska": "mkv", "m4v": "mp4"}.get(container or "", container)
    if container not in MUXERS:
        if asked:
            raise UsageError(f"--container {asked} is not offered; choose mp4, mkv, mov or webm.")
        raise OutputError(
            f"{output.name}: no known video container; name the output .mp4, .mkv, .mov or .webm, or set --container."
        )
    return container


def _choose_encoder(source: Source, options: EncodeOptions, container: str, smallest_side: int) -> str:
    video = source.video
    if options.codec:
        name = ALIASES.get(options.codec.lower(), options.codec.lower())
        if name not in CODECS:
            raise UsageError(f"--codec {options.codec} is not offered; choose {NAMES}.")
        if name not in av.codecs_available:
            raise UsageError(f"This build of PyAV has no encoder {name}; choose another --codec.")
        return name
    if video.has_alpha and options.lossless and container == "mov":
        raise UsageError(
            ".mov holds no lossless video with transparency here; name the output .mkv or leave out --lossless."
        )
    if container == "webm" and (
        video.bit_depth > 8 and not video.has_alpha and smallest_side >= CODECS["libsvtav1"].smallest
    ):
        return "libsvtav1"  # PyAV's libvpx has no 10-bit VP9
    if container == "webm" or (smallest_side < CODECS["libx264"].smallest and container != "mov"):
        return "libvpx-vp9"
    if video.has_alpha and container == "mov":
        return "prores_ks"
    if video.has_alpha and container == "mkv":
        # VP9 keeps transparency beside 8-bit 4:2:0 only.
        small = video.bit_depth == 8 and video.chroma == "420" and not options.lossless
        return "libvpx-vp9" if small else "ffv1"
    deep = video.bit_depth > 8 or video.effective_color.is_hdr
    return "libx265" if deep and smallest_side >= CODECS["libx265"].smallest else "libx264"
