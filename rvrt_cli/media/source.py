"""What is known about an input before its first frame is upscaled: frozen facts, no codecs, no file handles."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

SourceKind = Literal["video", "images", "y4m"]
StreamKind = Literal["video", "audio", "subtitle", "attachment", "data"]
ChromaLocation = Literal["unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom"]


# Matrices that say nothing about Y'CbCr: RGB, unspecified, reserved.
UNTAGGED_MATRICES = (0, 2, 3)
GREY_FORMATS = ("gray", "ya8", "ya16", "mono")
# video_full_range_flag is inferred to be 0 (ITU-T H.264 and H.265, annex E).
LIMITED_UNLESS_TAGGED = frozenset({"h264", "hevc"})
# The range in these bitstreams is that of Y'CbCr, and means nothing where they hold grey.
RANGE_OF_COLOUR_ONLY = frozenset({"magicyuv"})


def stated_range(color_range: int, pix_fmt: str, codec: str) -> int:
    """What a decoded frame says of its range (0, 1 or 2), 0 where that does not mean anything."""
    return 0 if codec in RANGE_OF_COLOUR_ONLY and pix_fmt.startswith(GREY_FORMATS) else color_range


@dataclass(frozen=True)
class ColorTags:
    """Colour description in the code points of ITU-T H.273, as FFmpeg numbers them; 2 (range: 0) is "unspecified".

    matrix: 0 RGB, 1 BT.709, 4 FCC, 5/6 BT.601, 7 SMPTE 240M, 8 YCgCo, 9/10 BT.2020, 14 ICtCp.
    range: 1 limited (studio), 2 full. primaries, transfer: see H.273 (9 BT.2020; 16 PQ, 18 HLG).
    """

    matrix: int = 2
    range: int = 0
    primaries: int = 2
    transfer: int = 2
    chroma_location: ChromaLocation = "unspecified"

    @property
    def is_hdr(self) -> bool:
        """True for PQ (HDR10) and HLG."""
        return self.transfer in (16, 18)

    def resolved(self, pix_fmt: str, width: int, height: int, codec: str = "") -> ColorTags:
        """Fill in matrix and range where the source does not say, by the rule players use.

        Grey is full range then, but where the standard of the ``codec`` says otherwise.
        An untagged picture is read as BT.601 below 1280x577 and as BT.709 from there on. The guess must be made
        with the size of the *source* and be written to the output, which is larger and would be read as BT.709.
        """
        planar_rgb = pix_fmt.startswith(("gbr", "rgb", "bgr", "argb", "abgr", "0rgb", "0bgr", "pal8"))
        tags = self
        if planar_rgb:
            return replace(tags, matrix=0, range=2, chroma_location="unspecified")
        if tags.range == 0:
            grey = pix_fmt.startswith(GREY_FORMATS) and codec not in LIMITED_UNLESS_TAGGED
            tags = replace(tags, range=2 if pix_fmt.startswith("yuvj") or grey else 1)
        if tags.matrix in UNTAGGED_MATRICES:
            standard_definition = width < 1280 and height <= 576
            tags = replace(tags, matrix=(5 if height == 576 else 6) if standard_definition else 1)
            if standard_definition and height in (480, 486, 576) and tags.primaries == 2:
                tags = replace(tags, primaries=5 if height == 576 else 6)
        return tags


@dataclass(frozen=True)
class HdrMetadata:
    """HDR10 static metadata. Chromaticities are CIE xy as (x, y) fractions, luminances in cd/m²; None where absent."""

    red: tuple[Fraction, Fraction] | None = None
    green: tuple[Fraction, Fraction] | None = None
    blue: tuple[Fraction, Fraction] | None = None
    white: tuple[Fraction, Fraction] | None = None
    max_luminance: Fraction | None = None
    min_luminance: Fraction | None = None
    max_cll: int | None = None
    max_fall: int | None = None


@dataclass(frozen=True)
class Stream:
    """One stream of the container. ``disposition`` holds FFmpeg's names ("default", "forced", "attached_pic", ...).

    codec: of data the four letters by which MP4 calls it, where FFmpeg has no name. delay_s: of sound that a decoder gives
    before the first sample that counts, as far as the container says so.
    """

    index: int
    kind: StreamKind
    codec: str
    time_base: Fraction
    start_s: float | None
    duration_s: float | None
    language: str | None
    disposition: frozenset[str]
    metadata: tuple[tuple[str, str], ...]
    delay_s: float = 0.0

    @property
    def title(self) -> str | None:
        """The track's name, which MP4 calls "name"."""
        found = {key.lower(): value for key, value in self.metadata}
        return found.get("title") or found.get("name")


