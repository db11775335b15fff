"""YUV4MPEG2 on standard input and output: raw Y'CbCr frames behind a one-line header, for pipes.

Format: mjpegtools' yuv4mpeg(5), with FFmpeg's extensions (C...p10 sample depths, XCOLORRANGE).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rvrt_cli.errors import InputError, OutputError, UsageError
from rvrt_cli.media.color import PlanarFormat, planar_format, planes_to_rgb, rgb_to_planes
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.frame import Decoded
from rvrt_cli.media.source import ChromaLocation, ColorTags, Source, VideoStream
from rvrt_cli.system.files import explain_os_error
from rvrt_cli.system.standard_input import StandardInput, standard_input

_MATRICES = {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 10: "BT.2020"}
MAX_HEADER = 1024
MAX_PIXELS = 1 << 28
# Chroma token: pixel format and chroma siting.
_TOKENS: dict[str, tuple[str, ChromaLocation]] = {
    "420jpeg": ("yuv420p", "center"),
    "420": ("yuv420p", "center"),
    "420mpeg2": ("yuv420p", "left"),
    "420paldv": ("yuv420p", "topleft"),
    "422": ("yuv422p", "left"),
    "444": ("yuv444p", "left"),
    "444alpha": ("yuva444p", "left"),
    "440": ("yuv440p", "left"),
    "mono": ("gray", "unspecified"),
}
for _depth in (9, 10, 12, 14, 16):
    for _chroma in ("420", "422", "444"):
        _TOKENS[f"{_chroma}p{_depth}"] = (f"yuv{_chroma}p{_depth}le", "left")
    _TOKENS[f"mono{_depth}"] = (f"gray{_depth}le", "unspecified")


@dataclass(frozen=True)
class Header:
    """What the first line says. rate: frames per second; interlaced: "p" progressive, "t" or "b" top or bottom
    field first, "m" mixed; color_range: 0 unspecified, 1 limited, 2 full."""

    width: int
    height: int
    rate: Fraction
    sar: Fraction
    interlaced: str
    pix_fmt: str
    chroma_location: ChromaLocation
    color_range: int


def _read_line(file: BinaryIO | StandardInput) -> bytes:
    line = bytearray()
    while len(line) < MAX_HEADER:
        byte = file.read(1)
        if byte in (b"", b"\n"):
            break
        line += byte
    return bytes(line)


def read_header(file: BinaryIO | StandardInput) -> Header:
    """Read the stream header. Errors: :class:`InputError`."""
    words = _read_line(file).decode("ascii", "replace").split(" ")
    if words[0] != "YUV4MPEG2":
        raise InputError(
            "Standard input is not a YUV4MPEG2 stream; pipe one in, e.g. with ffmpeg -i film.mp4 -f yuv4mpegpipe -."
        )
    tags: dict[str, str] = {}
    color_range = 0
    for word in words[1:]:
        if word.startswith("XCOLORRANGE="):
            color_range = {"FULL": 2, "LIMITED": 1}.get(word.partition("=")[2], 0)
        elif word:
            tags.setdefault(word[0], word[1:])
    token = tags.get("C", "420jpeg")
    if token not in _TOKENS:
        raise InputError(f"The y4m pixel format C{token} is not supported; choose 420, 422, 444 or mono.")
    try:
        width, height = int(tags["W"]), int(tags["H"])
        rate, sar = _ratio(tags.get("F", "25:1")), _ratio(tags.get("A", "1:1"))
    except (KeyError, ValueError) as error:
        raise InputError("The y4m header is damaged: it needs a width, a height and a frame rate.") from error
    if not (0 < width * height <= MAX_PIXELS and width > 0):
        raise InputError(
            f"The y4m header announces pictures of {width}x{height} pixels; that is not possible."
        )
    pix_fmt, location = _TOKENS[token]
    if color_range == 0 and token == "420jpeg" and "C" in tags:
        color_range = 1  # the siting is JPEG's, the range MPEG's, unless stated
    return Header(
        width,
        height,
        rate or Fraction(25),
        sar or Fraction(1),
        tags.get("I", "p"),
        pix_fmt,
        location,
        color_range,
    )


def _ratio(text: str) -> Fraction:
    numerator, _, denominator = text.partition(":")
    return Fraction(int(numerator), int(denominator)) if int(denominator) else Fraction(0)


def probe_y4m(file: BinaryIO | None = None) -> Source:
    """Describe the stream on standard input; reads its header. The frames are then read once, by ``read_frames``."""
    header = read_header(standard_input() if file is None else file)
    layout = planar_format(header.pix_fmt)
    assert layout is not None
    color = ColorTags(range=header.color_range, chroma_location=header.chroma_location)
    effective = color.resolved(header.pix_fmt, header.width, header.height)
    notes = [
        f"y4m carries no colour matrix; {'BT.709' if effective.matrix == 1 else 'BT.601'} is assumed from the size."
    ]
    if header.interlaced == "m":
        notes.append(
            "The y4m header says that some frames are interlaced; --deinterlace on deinterlaces all, otherwise none is."
        )
    video = VideoStream(
        index=0, codec="rawvideo", width=header.width, height=header.height, sar=header.sar, rotation=0, flipped=False,
        pix_fmt=header.pix_fmt, bit_depth=layout.bit_depth, has_alpha=layout.has_alpha, chroma=layout.chroma, color=color,
        effective_color=effective, hdr=None, average_rate=header.rate, time_base=1 / header.rate,
        interlaced=header.interlaced in ("t", "b"), frame_count_hint=None, start_pts=0, duration_s=None,
        bottom_field_first=header.interlaced == "b",
    )  # fmt: skip
    return Source("y4m", Path("-"), "yuv4mpegpipe", 0, None, 0.0, (), (), (), video, notes=tuple(notes))


def _plane_shapes(layout: PlanarFormat, width: int, height: int) -> list[tuple[int, int]]:
    chroma = (
        height + layout.subsampling[1] >> layout.subsampling[1],
        width + layout.subsampling[0] >> layout.subsampling[0],
    )
    shapes = [(height, width)] + ([chroma, chroma] if layout.model == "yuv" else [])
    return shapes + ([(height, width)] if layout.has_alpha else [])


def decode_y4m(source: Source, file: BinaryIO | None = None) -> Iterator[Decoded]:
    """Frames after the header. A frame that is cut off at the end of the stream is an :class:`InputError`."""
    stream = standard_input() if file is None else file
    video = source.video
    layout = planar_format(video.pix_fmt)
    assert layout is not None
    shapes = _plane_shapes(layout, video.width, video.height)
    itemsize = np.dtype(layout.dtype).itemsize
    number = 0
    while True:
        line = _read_line(stream)
        if not line:
            return
        if not line.startswith(b"FRAME"):
            raise InputError(
                f"The y4m stream is damaged after {number} frames; check the program that writes it."
            )
        planes = []
        for rows, columns in shapes:
            data = stream.read(rows * columns * itemsize)
            if len(data) < rows * columns * itemsize:
                raise InputError(
                    f"The y4m stream ends inside frame {number + 1}; check the program that writes it."
                )
            planes.append(np.frombuffer(data, layout.dtype).reshape(rows, columns))
        yield Decoded(number, 1, False, partial(planes_to_rgb, planes, layout, video.effective_color))
        number += 1


def y4m_settings(source: Source, width: int, height: int, pix_fmt: str | None = None) -> EncodeSettings:
    """Settings for :class:`Y4mWriter`: the source's format, or the nearest that y4m has. Errors: :class:`UsageError`."""
    video = source.video
    depth = min((d for d in (8, 10, 12, 16) if d >= video.bit_depth), default=16)
    chroma = video.chroma if video.chroma in ("420", "422", "444") else "444"
    alpha = video.has_alpha and depth == 8
    name = pix_fmt or ("yuva444p" if alpha else f"yuv{chroma}p" + ("" if depth == 8 else f"{depth}le"))
    layout = planar_format(name)
    if layout is None or name not in {known for known, _ in _TOKENS.values()}:
        raise UsageError(
            f"y4m cannot hold {name}; choose yuv420p, yuv422p, yuv444p, gray or their 10-, 12- and 16-bit forms."
        )
    color = video.effective_color
    if color.matrix == 0:
        color = replace(color, matrix=1, range=1, chroma_location="left")
    if video.average_rate is None:
        raise UsageError(
            "y4m needs a constant frame rate and the source has none; write a video file instead."
        )
    notes = []
    if video.has_alpha and not layout.has_alpha:
        notes.append(f"{name} holds no transparency: the alpha channel is dropped.")
    guessed = replace(color, matrix=2).resolved(name, width, height).matrix
    if layout.model == "yuv" and guessed != color.matrix and {guessed, color.matrix} != {5, 6}:
        notes.append(
            f"y4m carries no colour matrix: these pictures are {_MATRICES.get(color.matrix, 'of another one')}, and a reader that "
            f"goes by their size ({width}x{height}) takes them for {_MATRICES[guessed]}; tell it the matrix."
        )
    rate = Fraction(video.average_rate).limit_denominator(100_000)
    return EncodeSettings(
        encoder="wrapped_avframe", container="y4m", pix_fmt=name, bit_depth=layout.bit_depth, width=width, height=height,
        time_base=video.time_base, rate=rate, sar=1 / video.sar if video.rotation % 180 else video.sar, color=color, hdr=None,
        has_alpha=layout.has_alpha, bake_rotation=video.rotation, bake_flip=video.flipped, encoder_options=(), notes=tuple(notes),
    )  # fmt: skip


