"""Write a run of frames as one closed, reproducible file.

A segment is a Matroska file in which one millisecond stands for one tick of the source's time base: Matroska holds
every codec (and VP9's alpha), and this way it holds every timestamp exactly. Its clock starts at zero; where it belongs
in the film stands in a footer, an EBML Void element, which also proves that the file was finished.
"""

from __future__ import annotations

import heapq
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np

from rvrt_cli.errors import OutputError
from rvrt_cli.media.av_errors import LIBRARY_ERRORS
from rvrt_cli.media.color import rgb_to_frame
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.scheduling import keep_ordinary_scheduling
from rvrt_cli.system.files import explain_os_error, hash_file, sync_file

TICK = Fraction(1, 1000)
# EBML Void, 48 bytes: magic, then offset of the clock, frames, first pts, last pts, duration of the last frame.
FOOTER = struct.Struct("<BB8s5q")
VOID_ID, VOID_SIZE, MAGIC = 0xEC, 0x80 | 48, b"RVRTSEG1"


# Frames a decoder may have to hold back: H.264 and HEVC with a B-pyramid need two.
REORDER_DELAY = {"h264": 2, "hevc": 2, "mpeg4": 1, "mpeg2video": 1}


class DecodeOrder:
    """Decode timestamps for packets in decode order: each frame's is the display time of the one ``delay`` frames earlier.

    The first ``delay`` packets get times before ``first_pts``, ``step`` apart.
    """

    def __init__(self, codec: str, first_pts: int, step: int = 1) -> None:
        self.delay = REORDER_DELAY.get(codec, 0)
        self._first, self._step = first_pts, step
        self._held: list[int] = []
        self._count = 0

    def decode_time(self, pts: int) -> int:
        """The next packet's decode time, given its ``pts``."""
        heapq.heappush(self._held, pts)
        self._count += 1
        if self._count <= self.delay:
            return self._first - (self.delay - self._count + 1) * self._step
        return heapq.heappop(self._held)


def frame_step(settings: EncodeSettings) -> int:
    """Ticks between two frames at the average rate, at least one."""
    return max(1, round(1 / (settings.rate * settings.time_base)))


@dataclass(frozen=True)
class SegmentInfo:
    """A closed segment. first_pts, last_pts, last_duration: in settings.time_base units. sha256: of the file's bytes."""

    path: Path
    frames: int
    sha256: str
    size_bytes: int
    first_pts: int
    last_pts: int
    last_duration: int


@dataclass(frozen=True)
class SegmentFooter:
    """What the end of a finished segment says. offset: to add to the file's ticks to get the film's timestamps."""

    offset: int
    frames: int
    first_pts: int
    last_pts: int
    last_duration: int