class Crop(NamedTuple):
    """Pixels at the edges of decoded pictures, before rotation, that the container hides."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0


NO_CROP = Crop()


@dataclass(frozen=True)
class VideoStream:
    """The stream that is upscaled.

    width, height: size in pixels before rotation, without the edges in ``crop``. sar: pixel aspect ratio. rotation: counter-clockwise
    degrees as FFmpeg's display matrix states them (0, 90, -90, 180); ``flipped`` is true when the matrix mirrors
    the picture horizontally after that. bit_depth: 8-16 per channel. chroma: "420", "422", "444", "440",
    "411", "410", "gray" or "rgb". color: as tagged in the source. effective_color: with guesses filled in; this is
    what decoding uses and what the output carries. average_rate: None when unknown. start_pts in time_base units.
    interlaced: the first frames are. bottom_field_first: where frames do not say it themselves. icc_profile: of pictures
    in RGB but not sRGB, for output that can carry it; else empty.
    """

    index: int
    codec: str
    width: int
    height: int
    sar: Fraction
    rotation: int
    flipped: bool
    pix_fmt: str
    bit_depth: int
    has_alpha: bool
    chroma: str
    color: ColorTags
    effective_color: ColorTags
    hdr: HdrMetadata | None
    average_rate: Fraction | None
    time_base: Fraction
    interlaced: bool
    frame_count_hint: int | None
    start_pts: int | None
    duration_s: float | None
    language: str | None = None
    disposition: frozenset[str] = frozenset()
    metadata: tuple[tuple[str, str], ...] = ()
    bottom_field_first: bool = False
    icc_profile: bytes = field(default=b"", repr=False)
    crop: Crop = NO_CROP


@dataclass(frozen=True)
class Chapter:
    """A chapter; times in seconds on the container's clock."""

    start_s: float
    end_s: float
    title: str | None


class ShapeRun(NamedTuple):
    """A part of the film in one shape (width : height as shown) from ``first_s`` on, in seconds on its common clock."""

    shape: Fraction
    first_s: float


@dataclass(frozen=True)
class Source:
    """A probed input. ``video`` is never None for what :func:`rvrt_cli.media.probe` returns.

    kind: "video" (a container), "images" (a sequence) or "y4m" (standard input). start_s: the container's first
    timestamp in seconds; ``--start``/``--end`` count from it. clock_jumps: how often its timestamps start anew; duration_s
    is then that of all pieces. shown_ms: how long each picture of an
    animated file is shown, empty for other sequences. has_times: False for raw streams, whose frames are counted at the average rate. shapes:
    where the pictures state it and it may change. notes: sentences a user should see (guesses, repairs).
    """

    kind: SourceKind
    path: Path
    format: str
    size_bytes: int
    duration_s: float | None
    start_s: float
    streams: tuple[Stream, ...]
    chapters: tuple[Chapter, ...]
    metadata: tuple[tuple[str, str], ...]
    video: VideoStream
    images: tuple[Path, ...] = ()
    shown_ms: tuple[int, ...] = ()
    clock_jumps: int = 0
    has_times: bool = True
    shapes: tuple[ShapeRun, ...] = ()
    notes: tuple[str, ...] = field(default=())
