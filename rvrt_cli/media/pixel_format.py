"""Choose the pixel format of the output: the source's depth and colour resolution as far as the encoder goes."""

from __future__ import annotations

import re

import av

from rvrt_cli.errors import UsageError
from rvrt_cli.media.codecs import Codec
from rvrt_cli.media.color import PlanarFormat, nearest_planar_name, planar_format
from rvrt_cli.media.encode_settings import EncodeOptions
from rvrt_cli.media.source import Source


def choose_pix_fmt(
    source: Source, options: EncodeOptions, codec: Codec, width: int, height: int, notes: list[str]
) -> str:
    video = source.video
    supported = _encodable_formats(codec)
    if options.pix_fmt:
        if options.pix_fmt not in supported:
            raise UsageError(
                f"{codec.encoder} cannot encode {options.pix_fmt}; it knows {', '.join(supported)}."
            )
        if codec.even and _needs_even(options.pix_fmt, width, height):
            raise UsageError(
                f"{codec.encoder} needs even sizes for {options.pix_fmt} and the output is {width}x{height}; "
                "use --pix-fmt yuv444p, --codec vp9 or another size."
            )
        return options.pix_fmt
    depth = (
        8 if video.bit_depth == 8 else 10 if video.bit_depth <= 10 else 12 if video.bit_depth <= 12 else 16
    )
    chroma = {"440": "444", "rgb": "444", "gray": "420", "411": "422", "410": "420"}.get(
        video.chroma, video.chroma
    )
    rgb = video.chroma == "rgb"
    candidates = []
    for bits in sorted({8, 10, 12, 16}, key=lambda b: (b < depth, abs(b - depth))):
        suffix = "" if bits == 8 else f"{bits}le"
        for alpha in ("a", "") if video.has_alpha else ("",):
            if rgb and codec.always_lossless:
                candidates += [f"gbr{alpha}p{suffix}"] + ([] if suffix else ["bgra" if alpha else "bgr0"])
            finer = {
                "420": ("420", "422", "444"),
                "422": ("422", "444", "420"),
                "444": ("444", "422", "420"),
            }[chroma]
            for c in finer:
                candidates.append(f"yuv{alpha}{c}p{suffix}")
    if video.has_alpha:  # transparency is worth more than bits and chroma
        candidates.sort(key=lambda name: not name.startswith(("yuva", "gbra", "bgra")))
    usable = [c for c in candidates if c in supported]
    fitting = [c for c in usable if not (codec.even and _needs_even(c, width, height))]
    if fitting:
        if usable[0] != fitting[0]:
            notes.append(
                f"{codec.encoder} cannot write {usable[0]} at {width}x{height} (odd size); {fitting[0]} is used."
            )
        if rgb and "444" in fitting[0]:
            notes.append(
                f"The source is RGB; {fitting[0]} keeps all its colour, --pix-fmt yuv420p plays on more devices."
            )
        return fitting[0]
    planar = [name for name in supported if planar_format(nearest_planar_name(av.VideoFormat(name)))]
    if usable or not planar:
        raise UsageError(
            f"{codec.encoder} cannot write pictures of {width}x{height} pixels; choose --codec vp9 or another size."
        )
    return planar[0]


def is_coarser(layout: PlanarFormat, chroma: str) -> bool:
    """Whether ``layout`` subsamples the colour more than a source with ``chroma`` does."""
    columns, rows = {"420": (1, 1), "422": (1, 0), "411": (2, 0), "410": (2, 2), "440": (0, 1)}.get(
        chroma, (0, 0)
    )
    coarser = layout.subsampling[0] > columns or layout.subsampling[1] > rows
    return layout.model == "yuv" and chroma != "gray" and coarser


def _encodable_formats(codec: Codec) -> list[str]:
    """Names of the pixel formats that the encoder takes, from FFmpeg's list for it.

    Left out: transparency that the library behind refuses, and samples in floating point, which no frame here has.
    """
    listed = av.Codec(codec.encoder, "w").video_formats or ()
    return [
        f.name for f in listed
        if not re.search(r"f(16|32)", f.name)
        and (codec.alpha is None or f.name in codec.alpha or not any(c.is_alpha for c in f.components))
    ]  # fmt: skip


def _needs_even(pix_fmt: str, width: int, height: int) -> bool:
    layout = planar_format(nearest_planar_name(av.VideoFormat(pix_fmt)))
    return layout is not None and bool(
        (layout.subsampling[0] and width % 2) or (layout.subsampling[1] and height % 2)
    )
