"""Still pictures that FFmpeg reads and OpenCV does not, or not all of: AVIF and HEIC, JPEG 2000, icons, TGA."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import cast

import av
import numpy as np

from rvrt_cli.errors import InputError
from rvrt_cli.media.av_errors import LIBRARY_ERRORS, translate_av_errors
from rvrt_cli.media.color import frame_to_rgb, nearest_planar_name, planar_format, saturate
from rvrt_cli.media.heif import CODED, read_heif
from rvrt_cli.media.open_file import open_container, open_decoder
from rvrt_cli.media.side_data import display_matrix
from rvrt_cli.media.source import ColorTags

ICON = b"\0\0\1\0"
JPEG_2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")  # of the file format, of a bare codestream


def is_for_ffmpeg(path: Path, start: bytes) -> bool:
    """Whether a picture that begins with ``start`` (12 bytes) is read here. TGA has no mark but its suffix."""
    marked = start[4:8] == b"ftyp" or start.startswith((ICON, *JPEG_2000))
    return marked or path.suffix.lower() == ".tga"


def decode_still(path: Path) -> np.ndarray:
    """uint8 or uint16 (h, w, 3 or 4) in RGB(A) order, turned upright: the primary picture, or an icon's largest.

    Errors: :class:`InputError`, also for pictures that are put together from tiles and for HDR.
    """
    heif = read_heif(path)
    if heif is not None and heif.kind not in CODED:
        kinds = {b"grid": "put together from tiles", b"iovl": "put together from others"}
        how = kinds.get(heif.kind, "of an unknown kind")
        raise InputError(f"{path} holds a picture {how}, which is not read here; convert it to PNG first.")
    with translate_av_errors(path):
        frame = _decode(path, None if heif is None else heif.primary)
        alpha_frame = None if heif is None or heif.alpha is None else _decode(path, heif.alpha)
    if int(frame.color_trc) in (16, 18):
        raise InputError(
            f"{path} is an HDR picture, which PNG cannot say; convert it to an SDR picture first."
        )
    layout = planar_format(nearest_planar_name(frame.format))
    assert layout is not None
    tags = _tags(frame)
    rgb, alpha = frame_to_rgb(frame, tags)
    if alpha_frame is not None:
        alpha = frame_to_rgb(alpha_frame, _tags(alpha_frame))[0][..., 1]
        if alpha.shape != rgb.shape[:2]:
            raise InputError(
                f"{path} has transparency of another size than its picture; convert it to PNG first."
            )
    channels = rgb if alpha is None else np.dstack([rgb, alpha])
    bits = 8 if layout.bit_depth == 8 else 16
    picture = saturate(channels * np.float32((1 << bits) - 1), bits)
    rotation, flipped = display_matrix(frame)
    picture = np.rot90(picture, rotation // 90)
    return np.ascontiguousarray(picture[:, ::-1] if flipped else picture)


def _decode(path: Path, item: int | None) -> av.VideoFrame:
    """The first picture of the stream whose id is ``item``; None: of the largest, and of those the one with most bits."""
    with open_container(path) as container:
        streams = [s for s in container.streams.video if item is None or s.id == item]
        if not streams:
            raise InputError(
                f"{path} is damaged or not a picture; replace it and run the same command again."
            )
        stream = max(
            streams,
            key=lambda s: (s.width * s.height, s.format.bits_per_pixel if s.format is not None else 0),
        )
        decoder = open_decoder(stream, has_alpha=False)
        for packet in container.demux(stream):
            with suppress(*LIBRARY_ERRORS):  # what lies before the picture may come as a packet of its own
                frames = cast("list[av.VideoFrame]", decoder.decode(packet if packet.size else None))
                if frames:
                    return frames[0]
    raise InputError(f"{path} is damaged or not a picture; replace it and run the same command again.")


def _tags(frame: av.VideoFrame) -> ColorTags:
    """The picture's colour; BT.601 where it does not say, the default of still pictures (ISO/IEC 23000-22, MIAF)."""
    matrix = 6 if int(frame.colorspace) == 2 else int(frame.colorspace)
    tags = ColorTags(matrix, int(frame.color_range), chroma_location="left")
    return tags.resolved(frame.format.name, frame.width, frame.height)
