"""The encoders that are offered, and what is known about each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Codec:
    """What is known about an encoder.

    quality: the name of its constant-quality option. crf: visually lossless default. preset: default and the option it
    is given through; presets: all it knows. even: 4:2:0 and 4:2:2 need even sizes. containers: where it belongs.
    alpha: the pixel formats with transparency that it really encodes; None: all that FFmpeg lists. lossless: options of
    its lossless mode, None when it has none; lossless_bits: up to which depth it keeps its word. matrices: the colour
    matrices that its bitstream can state, None for all; unknown_primaries: those that the encoder refuses or forgets.
    limited_range: it knows no full range. largest: the (width, height) that it takes at most.
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
    lossless_bits: int = 16
    smallest: int = 1
    matrices: frozenset[int] | None = None
    unknown_primaries: frozenset[int] = frozenset()
    limited_range: bool = False
    largest: tuple[int, int] = (65535, 65535)


_FILM = frozenset({"mp4", "mov", "mkv"})
_EBU_3213 = frozenset({22})
_X26X_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")  # fmt: skip
# The presets are fast and the quality high: the encoder shares the processor with the model, disk space is cheaper.
# Other encoders of FFmpeg are not offered: they lack a constant quality, make other bytes on other machines (those of
# graphics cards), or hold few frame rates, clocks or colour matrices.
CODECS = {
    "libx264": Codec(
        "libx264", "crf", 15, (0, 51), "preset", "veryfast", _X26X_PRESETS, _FILM, True, lossless=(("qp", "0"),), smallest=2,
        unknown_primaries=_EBU_3213, largest=(16384, 16384),
    ),
    "libx264rgb": Codec(
        "libx264rgb", "crf", 15, (0, 51), "preset", "veryfast", _X26X_PRESETS, _FILM, False, lossless=(("qp", "0"),), smallest=2,
        unknown_primaries=_EBU_3213, largest=(16384, 16384),
    ),
    "libx265": Codec(
        "libx265", "crf", 14, (0, 51), "preset", "superfast", _X26X_PRESETS, _FILM, True,
        alpha=frozenset(), lossless=(), smallest=16, unknown_primaries=_EBU_3213,
    ),
    "libsvtav1": Codec(
        "libsvtav1", "crf", 16, (1, 63), "preset", "8", tuple(map(str, range(-1, 14))), frozenset({"mp4", "mkv", "webm"}), True,
        lossless=(), lossless_bits=8, smallest=4, largest=(16384, 8704),
    ),
    "libvpx-vp9": Codec(
        "libvpx-vp9", "crf", 14, (0, 63), "cpu-used", "5", tuple(map(str, range(6))), frozenset({"mp4", "mkv", "webm"}), False,
        alpha=frozenset({"yuva420p"}),
        options=(("b", "0"), ("deadline", "good"), ("row-mt", "1"), ("tile-columns", "2"), ("lag-in-frames", "16")),
        lossless=(("lossless", "1"),), matrices=frozenset({0, 1, 5, 6, 7, 9}),
    ),
    "prores_ks": Codec(
        "prores_ks", None, None, (0, 0), None, None, (), frozenset({"mov", "mkv"}), False,
        options=(("vendor", "apl0"),), limited_range=True,
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