class SegmentWriter:
    """Encode frames into ``path``; the file is readable only after :meth:`close`, which flushes it to the disk.

    The same frames and settings give the same bytes, whatever the number of cores.
    """

    def __init__(self, path: Path, settings: EncodeSettings) -> None:
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes to stderr otherwise
        self._path = Path(path)
        self._settings = settings
        self._frames = 0
        self._first_pts = 0
        self._last_pts: int | None = None
        self._last_duration = 1
        self._offset = 0
        self._order: DecodeOrder | None = None
        self._open = True
        width, height = settings.coded_size
        try:
            self._container = av.open(f"file:{path}", "w", format="matroska", options={"fflags": "+bitexact"})
            stream = cast(av.VideoStream, self._container.add_stream(settings.encoder, rate=settings.rate))
        except OSError as error:
            raise explain_os_error(error, self._path) from error
        stream.width, stream.height, stream.pix_fmt = width, height, settings.pix_fmt
        context = stream.codec_context
        context.time_base = settings.time_base
        context.framerate = settings.rate
        context.sample_aspect_ratio = settings.sar
        color = settings.color
        context.color_primaries, context.color_trc = color.primaries, color.transfer
        context.colorspace, context.color_range = color.matrix, color.range
        context.options = {"flags": "+bitexact", **dict(settings.encoder_options)}
        self._stream = stream

    def write(
        self, rgb: np.ndarray, pts: int, duration: int | None = None, alpha: np.ndarray | None = None
    ) -> None:
        """Append a frame. rgb: float32 (settings.height, settings.width, 3), nominally [0, 1], clipped by the coding range only.

        pts must increase; it is written as it is. alpha: float32 (h, w), used exactly when settings.has_alpha.
        Errors: ValueError for a wrong shape or order, :class:`OutputError`, :class:`DiskFullError`.
        """
        settings = self._settings
        if rgb.shape != (settings.height, settings.width, 3):
            raise ValueError(f"frame of shape {rgb.shape}, expected {(settings.height, settings.width, 3)}")
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"timestamp {pts} does not follow {self._last_pts}")
        if settings.bake_rotation:
            turns = settings.bake_rotation // 90
            rgb, alpha = np.rot90(rgb, turns), None if alpha is None else np.rot90(alpha, turns)
        if settings.bake_flip:
            rgb, alpha = rgb[:, ::-1], None if alpha is None else alpha[:, ::-1]
        frame = rgb_to_frame(
            np.asarray(rgb, np.float32),
            alpha if settings.has_alpha else None,
            settings.pix_fmt,
            settings.color,
        )
        frame.time_base = settings.time_base
        frame.color_primaries, frame.color_trc = settings.color.primaries, settings.color.transfer
        frame.colorspace, frame.color_range = settings.color.matrix, settings.color.range
        if self._last_pts is None:
            self._first_pts = pts
        frame.pts = pts
        self._last_pts = pts
        self._last_duration = duration or frame_step(settings)
        self._frames += 1
        self._encode(frame)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        try:
            packets = self._stream.encode(frame)
        except LIBRARY_ERRORS as error:
            raise self._encoder_error(error) from error
        finally:
            if self._frames <= 1 and self._settings.encoder == "libsvtav1":
                keep_ordinary_scheduling()  # the first frame opens the encoder
        for packet in packets:
            assert packet.pts is not None
            if self._order is None:
                self._order = DecodeOrder(self._settings.codec, packet.pts)
                self._offset = packet.pts - self._order.delay
            # The encoder's own decode times are not used: x265 leaves them uninitialised when a segment has fewer
            # frames than it looks ahead.
            packet.dts = self._order.decode_time(packet.pts) - self._offset
            packet.pts -= self._offset
            packet.time_base = TICK
            try:
                self._container.mux(packet)
            except OSError as error:
                raise explain_os_error(error, self._path) from error
            except LIBRARY_ERRORS as error:
                raise self._encoder_error(error) from error

    def _encoder_error(self, error: Exception) -> OutputError:
        width, height = self._settings.coded_size
        reason = getattr(error, "strerror", None) or type(error).__name__
        return OutputError(
            f"The encoder {self._settings.encoder} refused {width}x{height} {self._settings.pix_fmt} ({reason.splitlines()[0][:80]}); "
            "choose another --codec or --pix-fmt."
        )

    def close(self) -> SegmentInfo:
        """Finish, fsync and describe the segment. Errors: :class:`OutputError`, :class:`DiskFullError`."""
        if self._frames == 0:
            self.abort()
            raise OutputError(f"{self._path}: a segment without frames cannot be written.")
        assert self._last_pts is not None
        try:
            self._encode(None)
            self._container.close()
            with open(self._path, "ab") as file:
                numbers = (self._offset, self._frames, self._first_pts, self._last_pts, self._last_duration)
                file.write(FOOTER.pack(VOID_ID, VOID_SIZE, MAGIC, *numbers))
            sync_file(self._path)
            digest, size = hash_file(self._path), self._path.stat().st_size
        except OSError as error:
            self.abort()
            raise explain_os_error(error, self._path) from error
        except OutputError:
            self.abort()
            raise
        self._open = False
        return SegmentInfo(
            self._path, self._frames, digest, size, self._first_pts, self._last_pts, self._last_duration
        )

    def abort(self) -> None:
        """Stop and delete the unfinished file."""
        if self._open:
            self._open = False
            with suppress(OSError, *LIBRARY_ERRORS):  # the file is thrown away
                self._container.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        """Abort when leaving because of an error or without :meth:`close`."""
        if self._open:
            self.abort()


def read_footer(path: Path) -> SegmentFooter:
    """The footer of a finished segment. Errors: :class:`OutputError` when the segment is missing, unfinished or damaged."""
    try:
        with open(path, "rb") as file:
            file.seek(-FOOTER.size, os.SEEK_END)
            void, size, magic, *numbers = FOOTER.unpack(file.read(FOOTER.size))
    except OSError as error:
        raise OutputError(
            f"The segment {path} cannot be read ({error.strerror}); delete it and run the same command again."
        ) from error
    if (void, size, magic) != (VOID_ID, VOID_SIZE, MAGIC):
        raise OutputError(
            f"The segment {path} is unfinished or damaged; delete it and run the same command again."
        )
    return SegmentFooter(*numbers)


def read_packets(container: av.container.InputContainer, footer: SegmentFooter) -> Iterator[av.Packet]:
    """Packets of an opened segment in decode order, pts on the film's clock (settings.time_base), dts unset."""
    for packet in container.demux(container.streams.video[0]):
        if packet.size and packet.pts is not None:
            packet.pts += footer.offset
            packet.dts = None
            yield packet
