"""Choose how the output is encoded: codec, pixel format, quality, tags."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from rvrt_cli.media.source import ColorTags, HdrMetadata, Source


@dataclass(frozen=True)
class EncodeOptions:
    """What the user asked for; None means "choose well".

    codec: "h264", "h265", "av1", "vp9", "prores", "ffv1" or an encoder's name such as "libx264", "libsvtav1".
    container: "mp4", "mkv", "mov", "webm" ... (default: by the output's suffix).
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
    bake_rotation/bake_flip: turn frames while writing because the container cannot carry a display matrix.
    notes: sentences to show before the run (fallbacks that were chosen and why).
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
    def fingerprint(self) -> str:
        """sha256 (hex) of the settings, FFmpeg's library versions included; for the journal."""
        raise NotImplementedError


def resolve_encoding(source: Source, options: EncodeOptions, output: Path | str, width: int, height: int) -> EncodeSettings:
    """Settle how frames of ``width`` x ``height`` (the upscaled size, before rotation) are written to ``output``.

    Defaults are visually lossless in the source's bit depth, subsampling and colour.
    Errors: :class:`UsageError` for combinations that cannot work, with what to choose instead;
    :class:`OutputError` for a suffix that names no known container.
    """
    raise NotImplementedError
