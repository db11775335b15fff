"""Decode a source into RGB frames with exact timestamps."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Literal

import cv2
import numpy as np

from rvrt_cli.errors import InputError, RvrtError, UsageError
from rvrt_cli.media.av_errors import LIBRARY_ERRORS, translate_av_errors
from rvrt_cli.media.count import count_pictures
from rvrt_cli.media.decode import FilmDecoder
from rvrt_cli.media.deinterlace import DEINTERLACER, Deinterlacer, picture_of
from rvrt_cli.media.frame import Decoded, Frame
from rvrt_cli.media.images import decode_images
from rvrt_cli.media.source import Source, VideoStream
from rvrt_cli.media.y4m import decode_y4m

# Times on the command line are rounded, the most to milliseconds.
RANGE_SLACK_S = 0.0005
Deinterlace = Literal["auto", "on", "off"]


class EmptyRange(InputError):  # noqa: N818 - the name of what is wrong
    """The range holds no frame."""


class FrameReader:
    """Iterator of :class:`Frame` and context manager; made by :func:`read_frames`.

    frame_count: frames passed so far, skipped ones included. corrupt_frames: frames with concealed damage plus packets
    that gave no frame. resized_frames: frames scaled to the first frame's size after a change of resolution.
    recolored_frames: frames whose colour matrix or range is not the first frame's. repaired_timestamps: frames whose
    timestamp was missing or not increasing. repeated_frames: frames made from the picture before. missing_frames: pictures that the file holds and the decoder neither gave nor
    reported as lost; known at the end. notes: sentences for the final report.
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
        key_frame: tuple[int, int] | None,
    ) -> None:
        self.source = source
        self.frame_count = key_frame[0] if key_frame else 0
        self._key_frame = key_frame
        self.resized_frames = 0
        self.recolored_frames = 0
        self.repaired_timestamps = 0
        self.repeated_frames = 0
        self.missing_frames = 0
        self._deinterlace = deinterlace
        self._start_s = start_s
        self._end_s = end_s
        self._max_frames = max_frames
        self._skip_frames = skip_frames
        self._concealed = 0
        self._reached_end = False
        self._film = FilmDecoder(source, start_s=start_s)
        self._deinterlacer = Deinterlacer(
            source.video, everything=deinterlace == "on" or source.kind != "video"
        )
        self._frames = self._run()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        with translate_av_errors(self.source.path):
            return next(self._frames)

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Harmless when called again."""
        self._frames.close()
        self._film.close()

    @property
    def corrupt_frames(self) -> int:
        """Frames with concealed damage and packets that gave no frame, so far."""
        return self._concealed + self._film.lost_packets

    @property
    def deinterlaces(self) -> bool:
        """Whether an interlaced frame was met so far."""
        return self._deinterlacer.active

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the report: deinterlacing, where reading stopped, repaired timestamps, changes of resolution."""
        notes = list(self._film.damage)
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
        if self.repeated_frames:
            notes.append(
                f"Empty packets repeat pictures in this film: {_frames(self.repeated_frames)} made from the picture before."
            )
        if self.missing_frames:
            notes.append(
                f"The decoder dropped frames: the film holds {self.frame_count + self._film.lost_packets + self.missing_frames}, "
                f"{self.missing_frames} of them {'is' if self.missing_frames == 1 else 'are'} missing in the output."
            )
        hint = self.source.video.frame_count_hint
        if (
            self._reached_end
            and self._start_s is None
            and self._key_frame is None
            and hint is not None
            and self.frame_count < 0.98 * hint - 1
        ):
            notes.append(
                f"The file announces {hint} frames, {self.frame_count} could be decoded; it is probably truncated."
            )
        return tuple(notes)

    def _run(self) -> Generator[Frame, None, None]:
        video = self.source.video
        tick = float(video.time_base)
        slack = max(min(tick / 2, RANGE_SLACK_S), 1e-6)
        start = None if self._start_s is None else self._start_s + self.source.start_s - slack
        end = None if self._end_s is None else self._end_s + self.source.start_s - slack
        step = max(1, round(1 / (video.average_rate * video.time_base))) if video.average_rate else 1
        last: int | None = None
        before: int | None = None
        after: int | None = None
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
                before = pts
                continue
            if end is not None and pts * tick >= end:
                after = pts
                break
            if self._max_frames is not None and self.frame_count >= self._max_frames:
                return
            index = self.frame_count
            self.frame_count += 1
            self._concealed += decoded.corrupt
            self.repeated_frames += decoded.repeated
            corrupt = self._film.take_loss() or decoded.corrupt
            if index < self._skip_frames:
                continue
            if decoded.tags is not None and decoded.tags != video.effective_color:
                self.recolored_frames += 1
            rgb, alpha = decoded.convert()
            rgb, alpha = _without_edges(rgb, video), None if alpha is None else _without_edges(alpha, video)
            if rgb.shape[:2] != (video.height, video.width):
                self.resized_frames += 1
                rgb = _resize(rgb, video.width, video.height)
                alpha = None if alpha is None else _resize(alpha, video.width, video.height)
            if video.has_alpha and alpha is None:
                alpha = np.ones(rgb.shape[:2], np.float32)
            yield Frame(
                index,
                pts,
                decoded.duration,
                rgb,
                alpha if video.has_alpha else None,
                corrupt,
                decoded.key_frame and decoded.pts == pts,
            )
        else:
            self._reached_end = True
        if self.source.kind == "video":
            self._find_missing(start, end)
        if self.frame_count == 0:
            raise self._nothing_read(before, after)

    def _nothing_read(self, before: int | None, after: int | None) -> InputError:
        """Why there is no frame. before, after: times of the frames around the range, where there are any."""
        name = "Standard input" if self.source.kind == "y4m" else self.source.path
        if self._start_s is None and self._end_s is None:
            if self.source.kind == "y4m":
                return InputError(f"{name} has no frame after its header; check the program that writes it.")
            return InputError(f"{name}: not one frame of its video can be decoded; the file is damaged.")
        around = [
            float(pts * self.source.video.time_base) - self.source.start_s
            for pts in (before, after)
            if pts is not None
        ]
        where = f"from {self._start_s or 0:g} s" + ("" if self._end_s is None else f" to {self._end_s:g} s")
        if after is None:
            known = f"its last frame is at {around[0]:.3f} s" if around else "it has no frames"
        else:
            known = f"the nearest frames are at {' and '.join(f'{time:.3f} s' for time in around)}"
        return EmptyRange(f"{name} has no frame {where}, {known}; choose another --start or --end.")

    def _find_missing(self, start: float | None, end: float | None) -> None:
        """Compare what the decoder gave with what a pass over the packets alone finds."""
        held = None
        with suppress(
            RvrtError, OSError, *LIBRARY_ERRORS
        ):  # a file that is gone by now has been read nevertheless
            held = count_pictures(self.source, start, end)
        given = self.frame_count + self._film.lost_packets
        if held is not None and not (
            self._film.interlaced and 2 * given >= held
        ):  # fields may have packets of their own
            self.missing_frames = max(0, held - given)

    def _decode(self) -> Iterator[Decoded]:
        kind, video = self.source.kind, self.source.video
        if kind == "video":
            key = self._key_frame
            timed = self._film.frames() if key is None else self._film.frames_from(key[1])
            if self._deinterlace == "off":
                return (decoded for decoded, _ in timed)
            return self._deinterlacer.run(timed)
        decoded = decode_images(self.source) if kind == "images" else decode_y4m(self.source)
        if self._deinterlace == "on" or (self._deinterlace == "auto" and video.interlaced):
            return self._deinterlacer.run(
                (d, picture_of(d, video.pix_fmt, video.effective_color)) for d in decoded
            )
        return decoded


