"""Decode a source into RGB frames with exact timestamps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, cast

import av
import cv2
import numpy as np

from rvrt_cli.errors import InputError, UsageError
from rvrt_cli.media.clock import Clock, packets_on_one_clock
from rvrt_cli.media.color import frame_to_rgb, rgb_to_frame
from rvrt_cli.media.frame import Frame
from rvrt_cli.media.guard import LIBRARY_ERRORS, reading
from rvrt_cli.media.images import decode_image, image_to_float
from rvrt_cli.media.probe import check_regular_file, open_container, open_decoder
from rvrt_cli.media.source import UNTAGGED_MATRICES, ColorTags, Source
from rvrt_cli.media.y4m import decode_y4m

Deinterlace = Literal["auto", "on", "off"]

# One frame out per frame in; "interlaced" leaves frames alone that are not flagged.
DEINTERLACER = "bwdif"
# Seeking lands this long before the first wanted frame, so that the deinterlacer has its neighbours and frames that
# refer across the keyframe are complete.
SEEK_MARGIN_S = 1.0


@dataclass(frozen=True, eq=False)
class Decoded:
    """A frame that is timed but not yet converted: ``convert()`` gives (rgb, alpha). tags: None for the source's."""

    pts: int | None
    duration: int | None
    corrupt: bool
    convert: Callable[[], tuple[np.ndarray, np.ndarray | None]]
    tags: ColorTags | None = None


