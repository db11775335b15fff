"""Choose how the output is encoded: codec, pixel format, quality, tags."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av

from rvrt_cli.errors import OutputError, UsageError
from rvrt_cli.media.color import PlanarFormat, nearest_planar_name, planar_format
from rvrt_cli.media.source import ColorTags, HdrMetadata, Source, VideoStream

# A fixed number: encoders split their work, and with it their bytes, by the number of threads. A run must be
# resumable on another machine with the same result.
ENCODER_THREADS = 4
MAX_ENCODER_RATE = Fraction(240)
# Codecs hold the terms of the pixel aspect in 16 bits.
LARGEST_ASPECT_TERM = 1000

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "mkv", ".webm": "webm"}
MUXERS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm"}
# Containers that keep a display matrix with a mirror; Matroska and WebM keep a plain rotation at most.
CARRIES_ROTATION = frozenset({"mp4", "mov"})


@dataclass(frozen=True)
class Codec:
    """What is known about an encoder.

    quality: the name of its constant-quality option. crf: visually lossless default. preset: default and the option it
    is given through; presets: all it knows. even: 4:2:0 and 4:2:2 need even sizes. containers: where it belongs.
    alpha: the pixel formats with transparency that it really encodes; None: all that FFmpeg lists. lossless: options of
    its lossless mode, None when it has none.
    """

    encoder: str
    quality: str | None
    crf: float | None
    crf_range: tuple[float, float]
    preset_option: str | None
    preset: str | None
    presets: tuple[str, ...]
    containers: frozenset[str]
    even: bool
    alpha: frozenset[str] | None = None
    options: tuple[tuple[str, str], ...] = ()
    lossless: tuple[tuple[str, str], ...] | None = None
    always_lossless: bool = False
    smallest: int = 1


_FILM = frozenset({"mp4", "mov", "mkv"})
_X26X_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")  # fmt: skip
# The presets are fast and the quality high: the encoder shares the processor with the model, disk space is cheaper.
# Other encoders of FFmpeg are not offered: they lack a constant quality, make other bytes on other machines (those of
# graphics cards), or hold few frame rates, clocks or colour matrices.
CODECS = {
    "libx264": Codec(
        "libx264", "crf", 15, (0, 51), "preset", "veryfast", _X26X_PRESETS, _FILM, True, lossless=(("qp", "0"),), smallest=2,
    ),
    "libx264rgb": Codec(
        "libx264rgb", "crf", 15, (0, 51), "preset", "veryfast", _X26X_PRESETS, _FILM, False, lossless=(("qp", "0"),), smallest=2,
    ),
    "libx265": Codec(
        "libx265", "crf", 14, (0, 51), "preset", "superfast", _X26X_PRESETS, _FILM, True,
        alpha=frozenset(), lossless=(), smallest=16,
    ),
    "libsvtav1": Codec(
        "libsvtav1", "crf", 16, (1, 63), "preset", "8", tuple(map(str, range(-1, 14))), frozenset({"mp4", "mkv", "webm"}), True,
        lossless=(), smallest=4,
    ),
    "libvpx-vp9": Codec(
        "libvpx-vp9", "crf", 14, (0, 63), "cpu-used", "5", tuple(map(str, range(6))), frozenset({"mp4", "mkv", "webm"}), False,
        alpha=frozenset({"yuva420p"}),
        options=(("b", "0"), ("deadline", "good"), ("row-mt", "1"), ("tile-columns", "2"), ("lag-in-frames", "16")),
        lossless=(("lossless", "1"),),
    ),
    "prores_ks": Codec(
        "prores_ks", None, None, (0, 0), None, None, (), frozenset({"mov", "mkv"}), False,
        options=(("vendor", "apl0"),),
    ),
    "ffv1": Codec(
        "ffv1", None, None, (0, 0), None, None, (), frozenset({"mkv"}), False,
        options=(("level", "3"), ("slices", "4"), ("slicecrc", "1"), ("g", "1")), always_lossless=True,
    ),
}  # fmt: skip
NAMES = "h264, h265, av1, vp9, prores, ffv1 or libx264rgb"
ALIASES = {
    "h264": "libx264", "x264": "libx264", "avc": "libx264", "h265": "libx265", "x265": "libx265", "hevc": "libx265",
    "av1": "libsvtav1", "svtav1": "libsvtav1", "svt-av1": "libsvtav1", "vp9": "libvpx-vp9", "prores": "prores_ks",
}  # fmt: skip


@dataclass(frozen=True)
class EncodeOptions:
    """What the user asked for; None means "choose well".

    codec: "h264", "h265", "av1", "vp9", "prores", "ffv1" or the name of one of ``CODECS``, such as "libx264rgb".
    container: "mp4", "mkv", "mov" or "webm" (default: by the output's suffix).
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    lossless: bool = False
    container: str | None = None


@dataclass(frozen=True)
class EncodeSettings:
    """Everything a segment's bytes depend on besides its frames. Equal settings give equal bytes on any machine.

    width, height: frames given to the writer, before ``bake_rotation``. encoder_options: as FFmpeg names them.
    time_base: of the timestamps; rate: a hint for rate control. bake_rotation/bake_flip: turn frames while writing
    because the container cannot carry a display matrix. notes: sentences to show before the run.
    """

    encoder: str
    container: str
    pix_fmt: str
    bit_depth: int
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    sar: Fraction
    color: ColorTags
    hdr: HdrMetadata | None
    has_alpha: bool
    bake_rotation: int
    bake_flip: bool
    encoder_options: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    @property
    def coded_size(self) -> tuple[int, int]:
        """(width, height) of the coded picture, after baking."""
        return (self.height, self.width) if self.bake_rotation % 180 else (self.width, self.height)

    @property
    def codec(self) -> str:
        """The coded format's name: "h264", "hevc", "av1", "vp9", "prores", ..."""
        return str(av.Codec(self.encoder, "w").canonical_name)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the settings, FFmpeg's library versions included; for the journal."""
        facts = repr((replace(self, notes=()), sorted(av.library_versions.items())))
        return hashlib.sha256(facts.encode()).hexdigest()


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
    # A picture in sRGB or RGB needs a matrix once it becomes Y'CbCr.
    pix_fmt = _choose_pix_fmt(source, options, codec, width, height, notes)
    layout = planar_format(nearest_planar_name(av.VideoFormat(pix_fmt)))
    assert layout is not None
    color = video.effective_color
    if layout.model == "rgb":
        color = replace(color, matrix=0, range=2, chroma_location="unspecified")
    elif color.matrix == 0:
        color = replace(color, matrix=9 if color.primaries == 9 else 1, range=1)
    if (
        layout.model == "yuv"
        and layout.subsampling == (1, 1)
        and color.chroma_location == "unspecified"
        and video.chroma != "420"
    ):
        color = replace(color, chroma_location="left")
    if video.has_alpha and not layout.has_alpha:
        notes.append(
            f"{pix_fmt} in .{container} holds no transparency: the alpha channel is dropped (use .webm, .mkv or .mov to keep it)."
        )
    if options.pix_fmt is None and _is_coarser(layout, video.chroma):
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
    return replace(settings, encoder_options=_encoder_options(settings, codec, options))


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


def _choose_pix_fmt(
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


def _is_coarser(layout: PlanarFormat, chroma: str) -> bool:
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


def _encoder_options(
    settings: EncodeSettings, codec: Codec, options: EncodeOptions
) -> tuple[tuple[str, str], ...]:
    """FFmpeg options of the encoder, in a fixed order."""
    chosen: dict[str, str] = dict(codec.options)
    private: dict[str, str] = {}
    lossless = options.lossless
    if lossless and options.crf is not None:
        raise UsageError("--lossless and --crf contradict each other; give one of them.")
    if lossless and codec.lossless is None and not codec.always_lossless:
        raise UsageError(f"{codec.encoder} has no lossless mode; choose --codec ffv1, h264, h265 or vp9.")
    if options.crf is not None:
        if codec.quality is None:
            raise UsageError(f"{codec.encoder} has no --crf; it works at a fixed quality.")
        low, high = codec.crf_range
        if not low <= options.crf <= high:
            raise UsageError(
                f"--crf of {codec.encoder} goes from {low:g} to {high:g} (smaller is better), not {options.crf:g}."
            )
    if codec.quality and not lossless:
        chosen[codec.quality] = f"{codec.crf if options.crf is None else options.crf:g}"
    if lossless and codec.lossless:
        chosen.update(codec.lossless)
    if options.preset is not None and codec.preset_option is None:
        raise UsageError(f"{codec.encoder} has no --preset.")
    if codec.preset_option:
        chosen[codec.preset_option] = _checked_preset(codec, options.preset or str(codec.preset))
    if codec.encoder == "prores_ks":
        chosen["profile"] = "4444" if "444" in settings.pix_fmt else "hq"
    if codec.encoder in ("libx264", "libx264rgb"):
        chosen["threads"] = str(ENCODER_THREADS)
        # x264's macroblock tree gives other bytes from run to run on processors with AVX-512, with one thread too.
        private = {"mbtree": "0", **_hdr_parameters(settings, "mastering-display", "cll", scaled=True)}
        chosen["x264-params"] = _joined(private)
    elif codec.encoder == "libx265":
        private = {
            "pools": str(ENCODER_THREADS), "frame-threads": "2", "open-gop": "0", "info": "0", "log-level": "none",
            **_hdr_parameters(settings, "master-display", "max-cll", scaled=True),
        }  # fmt: skip
        if "master-display" in private or "max-cll" in private:
            private["hdr10"] = "1"
        if lossless:
            private["lossless"] = "1"
        chosen["x265-params"] = _joined(private)
    elif codec.encoder == "libsvtav1":
        private = {
            "lp": str(ENCODER_THREADS),
            **_hdr_parameters(settings, "mastering-display", "content-light", scaled=False),
        }
        if lossless:
            private["lossless"] = "1"
        chosen["svtav1-params"] = _joined(private)
    else:
        chosen["threads"] = str(ENCODER_THREADS)
    if codec.encoder == "libvpx-vp9" and settings.has_alpha:
        chosen["auto-alt-ref"] = "0"  # libvpx cannot hide frames in the alpha stream
    if settings.color.chroma_location != "unspecified":
        chosen["chroma_sample_location"] = settings.color.chroma_location
    return tuple(sorted(chosen.items()))


def _checked_preset(codec: Codec, preset: str) -> str:
    if preset not in codec.presets:
        raise UsageError(f"{codec.encoder} has no preset {preset!r}; it knows {', '.join(codec.presets)}.")
    return preset


def _joined(parameters: dict[str, str]) -> str:
    return ":".join(f"{name}={value}" for name, value in parameters.items())


def mastering_display_text(hdr: HdrMetadata, *, scaled: bool) -> str | None:
    """ "G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)"; scaled: in units of 0.00002 and 0.0001 cd/m² (x264, x265), else plain numbers."""
    if hdr.green is None or hdr.blue is None or hdr.red is None or hdr.white is None:
        return None
    if hdr.max_luminance is None or hdr.min_luminance is None:
        return None

    def pair(values: tuple[Fraction, Fraction], unit: int) -> str:
        if scaled:
            return ",".join(str(round(v * unit)) for v in values)
        return ",".join(f"{float(v):.6f}".rstrip("0").rstrip(".") for v in values)

    points = "".join(
        f"{name}({pair(xy, 50_000)})"
        for name, xy in (("G", hdr.green), ("B", hdr.blue), ("R", hdr.red), ("WP", hdr.white))
    )
    return f"{points}L({pair((hdr.max_luminance, hdr.min_luminance), 10_000)})"


def _hdr_parameters(settings: EncodeSettings, mastering: str, light: str, *, scaled: bool) -> dict[str, str]:
    if settings.hdr is None:
        return {}
    found = {}
    text = mastering_display_text(settings.hdr, scaled=scaled)
    if text:
        found[mastering] = text
    if settings.hdr.max_cll is not None:
        found[light] = f"{settings.hdr.max_cll},{settings.hdr.max_fall or 0}"
    return found