def _frames(count: int) -> str:
    return "1 frame was" if count == 1 else f"{count} frames were"


def _without_edges(picture: np.ndarray, video: VideoStream) -> np.ndarray:
    """``picture`` without what the container hides; whole where the hidden edges are not those of its size."""
    crop, (height, width) = video.crop, picture.shape[:2]
    if not any(crop) or (height - crop.top - crop.bottom, width - crop.left - crop.right) != (
        video.height,
        video.width,
    ):
        return picture
    return np.ascontiguousarray(picture[crop.top : height - crop.bottom, crop.left : width - crop.right])


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
    key_frame: tuple[int, int] | None = None,
) -> FrameReader:
    """Read the frames with ``start_s <= time < end_s`` (seconds after ``source.start_s``), at most ``max_frames`` of them.

    skip_frames: of those, decode the first N without delivering them (to continue a run); the remaining frames have the
    same index, timestamps and pixels as in a run without skipping.
    deinterlace: "auto" runs FFmpeg's bwdif on frames flagged interlaced, "on" on all, one frame out per frame in.
    key_frame: (index, timestamp) of a frame of this range that was read with ``Frame.key_frame``: begin there instead of decoding
    what comes before. Films in containers only; iterating raises :class:`NotSeekable` where the file does not lead there.
    Errors: :class:`UsageError` for an impossible range; while iterating, :class:`InputError` when nothing can be decoded
    or (:class:`EmptyRange`) the range holds no frame.
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
        key_frame=key_frame,
    )
