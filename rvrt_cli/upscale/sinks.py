"""Where finished pictures go: segments of a video, a sequence of images, or a y4m stream."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rvrt_cli.errors import UsageError, VerifyError
from rvrt_cli.media import EncodeSettings, Frame, SegmentWriter, Source, VideoStream, Y4mWriter
from rvrt_cli.media.color import bits_of
from rvrt_cli.media.images import write_png
from rvrt_cli.system.files import (
    explain_os_error,
    explained_writing,
    fitting_name,
    sync_directory,
    written_through,
)
from rvrt_cli.upscale.finish import upright
from rvrt_cli.upscale.job import FinishedSegment
from rvrt_cli.upscale.journal import Journal, SegmentRecord, hash_file
from rvrt_cli.upscale.target import (
    UNFINISHED,
    PictureNames,
    mark_unfinished,
    stale_pictures,
    unfinished_pictures,
)

SEGMENT_SUFFIX = ".mkv"


class VideoSink:
    """Closed segment files in the journal's work directory."""

    def __init__(self, journal: Journal, settings: EncodeSettings) -> None:
        self._journal = journal
        self._settings = settings
        self._writer: SegmentWriter | None = None
        self._path = Path()

    def begin_segment(self, index: int) -> None:
        self._path = self._journal.folder / f"{index:06d}.part{SEGMENT_SUFFIX}"
        self._writer = SegmentWriter(self._path, self._settings)

    def write(self, frame: Frame, picture: np.ndarray, alpha: np.ndarray | None) -> None:
        assert self._writer is not None
        self._writer.write(
            picture,
            frame.pts,
            frame.duration,
            _alpha_or_opaque(picture, alpha) if self._settings.has_alpha else None,
        )

    def end_segment(self, finished: FinishedSegment) -> None:
        assert self._writer is not None
        info = self._writer.close()
        self._writer = None
        name = f"{finished.index:06d}{SEGMENT_SUFFIX}"
        with explained_writing(self._path):
            os.replace(self._path, self._journal.folder / name)
            sync_directory(self._journal.folder)
        self._journal.append(_record(finished, name, info.sha256))

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def segment_paths(self) -> list[Path]:
        """The finished segments' files, in order."""
        return [self._journal.folder / segment.name for segment in self._journal.segments]