class FrameReader:
    """Iterator of :class:`Frame` and context manager; made by :func:`read_frames`.

    frame_count: frames passed so far, skipped ones included. corrupt_frames: frames with concealed damage plus packets
    that gave no frame. resized_frames: frames scaled to the first frame's size after a change of resolution.
    recolored_frames: frames whose colour matrix or range is not the first frame's. repaired_timestamps: frames whose
    timestamp was missing or not increasing. notes: sentences for the final report.
    """

    def __init__(
        self,
        source: Source,
        *,
        start_s: float | None,
        end_s: float | None,
        max_frames: int | None,
        skip_frames: int,
        deinterlace: Deinterlace,
        threads: int,
    ) -> None:
        self.source = source
        self.frame_count = 0
        self.corrupt_frames = 0
        self.resized_frames = 0
        self.recolored_frames = 0
        self.repaired_timestamps = 0
        self.deinterlaces = False  # until the first interlaced frame comes
        self._deinterlace = deinterlace
        self._start_s = start_s
        self._end_s = end_s
        self._max_frames = max_frames
        self._skip_frames = skip_frames
        self._threads = threads
        self._damage: list[str] = []
        self._lost_packet = False  # since the last frame
        self._hidden_frames = 0  # by an edit list
        self._reached_end = False
        self._container: av.container.InputContainer | None = None
        self._frames = self._run()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        with reading(self.source.path):
            return next(self._frames)

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Harmless when called again."""
        self._frames.close()
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the report: deinterlacing, where reading stopped, repaired timestamps, changes of resolution."""
        notes = list(self._damage)
        if self.deinterlaces:
            notes.append(
                f"Interlaced frames were deinterlaced with FFmpeg's {DEINTERLACER} (one frame per frame)."
            )
        if self.resized_frames:
            video = self.source.video
            notes.append(
                f"The resolution changes in the film; {_frames(self.resized_frames)} scaled to {video.width}x{video.height} first."
            )
        if self.recolored_frames:
            notes.append(
                f"The colour matrix or range changes in the film; {_frames(self.recolored_frames)} converted to the first one's."
            )
        if self.repaired_timestamps:
            notes.append(
                f"{_frames(self.repaired_timestamps)} moved to the next free tick for want of a timestamp of their own."
            )
        hint = self.source.video.frame_count_hint
        if (
            self._reached_end
            and self._start_s is None
            and hint is not None
            and self.frame_count + self._hidden_frames < 0.98 * hint - 1
        ):
            notes.append(
                f"The file announces {hint} frames, {self.frame_count} could be decoded; it is probably truncated."
            )
        return tuple(notes)

    def _run(self) -> Generator[Frame, None, None]:
        video = self.source.video
        tick = float(video.time_base)
        slack = max(tick / 2, 1e-6)
        start = None if self._start_s is None else self._start_s + self.source.start_s - slack
        end = None if self._end_s is None else self._end_s + self.source.start_s - slack
        step = max(1, round(1 / (video.average_rate * video.time_base))) if video.average_rate else 1
        last: int | None = None
        for decoded in self._decode():
            pts = decoded.pts
            if pts is None:
                pts = (video.start_pts or 0) if last is None else last + step
                self.repaired_timestamps += 1
            elif last is not None and pts <= last:
                pts = last + 1
                self.repaired_timestamps += 1
            last = pts
            if start is not None and pts * tick < start:
                continue
            if end is not None and pts * tick >= end:
                return
            if self._max_frames is not None and self.frame_count >= self._max_frames:
                return
            index = self.frame_count
            self.frame_count += 1
            if decoded.corrupt:
                self.corrupt_frames += 1
            corrupt, self._lost_packet = decoded.corrupt or self._lost_packet, False
            if index < self._skip_frames:
                continue
            if decoded.tags is not None and decoded.tags != video.effective_color:
                self.recolored_frames += 1
            rgb, alpha = decoded.convert()
            if rgb.shape[:2] != (video.height, video.width):
                self.resized_frames += 1
                rgb = _resize(rgb, video.width, video.height)
                alpha = None if alpha is None else _resize(alpha, video.width, video.height)
            if video.has_alpha and alpha is None:
                alpha = np.ones(rgb.shape[:2], np.float32)
            yield Frame(index, pts, decoded.duration, rgb, alpha if video.has_alpha else None, corrupt)
        self._reached_end = True
        if self.frame_count == 0:
            if self.source.kind == "y4m":
                which = "in the chosen range" if start is not None or end is not None else "after its header"
                raise InputError(f"Standard input has no frame {which}; check the program that writes it.")
            if start is not None or end is not None:
                raise InputError(
                    f"{self.source.path} has no frame in the chosen range; it is {self.source.duration_s or 0:.3f} s long."
                )
            raise InputError(
                f"{self.source.path}: not one frame of its video can be decoded; the file is damaged."
            )

    def _decode(self) -> Iterator[Decoded]:
        kind, video = self.source.kind, self.source.video
        if kind == "video":
            timed = ((self._timed(frame), frame) for frame in self._decode_container())
            return (
                (decoded for decoded, _ in timed) if self._deinterlace == "off" else self._deinterlaced(timed)
            )
        decoded = self._decode_images() if kind == "images" else decode_y4m(self.source)
        if self._deinterlace == "on" or (self._deinterlace == "auto" and video.interlaced):
            return self._deinterlaced(
                (d, picture_of(d, video.pix_fmt, video.effective_color)) for d in decoded
            )
        return decoded

    def _decode_images(self) -> Iterator[Decoded]:
        size = (self.source.video.height, self.source.video.width)
        for number, path in enumerate(self.source.images):

            def convert(path: Path = path) -> tuple[np.ndarray, np.ndarray | None]:
                image = decode_image(path)
                if image.shape[:2] != size:
                    raise InputError(
                        f"{path} is {image.shape[1]}x{image.shape[0]}, the first picture {size[1]}x{size[0]}; "
                        "all pictures of a sequence need the same size."
                    )
                return image_to_float(image)

            yield Decoded(number, 1, False, convert)

    def _open(self) -> tuple[av.container.InputContainer, av.VideoStream]:
        check_regular_file(self.source.path)
        if self._container is not None:
            self._container.close()
        self._container = open_container(self.source.path)
        return self._container, cast(av.VideoStream, self._container.streams[self.source.video.index])

    def _decode_container(self) -> Iterator[av.VideoFrame]:
        """Frames in display order, from a little before the wanted start where seeking works."""
        video = self.source.video
        # A time that occurs twice in the file cannot be sought.
        seekable = not self.source.clock_jumps
        if seekable and self._start_s is not None and self._start_s > 2 * SEEK_MARGIN_S:
            start_s = self._start_s + self.source.start_s
            container, stream = self._open()
            frames: Iterator[av.VideoFrame] = iter(())
            first = None
            with suppress(*LIBRARY_ERRORS):
                container.seek(int((start_s - SEEK_MARGIN_S) / video.time_base), stream=stream, backward=True)
                frames = self._demux(container, stream)
                first = next(frames, None)
            if (
                first is not None
                and first.pts is not None
                and float(first.pts * video.time_base) <= start_s - SEEK_MARGIN_S / 2
            ):
                yield first
                yield from frames
                return
            self.corrupt_frames = 0  # seeking does not work here: start over and decode everything
            self._damage.clear()
        yield from self._demux(*self._open())

    def _demux(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.VideoFrame]:
        decoder = open_decoder(stream, self.source.video.has_alpha, self._threads)
        packets = self._packets(container, stream)
        while True:
            try:
                packet = next(packets, None)
            except LIBRARY_ERRORS as error:
                reason = getattr(error, "strerror", None) or type(error).__name__
                self._damage.append(f"Reading stopped early at damage in the file ({reason}).")
                packet = None
            if packet is not None and packet.size:
                self._hidden_frames += packet.is_discard
                try:
                    decoded = decoder.decode(packet)
                except LIBRARY_ERRORS:
                    self.corrupt_frames += 1
                    self._lost_packet = True
                    continue
            else:
                # PyAV sends an empty packet at the end; after damage it is sent here.
                try:
                    decoded = decoder.decode(None)
                except LIBRARY_ERRORS:
                    decoded = []
            yield from cast("list[av.VideoFrame]", decoded)
            if packet is None or not packet.size:
                return

    def _packets(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
        if not self.source.clock_jumps:
            return container.demux(stream)
        return (p for p in packets_on_one_clock(container, Clock()) if p.stream_index == stream.index)

    def _timed(self, frame: av.VideoFrame) -> Decoded:
        pts = frame.pts if frame.pts is not None else frame.dts
        tags = self._tags(frame)
        return Decoded(pts, frame.duration or None, frame.is_corrupt, lambda: frame_to_rgb(frame, tags), tags)

    def _tags(self, frame: av.VideoFrame) -> ColorTags:
        """The film's colour with the frame's own matrix and range: a broadcast may change them between programmes."""
        tags = self.source.video.effective_color
        if tags.matrix == 0:
            return tags  # RGB
        matrix, color_range = int(frame.colorspace), int(frame.color_range)
        return replace(
            tags,
            matrix=tags.matrix if matrix in UNTAGGED_MATRICES else matrix,
            range=color_range or tags.range,
        )

    def _deinterlaced(self, frames: Iterator[tuple[Decoded, av.VideoFrame]]) -> Iterator[Decoded]:
        """Pass frames through the deinterlacer from the first interlaced one on.

        The picture comes from the filter, everything else from the decoder.
        """
        graph: av.filter.Graph | None = None
        shape: tuple[int, int, str] | None = None
        waiting: deque[Decoded | None] = deque()
        before: av.VideoFrame | None = None
        everything = self._deinterlace == "on" or self.source.kind != "video"

        def drain() -> Iterator[Decoded]:
            assert graph is not None
            while True:
                try:
                    picture = cast(av.VideoFrame, graph.pull())
                except (av.error.BlockingIOError, av.error.EOFError):
                    return
                decoded = waiting.popleft()
                if decoded is not None:
                    tags = decoded.tags or self.source.video.effective_color
                    yield replace(decoded, convert=partial(frame_to_rgb, picture, tags))

        for decoded, frame in frames:
            if graph is None and not (everything or frame.interlaced_frame):
                yield decoded
                before = frame
                continue
            if shape != (frame.width, frame.height, frame.format.name):
                if graph is not None:
                    graph.push(None)
                    yield from drain()
                shape = (frame.width, frame.height, frame.format.name)
                graph = self._graph(frame, everything)
                self.deinterlaces = True
                if before is not None and shape == (before.width, before.height, before.format.name):
                    # The neighbour of the first interlaced frame, which was delivered as it is.
                    waiting.append(None)
                    graph.push(before)
                before = None
            waiting.append(decoded)
            cast(av.filter.Graph, graph).push(frame)
            yield from drain()
        if graph is not None:
            graph.push(None)
            yield from drain()

    def _graph(self, frame: av.VideoFrame, everything: bool) -> av.filter.Graph:
        video = self.source.video
        graph = av.filter.Graph()
        buffer = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=video.time_base
        )
        which = "all" if everything else "interlaced"
        parity = "bff" if video.bottom_field_first else "auto"
        nodes = [
            buffer,
            graph.add(DEINTERLACER, f"mode=send_frame:deint={which}:parity={parity}"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        return graph


def _frames(count: int) -> str:
    return "1 frame was" if count == 1 else f"{count} frames were"


def picture_of(decoded: Decoded, pix_fmt: str, tags: ColorTags) -> av.VideoFrame:
    """A decoded frame for a filter, in the pixel format of its source."""
    frame = rgb_to_frame(*decoded.convert(), pix_fmt, tags)
    frame.pts = decoded.pts
    return frame


def _resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    smaller = width * height < picture.shape[0] * picture.shape[1]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def read_frames(
    source: Source,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    max_frames: int | None = None,
    skip_frames: int = 0,
    deinterlace: Deinterlace = "auto",
    threads: int = 0,
) -> FrameReader:
    """Read the frames with ``start_s <= time < end_s`` (seconds after ``source.start_s``), at most ``max_frames`` of them.

    skip_frames: of those, decode the first N without delivering them (to continue a run); the remaining frames have the
    same index, timestamps and pixels as in a run without skipping.
    deinterlace: "auto" runs FFmpeg's bwdif on frames flagged interlaced, "on" on all, one frame out per frame in.
    threads: decoder threads, 0 for the decoder's choice.
    Errors: :class:`UsageError` for an impossible range; while iterating, :class:`InputError` when nothing can be decoded
    or the range holds no frame.
    """
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise UsageError(
            f"The range ends ({end_s} s) before it starts ({start_s} s); swap --start and --end."
        )
    if max_frames is not None and max_frames < 1:
        raise UsageError("At least one frame must be asked for.")
    return FrameReader(
        source,
        start_s=start_s,
        end_s=end_s,
        max_frames=max_frames,
        skip_frames=skip_frames,
        deinterlace=deinterlace,
        threads=threads,
    )