class Y4mWriter:
    """Write frames as YUV4MPEG2 to a binary stream (standard output). settings: from :func:`y4m_settings`."""

    def __init__(self, file: BinaryIO, settings: EncodeSettings) -> None:
        layout = planar_format(settings.pix_fmt)
        tokens = [
            token for token, (name, location) in _TOKENS.items()
            if name == settings.pix_fmt and (name != "yuv420p" or location == _nearest_siting(settings.color.chroma_location))
        ]  # fmt: skip
        if layout is None or not tokens:
            raise UsageError(f"y4m cannot hold {settings.pix_fmt}.")
        self._file, self._settings, self._layout = file, settings, layout
        self._first_pts: int | None = None
        self._frames = 0
        width, height = settings.coded_size
        color_range = "FULL" if settings.color.range == 2 else "LIMITED"
        self._header = (
            f"YUV4MPEG2 W{width} H{height} F{settings.rate.numerator}:{settings.rate.denominator} Ip "
            f"A{settings.sar.numerator}:{settings.sar.denominator} C{tokens[0]} XCOLORRANGE={color_range}\n".encode()
        )

    def write(
        self, rgb: np.ndarray, pts: int, duration: int | None = None, alpha: np.ndarray | None = None
    ) -> None:
        """Append a frame; y4m has no timestamps, so a variable frame rate is refused with :class:`OutputError`."""
        settings = self._settings
        if rgb.shape != (settings.height, settings.width, 3):
            raise ValueError(f"frame of shape {rgb.shape}, expected {(settings.height, settings.width, 3)}")
        if self._first_pts is None:
            self._first_pts = pts
        drift_frames = (pts - self._first_pts) * settings.time_base * settings.rate - self._frames
        if abs(drift_frames) > Fraction(3, 4):
            raise OutputError(
                "The film has a variable frame rate, which y4m cannot hold; write a video file instead."
            )
        if settings.bake_rotation:
            turns = settings.bake_rotation // 90
            rgb, alpha = np.rot90(rgb, turns), None if alpha is None else np.rot90(alpha, turns)
        if settings.bake_flip:
            rgb, alpha = rgb[:, ::-1], None if alpha is None else alpha[:, ::-1]
        planes = rgb_to_planes(np.asarray(rgb, np.float32), alpha, self._layout, settings.color)
        header = (
            b"" if self._frames else self._header
        )  # a run that fails before its first frame writes nothing
        self._put(header + b"FRAME\n" + b"".join(plane.tobytes() for plane in planes))
        self._frames += 1

    def close(self) -> None:
        """Flush."""
        with _translate_pipe_errors():
            self._file.flush()

    def _put(self, data: bytes) -> None:
        with _translate_pipe_errors():
            self._file.write(data)


@contextmanager
def _translate_pipe_errors() -> Iterator[None]:
    """Say what went wrong with standard output: its reader left, or the disk behind it is full."""
    try:
        yield
    except (BrokenPipeError, ValueError) as error:
        raise OutputError("The program reading the y4m output stopped before the end.") from error
    except OSError as error:
        raise explain_os_error(error, Path("standard output")) from error


def _nearest_siting(location: ChromaLocation) -> ChromaLocation:
    return location if location in ("center", "topleft", "left") else "left"
