"""Where finished pictures go: segment files of a film, folders of PNG files, a y4m stream, or a function."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rvrt_cli.errors import UsageError
from rvrt_cli.media import EncodeSettings, Frame, SegmentWriter, Source, VideoStream, Y4mWriter
from rvrt_cli.media.color import bits_of
from rvrt_cli.media.images import write_png
from rvrt_cli.system.files import hash_file, sync_directory, translate_write_errors
from rvrt_cli.upscale.finish import upright
from rvrt_cli.upscale.output_path import PictureNames

SEGMENT_SUFFIX = ".mkv"


class VideoFile:
    """A segment of a film in ``folder``: written under a name of its own, renamed when it is closed."""

    def __init__(self, folder: Path, index: int, settings: EncodeSettings) -> None:
        self._settings = settings
        self._path = folder / f"{index:06d}.part{SEGMENT_SUFFIX}"
        self._final = folder / f"{index:06d}{SEGMENT_SUFFIX}"
        self._writer = SegmentWriter(self._path, settings)

    def write(self, frame: Frame, picture: np.ndarray, alpha: np.ndarray | None) -> None:
        self._writer.write(
            picture,
            frame.pts,
            frame.duration,
            _alpha_or_opaque(picture, alpha) if self._settings.has_alpha else None,
        )

    def close(self) -> tuple[str, str]:
        info = self._writer.close()
        with translate_write_errors(self._path):
            os.replace(self._path, self._final)
            sync_directory(self._final.parent)
        return self._final.name, info.sha256

    def abort(self) -> None:
        self._writer.abort()


class PictureFolder:
    """A segment of a sequence of PNG files: a folder in ``folder``.

    PNG cannot carry a rotation, so pictures are turned as ``video`` says they are to be shown.
    """

    def __init__(
        self, folder: Path, index: int, names: PictureNames, video: VideoStream, bit_depth: int
    ) -> None:
        self._names, self._video, self._bit_depth = names, video, bit_depth
        self._path, self._final = folder / f"{index:06d}.part", folder / f"{index:06d}"
        for path in (self._path, self._final):  # the latter: a damaged one that is made again
            shutil.rmtree(path, ignore_errors=True)
        with translate_write_errors(self._path):
            self._path.mkdir()

    def write(self, frame: Frame, picture: np.ndarray, alpha: np.ndarray | None) -> None:
        turn = self._video.rotation, self._video.flipped
        write_png(
            self._path / self._names.name(frame),
            upright(picture, *turn),
            None if alpha is None else upright(alpha, *turn),
            self._bit_depth,
            self._video.icc_profile,
        )

    def close(self) -> tuple[str, str]:
        with translate_write_errors(self._path):
            sync_directory(self._path)
            os.replace(self._path, self._final)
            sync_directory(self._final.parent)
            return self._final.name, hash_file(self._final)

    def abort(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


class StreamWriter:
    """y4m on a pipe. Pictures leave at once and nothing can be continued, so all segments are this one file."""

    def __init__(self, file: BinaryIO, settings: EncodeSettings) -> None:
        self._writer = Y4mWriter(file, settings)
        self._has_alpha = settings.has_alpha

    def write(self, frame: Frame, picture: np.ndarray, alpha: np.ndarray | None) -> None:
        self._writer.write(
            picture, frame.pts, frame.duration, _alpha_or_opaque(picture, alpha) if self._has_alpha else None
        )

    def close(self) -> tuple[str, str]:
        self._writer.close()
        return "", ""

    def abort(self) -> None:
        """What was written is gone."""


class PictureTaker:
    """Hands every picture to a function, in place of a file: frames in memory, measurements."""

    def __init__(self, take: Callable[[Frame, np.ndarray, np.ndarray | None], None]) -> None:
        self._take = take

    def write(self, frame: Frame, picture: np.ndarray, alpha: np.ndarray | None) -> None:
        self._take(frame, picture, alpha)

    def close(self) -> tuple[str, str]:
        return "", ""

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