class ImageSink:
    """PNG files; a segment is a folder in the work directory, and all move to their place when the run is done.

    PNG cannot carry a rotation, so pictures are turned as ``video`` says they are to be shown.
    """

    def __init__(self, journal: Journal, names: PictureNames, video: VideoStream, bit_depth: int) -> None:
        self._journal = journal
        self._names = names
        self._video = video
        self._bit_depth = bit_depth
        self._folder: Path | None = None

    def begin_segment(self, index: int) -> None:
        self._folder = self._journal.folder / f"{index:06d}.part"
        shutil.rmtree(self._folder, ignore_errors=True)
        with explained_writing(self._folder):
            self._folder.mkdir()

    def write(self, frame: Frame, picture: np.ndarray, alpha: np.ndarray | None) -> None:
        assert self._folder is not None
        turn = self._video.rotation, self._video.flipped
        write_png(
            self._folder / self._names.name(frame),
            upright(picture, *turn),
            None if alpha is None else upright(alpha, *turn),
            self._bit_depth,
            self._video.icc_profile,
        )

    def end_segment(self, finished: FinishedSegment) -> None:
        assert self._folder is not None
        name = f"{finished.index:06d}"
        with explained_writing(self._folder):
            sync_directory(self._folder)
            os.replace(self._folder, self._journal.folder / name)
            sync_directory(self._journal.folder)
            digest = hash_file(self._journal.folder / name)
        self._folder = None
        self._journal.append(_record(finished, name, digest))

    def abort(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def publish(self, expected: int) -> int:
        """Put all pictures into their place and remove an older run's others; return how many bytes they have.

        A run that is killed meanwhile continues here: what it has put there is known by a list beside the pictures.
        Errors: :class:`VerifyError` unless there are ``expected``; :class:`DiskFullError` and :class:`OutputError`, and
        then the pictures that came newly are taken away again.
        """
        target = self._names.folder
        pictures = [
            path
            for segment in self._journal.segments
            for path in sorted((self._journal.folder / segment.name).iterdir())
        ]
        names = {path.name for path in pictures}
        created: list[Path] = []
        made = not target.exists()
        try:
            target.mkdir(parents=True, exist_ok=True)
            ours = {name for name in names if not (target / name).exists()} | unfinished_pictures(target)
            mark_unfinished(target, ours)
            for path in pictures:
                if not (target / path.name).exists():
                    created.append(target / path.name)
                # Linked, not moved: a crash in the middle must leave the segments whole for the next run.
                place = written_through(target / path.name)
                temporary = place.with_name(fitting_name(place.parent, f".{place.name}", ".part"))
                created.append(temporary)
                temporary.unlink(missing_ok=True)
                try:
                    os.link(path, temporary)
                except OSError:
                    shutil.copyfile(path, temporary)
                os.replace(temporary, place)
                # A link of a file does not replace another link of it: then it is still there.
                temporary.unlink(missing_ok=True)
                created.pop()
            if len(names) == expected:
                for stale in stale_pictures(self._names, names):
                    stale.unlink()
                sync_directory(target)
            (target / UNFINISHED).unlink()
            sync_directory(target)
        except OSError as error:
            _take_away(created, target, made)
            raise explain_os_error(error, target) from error
        if len(names) != expected:
            raise VerifyError(
                f"{target} holds {len(names)} images where {expected} frames were upscaled; please report this."
            )
        return sum(path.stat().st_size for path in pictures)


def _take_away(created: list[Path], target: Path, made: bool) -> None:
    """Leave ``target`` as it was before pictures were ``created`` there; ``made``: it did not exist either."""
    with suppress(OSError):
        for path in created:
            path.unlink(missing_ok=True)
        if not any((target / name).exists() for name in unfinished_pictures(target)):
            (target / UNFINISHED).unlink(missing_ok=True)
        if made:
            target.rmdir()


class StreamSink:
    """y4m on a pipe: pictures leave at once, so nothing can be continued."""

    def __init__(self, file: BinaryIO, settings: EncodeSettings) -> None:
        self._writer = Y4mWriter(file, settings)
        self._has_alpha = settings.has_alpha

    def begin_segment(self, index: int) -> None:
        """Streams have no segments."""

    def write(self, frame: Frame, picture: np.ndarray, alpha: np.ndarray | None) -> None:
        self._writer.write(
            picture, frame.pts, frame.duration, _alpha_or_opaque(picture, alpha) if self._has_alpha else None
        )

    def end_segment(self, finished: FinishedSegment) -> None:
        self._writer.close()

    def abort(self) -> None:
        """What was written is gone."""


class CallbackSink:
    """Hands every picture to a function: frames in memory, measurements, single images."""

    def __init__(self, take: Callable[[Frame, np.ndarray, np.ndarray | None], None]) -> None:
        self._take = take

    def begin_segment(self, index: int) -> None:
        """No segments."""

    def write(self, frame: Frame, picture: np.ndarray, alpha: np.ndarray | None) -> None:
        self._take(frame, picture, alpha)

    def end_segment(self, finished: FinishedSegment) -> None:
        """No segments."""

    def abort(self) -> None:
        """Nothing to drop."""


def image_bit_depth(source: Source, pix_fmt: str | None) -> int:
    """Bits per channel of PNG output: 8 or 16, as the source's or ``pix_fmt``'s samples need.

    Errors: :class:`UsageError` for a pixel format that does not exist.
    """
    depth = source.video.bit_depth
    if pix_fmt is not None:
        try:
            depth = bits_of(pix_fmt)
        except ValueError as error:
            raise UsageError(
                f"--pix-fmt {pix_fmt} is no pixel format; for PNG images choose rgb24 (8 bits) or rgb48 (16 bits)."
            ) from error
    return 16 if depth > 8 else 8


def _alpha_or_opaque(picture: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    return np.ones(picture.shape[:2], np.float32) if alpha is None else alpha


def _record(finished: FinishedSegment, name: str, sha256: str) -> SegmentRecord:
    return SegmentRecord(
        finished.index,
        name,
        finished.start,
        finished.stop,
        sha256,
        finished.restart,
        finished.shots,
        finished.corrupt,
    )
