"""Image sequences: PNG 8/16 bit (and other still formats on input)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rvrt_cli.errors import InputError, OutputError, UsageError
from rvrt_cli.media.color import saturate
from rvrt_cli.media.frame import Decoded
from rvrt_cli.media.heif import read_heif
from rvrt_cli.media.pages import count_pages, holds_film, read_pages
from rvrt_cli.media.picture_tags import (
    exif_orientation,
    fits_rgb_png,
    foreign_profile,
    stated_shape,
    turn_upright,
    unless_srgb,
    with_profile,
)
from rvrt_cli.media.source import ColorTags, Source, VideoStream
from rvrt_cli.media.still import decode_still, is_for_ffmpeg
from rvrt_cli.system.files import visible, write_bytes
from rvrt_cli.system.suffixes import IMAGE_SUFFIXES

DEFAULT_RATE = Fraction(24)
MAX_PIXELS = 1 << 28
HEADER_PIXELS = 1 << 25


def silence(opencv: Any) -> None:
    """A damaged picture is our error to explain; OpenCV would write C++ file names to stderr before it.

    OpenCV 4.13 moved the function to ``cv2.utils.logging``.
    """
    home = opencv if hasattr(opencv, "setLogLevel") else opencv.utils.logging
    home.setLogLevel(0)


silence(cv2)


def is_pattern(path: Path) -> bool:
    """Whether ``path`` names a sequence (``frames/%05d.png``): a picture's suffix, a ``%``, and no file of that very name."""
    return "%" in path.name and path.suffix.lower() in IMAGE_SUFFIXES and not path.is_file()


def find_images(path: Path) -> tuple[Path, ...]:
    """Files of a folder, a ``%05d`` pattern or a single picture, ordered by the numbers in their names."""
    if path.is_dir():
        found = [p for p in visible(path) if p.suffix.lower() in IMAGE_SUFFIXES]
    elif is_pattern(path):
        directive = re.search(r"%0?(\d*)d", path.name)
        if not directive or path.name.count("%") != 1:
            raise UsageError(
                f"{path} is not a pattern this tool knows; write the frame number as %d or %05d."
            )
        digits = int(directive[1] or 1)
        expression = (
            re.escape(path.name[: directive.start()])
            + rf"\d{{{digits},}}"
            + re.escape(path.name[directive.end() :])
        )
        found = (
            [p for p in path.parent.iterdir() if re.fullmatch(expression, p.name)]
            if path.parent.is_dir()
            else []
        )
    else:
        found = [path] if path.is_file() else []
    if not found:
        videos = " and no videos" if path.is_dir() else ""
        raise InputError(
            f"{path} holds no pictures{videos}; give a folder of PNG/JPEG/TIFF files or a pattern such as frames/%05d.png."
        )
    return tuple(sorted(found, key=lambda p: ([int(n) for n in re.findall(r"\d+", p.stem)][-1:], p.name)))


