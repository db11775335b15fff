"""The encoder's own options: quality, speed, threads, and what the bitstream says about light and colour."""

from __future__ import annotations

from fractions import Fraction

from rvrt_cli.errors import UsageError
from rvrt_cli.media.codecs import Codec
from rvrt_cli.media.encode_settings import EncodeOptions, EncodeSettings
from rvrt_cli.media.source import HdrMetadata

# A fixed number: encoders split their work, and with it their bytes, by the number of threads. A run must be
# resumable on another machine with the same result.
ENCODER_THREADS = 4


def encoder_options(
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
    if lossless and settings.bit_depth > codec.lossless_bits:
        # SVT-AV1 is off by up to 5 of 1023 at most of its presets there.
        raise UsageError(
            f"{codec.encoder} is not lossless above {codec.lossless_bits} bits; choose --codec h265 or ffv1 and name the output .mkv."
        )
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
