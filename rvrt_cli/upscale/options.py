"""What a person can ask of an upscaling run, checked before anything is read."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rvrt_cli.errors import UsageError
from rvrt_cli.inference.tiles import TilePlan, check_tiles
from rvrt_cli.upscale.finish import Compare
from rvrt_cli.upscale.memory import AUTO_TILES, parse_size
from rvrt_cli.upscale.windows import CLIP, check_window

DEFAULT_MODEL = "light-s"
DEFAULT_WINDOW = 24
DEFAULT_OVERLAP = 6
"""With light-s, window boundaries differ from the whole clip by 51 dB; 16 frames with 4 shared, which cost as much, by 48.5."""
DEFAULT_TILE_OVERLAP_PX = 16
PREVIEW_PIECE_S = 2.0


@dataclass(frozen=True)
class UpscaleOptions:
    """Options of :func:`rvrt_cli.api.upscale_video`; the command line has the same names.

    Times in seconds from the film's start; ``window``, ``overlap`` and ``segment_frames`` in frames; ``tile`` and
    ``tile_overlap`` in LQ pixels ("auto", "off" or a number for ``tile``); ``memory_limit`` such as "6G".
    ``scale`` None is the model's own.
    """

    model: str = DEFAULT_MODEL
    weights: Path | None = None
    scale: int | None = None
    height: int | None = None
    width: int | None = None
    denoise: float | None = None
    deblur: bool = False
    strength: float = 1.0
    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    lossless: bool = False
    container: str | None = None
    fps: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    frames: int | None = None
    preview: int | None = None
    compare: Compare | None = None
    window: int | None = None
    overlap: int | None = None
    tile: str = "auto"
    tile_overlap: int = DEFAULT_TILE_OVERLAP_PX
    memory_limit: str | None = None
    shots: bool = True
    deinterlace: Literal["auto", "on", "off"] = "auto"
    device: str = "auto"
    backend: str = "auto"
    precision: str = "auto"
    threads: int = 0
    resume: bool = True
    overwrite: bool = False
    work_dir: Path | None = None
    keep_work: bool = False
    segment_frames: int | None = None

    @property
    def shared_frames(self) -> int:
        """How many frames neighbouring windows share: ``overlap``, or as many as are invisible and fit into ``window``."""
        if self.overlap is not None:
            return self.overlap
        half = (self.window if self.window is not None else DEFAULT_WINDOW) // 2
        return min(DEFAULT_OVERLAP, half // CLIP * CLIP)

    def check(self) -> None:
        """Raise :class:`UsageError` for values out of range and for contradictions."""
        _in_range("--strength", self.strength, 0, 1)
        _in_range("--denoise", self.denoise, 0, 100)
        _in_range("--crf", self.crf, 0, 63)
        _at_least("--start", self.start_s, 0)
        for name, seconds in (("--start", self.start_s), ("--end", self.end_s)):
            if seconds is not None and not math.isfinite(seconds):
                raise UsageError(f"{name} must be a finite number of seconds; got {seconds:g}.")
        _at_least("--frames", self.frames, 1)
        _at_least("--preview", self.preview, 1)
        _at_least("--threads", self.threads, 0)
        _at_least("--segment-frames", self.segment_frames, 1)
        if self.end_s is not None and self.end_s <= (self.start_s or 0):
            raise UsageError(f"--end ({self.end_s:g} s) must lie after --start ({self.start_s or 0:g} s).")
        if self.preview is not None and (self.start_s, self.end_s, self.frames) != (None, None, None):
            raise UsageError("--preview picks its own places; leave out --start, --end and --frames.")
        if self.scale is not None and self.scale not in (1, 2, 3, 4):
            raise UsageError(f"--scale must be 2, 3 or 4; got {self.scale}.")
        if self.scale == 1 and self.denoise is None and not self.deblur:
            raise UsageError(
                "--scale 1 keeps the size and needs --denoise or --deblur, or nothing would be done."
            )
        if self.scale == 1 and (self.model != DEFAULT_MODEL or self.weights is not None):
            raise UsageError(
                "--scale 1 uses no super-resolution model; leave out --light, --model and --weights."
            )
        if self.lossless and self.crf is not None:
            raise UsageError("--lossless and --crf contradict each other; give one of them.")
        if self.deinterlace not in ("auto", "on", "off"):
            raise UsageError(f"--deinterlace must be auto, on or off; got {self.deinterlace!r}.")
        if self.compare not in (None, "side", "split"):
            raise UsageError(f"--compare must be side or split; got {self.compare!r}.")
        check_window(self.window if self.window is not None else DEFAULT_WINDOW, self.shared_frames)
        check_tiles(self.fixed_tile() or TilePlan(AUTO_TILES[0], self.tile_overlap))
        if self.memory_limit is not None:
            parse_size(self.memory_limit)

    def fixed_tile(self) -> TilePlan | None:
        """The tiles the user fixed; None for "auto"."""
        if self.tile == "auto":
            return None
        if self.tile == "off":
            return TilePlan(None)
        if not self.tile.isdigit():
            raise UsageError(f"--tile must be auto, off or a number of pixels; got {self.tile!r}.")
        return TilePlan(int(self.tile), self.tile_overlap)

    @property
    def trimmed(self) -> bool:
        """Whether the run covers only part of the film."""
        return (self.start_s, self.end_s, self.frames, self.preview) != (None, None, None, None)

    def identity(self) -> dict[str, Any]:
        """The options that the output's bytes depend on, as JSON values, for the journal.

        Model, weights, device, backend and precision are in the restorer's fingerprint, the length of segments is an entry of its
        own; threads and the work directory change no byte; a new memory limit plans the rest of a run anew, it does not undo
        what is done.
        """
        elsewhere = {
            "model",
            "weights",
            "device",
            "backend",
            "precision",
            "threads",
            "memory_limit",
            "resume",
            "overwrite",
            "work_dir",
            "keep_work",
            "segment_frames",
        }
        return {name: value for name, value in asdict(self).items() if name not in elsewhere}


def _in_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise UsageError(f"{name} must lie between {low:g} and {high:g}; got {value:g}.")


def _at_least(name: str, value: float | None, low: float) -> None:
    if value is not None and not value >= low:
        raise UsageError(f"{name} must be at least {low:g}; got {value:g}.")
