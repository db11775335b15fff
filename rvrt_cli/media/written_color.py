"""The colour description of the output: the source's, as far as pixel format and encoder can state it."""

from __future__ import annotations

from dataclasses import replace

from rvrt_cli.errors import UsageError
from rvrt_cli.media.codecs import Codec
from rvrt_cli.media.color import PlanarFormat
from rvrt_cli.media.source import ColorTags, VideoStream

# What a matrix that an encoder cannot state is written as. The pixels are converted to it: FCC's keeps every colour; the
# constant-luminance BT.2020 is read by the other one's weights in any case (see color.LUMA_WEIGHTS).
MATRIX_INSTEAD = {4: (5, "BT.601"), 8: (1, "BT.709"), 10: (9, "BT.2020 with non-constant luminance")}
# EBU 3213's red is SMPTE 170M's, its green and blue lie closer to that than to BT.470BG's (H.273, table 2).
PRIMARIES_INSTEAD = {22: (6, "SMPTE 170M")}
MATRIX_NAMES = {4: "FCC", 8: "YCgCo", 10: "BT.2020 with constant luminance", 14: "ICtCp"}


def written_color(video: VideoStream, layout: PlanarFormat, codec: Codec, notes: list[str]) -> ColorTags:
    """The tags of pictures of ``layout`` made from ``video``, for :class:`SegmentWriter` to convert to.

    Errors: :class:`UsageError` for a matrix that the encoder cannot state and nothing comes close to.
    """
    color = video.effective_color
    if layout.model == "rgb":
        return replace(color, matrix=0, range=2, chroma_location="unspecified")
    if color.matrix == 0:  # a picture in sRGB or RGB needs a matrix once it becomes Y'CbCr
        color = replace(color, matrix=9 if color.primaries == 9 else 1, range=1)
    if (
        layout.model == "yuv"
        and layout.subsampling == (1, 1)
        and color.chroma_location == "unspecified"
        and video.chroma != "420"
    ):
        color = replace(color, chroma_location="left")
    return _as_the_encoder_states_it(color, codec, notes)


def _as_the_encoder_states_it(color: ColorTags, codec: Codec, notes: list[str]) -> ColorTags:
    if codec.matrices is not None and color.matrix not in codec.matrices:
        name = MATRIX_NAMES.get(color.matrix, f"number {color.matrix}")
        if color.matrix not in MATRIX_INSTEAD:
            raise UsageError(
                f"{codec.encoder} cannot state the source's colour matrix ({name}); choose --codec av1 or h265."
            )
        matrix, instead = MATRIX_INSTEAD[color.matrix]
        color = replace(color, matrix=matrix)
        notes.append(
            f"{codec.encoder} cannot state the source's colour matrix ({name}); the picture is converted to {instead}."
        )
    if color.primaries in codec.unknown_primaries:
        primaries, instead = PRIMARIES_INSTEAD[color.primaries]
        color = replace(color, primaries=primaries)
        notes.append(
            f"{codec.encoder} cannot state the source's colour primaries (EBU 3213); {instead}'s, which are nearly the same, are "
            "written instead."
        )
    if codec.limited_range and color.range == 2:
        color = replace(color, range=1)
        notes.append(
            f"The source uses the full range of code values, {codec.encoder} the limited one only; the picture is converted."
        )
    return color
