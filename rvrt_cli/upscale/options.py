"""What a person can ask of an upscaling run, checked before anything is read."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rvrt_cli.errors import UsageError
from rvrt_cli.upscale.option import ENCODING, MEMORY, MODEL, PICTURE, RANGE, RUN, declared_options, option
from rvrt_cli.upscale.segments import CLIP, check_window

if TYPE_CHECKING:
    from rvrt_cli.inference.tiles import TilePlan

Compare = Literal["side", "split"]

DEFAULT_MODEL = "light-s"
DEFAULT_WINDOW = 24
DEFAULT_OVERLAP = 6
"""With light-s the worst frame at the end of a segment differs from the whole shot by 54 dB or more (DAVIS, bunny); with 4 by 50."""
DEFAULT_TILE_OVERLAP_PX = 16
PREVIEW_PIECE_S = 2.0


@dataclass(frozen=True)
class UpscaleOptions:
    """Options of :func:`rvrt_cli.api.upscale_video` and, under the same names and in this order, of ``rvrt upscale``.

    Times in seconds from the film's start; ``window``, ``overlap`` and ``segment_frames`` in frames; ``tile`` and
    ``tile_overlap`` in LQ pixels ("auto", "off" or a number for ``tile``); ``memory_limit`` such as "6G".
    ``scale`` None is the model's own.
    """

    model: str = option(
        DEFAULT_MODEL,
        MODEL,
        "A model's name (light-s, light-s-real, light-s-x2, light, rvrt, bicubic) or its weights file.",
        "NAME|PATH",
        short="-m",
        decides_bytes=False,
    )
    weights: Path | None = option(
        None,
        MODEL,
        "A weights file (.safetensors, .pth, .ckpt); it says itself which network it holds.",
        "PATH",
        decides_bytes=False,
    )
    scale: int | None = option(
        None,
        PICTURE,
        "Size of the result; below the model's own (4; 2 for light-s-x2) it is reduced. 1 keeps the size (with --denoise or --deblur).",
        "2|3|4",
    )
    height: int | None = option(
        None, PICTURE, "Height of the result as it is shown; the width follows.", "PX"
    )
    width: int | None = option(None, PICTURE, "Width of the result as it is shown; the height follows.", "PX")
    denoise: float | None = option(
        None, PICTURE, "Remove noise of this standard deviation (of 255) first.", "SIGMA", low=0, high=100
    )
    deblur: bool = option(False, PICTURE, "Remove motion blur first.")
    strength: float = option(
        1.0, PICTURE, "1: the model alone, 0: bicubic alone, between: a blend.", "0..1", low=0, high=1
    )
    compare: Compare | None = option(
        None,
        PICTURE,
        "Show bicubic (left) beside the result, or as the left half of the picture.",
        "side|split",
    )
    deinterlace: Literal["auto", "on", "off"] = option(
        "auto", PICTURE, "auto: frames flagged interlaced, with bwdif.", "auto|on|off"
    )
    codec: str | None = option(
        None, ENCODING, "h264, h265, av1, vp9, prores, ffv1 or libx264rgb; default by container.", "NAME"
    )
    crf: float | None = option(
        None, ENCODING, "Quality: less is better and larger; default visually lossless.", "N", low=0, high=63
    )
    preset: str | None = option(
        None, ENCODING, "The encoder's speed preset, for example fast or slow.", "NAME"
    )
    pix_fmt: str | None = option(
        None,
        ENCODING,
        "Pixel format, for example yuv420p10le; for PNG rgb24 or rgb48. Default as the source.",
        "NAME",
    )
    lossless: bool = option(False, ENCODING, "Encode without loss.")
    container: str | None = option(
        None, ENCODING, "mp4, mkv, mov, webm ...; default by OUT's suffix.", "NAME"
    )
    fps: str | None = option(None, ENCODING, "Frame rate of an image sequence on input (default 24).", "RATE")
    start_s: float | None = option(
        None,
        RANGE,
        "Begin with the first frame at or after this time: 12.5, 1:02.5 or 1:00:02.",
        "TIME",
        flag="--start",
        is_time=True,
        low=0,
    )
    end_s: float | None = option(None, RANGE, "Stop before this time.", "TIME", flag="--end", is_time=True)
    frames: int | None = option(None, RANGE, "At most N frames.", "N", low=1)
    preview: int | None = option(None, RANGE, "Two seconds from each of N places, without sound.", "N", low=1)
    window: int | None = option(
        None,
        MEMORY,
        "Frames of one backward pass (even; default 24, fewer when memory is short).",
        "N",
    )
    overlap: int | None = option(
        None,
        MEMORY,
        "Frames of context behind a window and around a segment (even; default 6, fewer for short windows).",
        "N",
    )
    tile: str = option(
        "auto", MEMORY, "Side of spatial tiles in source pixels (a multiple of 8).", "auto|N|off"
    )
    tile_overlap: int = option(
        DEFAULT_TILE_OVERLAP_PX, MEMORY, "Pixels that neighbouring tiles share (a multiple of 8).", "N"
    )
    memory_limit: str | None = option(
        None,
        MEMORY,
        "Plan windows and tiles for this much memory, for example 6G; default half of the machine's. A run that goes on under another limit keeps what is done.",
        "SIZE",
        decides_bytes=False,
    )
    shots: bool = option(True, MEMORY, "Detect cuts; windows never cross one.")
    device: str = option(
        "auto",
        MODEL,
        "auto, cpu, gpu, gpu:1, ascend or ascend:1; auto picks the fastest.",
        "NAME",
        decides_bytes=False,
    )
    backend: str = option(
        "auto", MODEL, "auto, onnx, openvino, onnxruntime, torch or mindspore.", "NAME", decides_bytes=False
    )
    precision: str = option(
        "auto",
        MODEL,
        "auto, fp32 or mixed (half precision where the device gains from it).",
        "NAME",
        decides_bytes=False,
    )
    threads: int = option(
        0,
        MODEL,
        "CPU threads of the model and of the decoder; 0 takes all cores. Encoders always take 4: their number would change the file.",
        "N",
        low=0,
        decides_bytes=False,
    )
    resume: bool = option(True, RUN, "Continue an interrupted run, or start anew.", decides_bytes=False)
    overwrite: bool = option(
        False,
        RUN,
        "Replace OUT when the run is finished; of a numbered sequence also the pictures that the new one does not have.",
        decides_bytes=False,
    )
    work_dir: Path | None = option(
        None,
        RUN,
        "Where finished segments are kept until the end; default beside OUT. Work begun beside OUT may be moved here by hand.",
        "FOLDER",
        decides_bytes=False,
    )
    keep_work: bool = option(False, RUN, "Keep the segments after the run.", decides_bytes=False)
    segment_frames: int | None = option(
        None,
        RUN,
        "Frames per segment: at most this many are done again after a kill. Default 24 to 240, by size.",
        "N",
        low=1,
        decides_bytes=False,
    )

    @property
    def context_frames(self) -> int:
        """How many frames of context a window and a segment have: ``overlap``, or as many as make edges invisible and fit ``window``."""
        if self.overlap is not None:
            return self.overlap
        half = (self.window if self.window is not None else DEFAULT_WINDOW) // 2
        return min(DEFAULT_OVERLAP, half // CLIP * CLIP)

    def check(self) -> None:
        """Raise :class:`UsageError` for values out of range and for contradictions."""
        from rvrt_cli.inference.tiles import TilePlan, check_tiles
        from rvrt_cli.upscale.memory import AUTO_TILES, parse_size

        for name, (_, declared) in declared_options(self).items():
            declared.check(name, getattr(self, name))
        for flag, seconds in (("--start", self.start_s), ("--end", self.end_s)):
            if seconds is not None and not math.isfinite(seconds):
                raise UsageError(f"{flag} must be a finite number of seconds; got {seconds:g}.")
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
        check_window(self.window if self.window is not None else DEFAULT_WINDOW, self.context_frames)
        check_tiles(self.fixed_tile() or TilePlan(AUTO_TILES[0], self.tile_overlap))
        if self.memory_limit is not None:
            parse_size(self.memory_limit)

    def fixed_tile(self) -> TilePlan | None:
        """The tiles the user fixed; None for "auto"."""
        from rvrt_cli.inference.tiles import TilePlan

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
        return {
            name: value
            for name, value in asdict(self).items()
            if declared_options(self)[name][1].decides_bytes
        }
