"""What the user asked of the encoding, and what came of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction

import av

from rvrt_cli.media.source import ColorTags, HdrMetadata


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