def decode_image(path: Path) -> np.ndarray:
    """uint8 or uint16 (h, w, 3 or 4) in RGB(A) order, turned upright. Errors: :class:`InputError`."""
    try:
        data = path.read_bytes()
        if is_for_ffmpeg(path, data[:12]):
            return decode_still(path)
        coded = np.frombuffer(data, np.uint8)
        image = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED) if coded.size else None
    except (OSError, cv2.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read as a picture ({reason}).") from error
    if image is None or image.dtype not in (np.uint8, np.uint16) or image.size > 4 * MAX_PIXELS:
        raise InputError(
            f"{path} is damaged or not an 8- or 16-bit picture; replace it and run the same command again."
        )
    return _in_rgb(path, turn_upright(image, exif_orientation(data)))


def _in_rgb(path: Path, image: np.ndarray) -> np.ndarray:
    """OpenCV's picture (grey, BGR or BGRA) as RGB or RGBA."""
    if image.ndim == 2:
        return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
    if image.shape[2] == 4:
        return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    if image.shape[2] == 3:
        return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    raise InputError(f"{path} has {image.shape[2]} channels; pictures need 1, 3 or 4.")


def image_to_float(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(rgb float32 (h, w, 3), alpha float32 (h, w) or None) in [0, 1]."""
    values = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    return np.ascontiguousarray(values[..., :3]), np.ascontiguousarray(values[..., 3]) if values.shape[
        2
    ] == 4 else None


def probe_images(path: Path, fps: Fraction | None) -> Source:
    """Describe an image sequence; the first picture decides size, depth and alpha. fps: default 24."""
    images = find_images(path)
    pages = [count_pages(image) for image in images]
    shown_ms: tuple[int, ...] = ()
    notes = []
    if len(images) == 1:
        if not pages[0].one_size:
            raise InputError(
                f"{images[0]} holds {pages[0].count} pages of different sizes; save the wanted ones as files."
            )
        images *= pages[0].count
        shown_ms = () if fps else pages[0].shown_ms
    several = [
        image
        for image, held in zip(dict.fromkeys(images), pages, strict=True)
        if holds_film(image) or (held.count > 1 and len(pages) > 1)
    ]
    if several:
        more = f" and {len(several) - 1} more" if len(several) > 1 else ""
        notes.append(
            f"Several pictures lie in {several[0].name}{more}; the first one is taken, for the folder is a sequence."
        )
    height, width, channels, depth = _shape(images)
    rate = fps or (Fraction(1000 * len(shown_ms), sum(shown_ms)) if shown_ms else DEFAULT_RATE)
    if rate <= 0:
        raise UsageError("The frame rate of an image sequence must be positive.")
    profile = _profile(images[0])
    carried = fits_rgb_png(profile)
    name = ("gbrap" if channels == 4 else "gbrp") + ("16le" if depth == 16 else "")
    duration_s = sum(shown_ms) / 1000 if shown_ms else float(len(images) / rate)
    # sRGB pictures: full range RGB, BT.709 primaries, sRGB transfer (IEC 61966-2-1).
    color = ColorTags(matrix=0, range=2, primaries=1, transfer=13)
    video = VideoStream(
        index=0, codec=images[0].suffix.lower().lstrip("."), width=width, height=height, sar=Fraction(1), rotation=0,
        flipped=False, pix_fmt=name, bit_depth=depth, has_alpha=channels == 4, chroma="rgb", color=color,
        effective_color=color, hdr=None, average_rate=rate,
        time_base=Fraction(1, 1000) if shown_ms else 1 / rate, interlaced=False,
        frame_count_hint=len(images), start_pts=0, duration_s=duration_s, icc_profile=profile if carried else b"",
    )  # fmt: skip
    size = sum(p.stat().st_size for p in set(images))
    if profile:
        keeps = "PNG output carries it too, a film does not" if carried else "the output does not carry it"
        notes.append(
            f"The pictures carry a colour profile other than sRGB; {keeps}. Convert them to sRGB first to keep their colours"
            f"{' in a film' if carried else ''}."
        )
    return Source(
        "images",
        path,
        "image sequence",
        size,
        duration_s,
        0.0,
        (),
        (),
        (),
        video,
        images=images,
        shown_ms=shown_ms,
        notes=tuple(notes),
    )


def _shape(images: tuple[Path, ...]) -> tuple[int, int, int, int]:
    """(height, width, channels, bits) of the first picture; of a large one from its header, for decoding takes long."""
    stated = stated_shape(images[0].read_bytes())
    if stated is not None and stated[0] * stated[1] > HEADER_PIXELS:
        return stated
    _, load = next(_loaders(images))
    first = load()
    return (*first.shape, 8 * first.dtype.itemsize)


def _profile(path: Path) -> bytes:
    heif = read_heif(path)
    return foreign_profile(path.read_bytes()) if heif is None else unless_srgb(heif.profile)


def decode_images(source: Source) -> Iterator[Decoded]:
    """The pictures of a sequence, one tick or their own time each. Errors: :class:`InputError` while iterating or converting."""
    size = (source.video.height, source.video.width)
    now = 0
    for number, (path, load) in enumerate(_loaders(source.images)):

        def convert(
            path: Path = path, load: Callable[[], np.ndarray] = load
        ) -> tuple[np.ndarray, np.ndarray | None]:
            image = load()
            if image.shape[:2] != size:
                raise InputError(
                    f"{path} is {image.shape[1]}x{image.shape[0]}, the first picture {size[1]}x{size[0]}; "
                    "all pictures of a sequence need the same size."
                )
            return image_to_float(image)

        shown = source.shown_ms[number] if source.shown_ms else 1
        yield Decoded(now, shown, False, convert)
        now += shown


def _loaders(images: tuple[Path, ...]) -> Iterator[tuple[Path, Callable[[], np.ndarray]]]:
    """(file, function that gives its picture), for a file with several pictures as often as it is named."""
    if len(set(images)) == len(images):
        yield from ((path, partial(decode_image, path)) for path in images)
        return
    for picture in read_pages(images[0]):
        yield images[0], partial(_in_rgb, images[0], picture)


class ImageSequenceWriter:
    """Write frames as numbered PNG files; each appears whole or not at all.

    target: a folder (``%08d.png`` inside), a pattern such as ``out/%05d.png`` or one ``.png`` file for one frame.
    bit_depth: 8 or 16. icc_profile: the pictures' colour space where it is not sRGB.
    """

    def __init__(
        self, target: Path, *, bit_depth: int = 8, first_number: int = 1, icc_profile: bytes = b""
    ) -> None:
        if bit_depth not in (8, 16):
            raise UsageError(f"PNG files have 8 or 16 bits per channel, not {bit_depth}.")
        target = Path(target)
        if "%" in target.name:
            if not re.fullmatch(r"[^%]*%(0\d+)?d[^%]*", target.name) or target.suffix.lower() != ".png":
                raise UsageError(f"{target} is not a pattern for PNG files; write it like frames/%05d.png.")
            self._pattern = target
        elif target.suffix.lower() == ".png":
            self._pattern = target
        else:
            self._pattern = target / "%08d.png"
        self.bit_depth = bit_depth
        self.first_number = first_number
        self.icc_profile = icc_profile
        try:
            self._pattern.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self._pattern.parent} cannot be created ({error.strerror}); choose another place."
            ) from error

    def path_of(self, index: int) -> Path:
        """The file of frame ``index`` (0-based)."""
        name = self._pattern.name
        return self._pattern.with_name(name % (index + self.first_number)) if "%" in name else self._pattern

    def write(self, rgb: np.ndarray, index: int, alpha: np.ndarray | None = None) -> Path:
        """Write frame ``index``. rgb: float32 (h, w, 3), clipped to [0, 1] and rounded to bit_depth."""
        path = self.path_of(index)
        write_png(path, rgb, alpha, self.bit_depth, self.icc_profile)
        return path


def write_png(
    path: Path, rgb: np.ndarray, alpha: np.ndarray | None, bit_depth: int, icc_profile: bytes = b""
) -> None:
    """Write one picture, whole or not at all. rgb: float32 (h, w, 3), clipped to [0, 1] and rounded to ``bit_depth`` (8 or 16).

    icc_profile: its colour space; empty for sRGB.
    """
    peak = np.float32((1 << bit_depth) - 1)
    channels = [rgb[..., 2], rgb[..., 1], rgb[..., 0]] + ([alpha] if alpha is not None else [])
    # One channel at a time: a large picture in float is what a run has no second room for.
    codes = cv2.merge([saturate(np.asarray(channel, np.float32) * peak, bit_depth) for channel in channels])
    done, coded = cv2.imencode(".png", codes, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise OutputError(f"{path} could not be encoded as PNG.")
    data = coded.tobytes()
    write_bytes(path, with_profile(data, icc_profile) if icc_profile else data)
