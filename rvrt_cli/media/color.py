"""Y'CbCr to R'G'B' and back in float32, with the source's own matrix, range, bit depth and chroma siting.

Chroma is resampled with pairs of filters that are each other's inverse (downsampling what was upsampled returns the
same samples), so that an identity model changes nothing: the LeGall 5/3 pair for samples that sit on a luma sample
(upsampling is then plain linear interpolation), the 2/6 pair for samples that sit between two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import av
import cv2
import numpy as np

from rvrt_cli.media.source import ChromaLocation, ColorTags

# Luma weights of red and blue (ITU-T H.273, table 4). Constant-luminance BT.2020 (10) and ICtCp (14) are not linear in
# R'G'B'; BT.2020's non-constant matrix stands in for them both ways, which is exactly reversible.
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
    14: (0.2627, 0.0593),
}
YCGCO = 8
# Pictures are converted in strips of rows that stay in the processor's cache (4 times faster at 2560x1440).
STRIP_ROWS = 64
# LeGall 5/3 analysis filter.
LOW_PASS = np.array([[-0.125, 0.25, 0.75, 0.25, -0.125]], np.float32)


@dataclass(frozen=True)
class PlanarFormat:
    """A pixel format whose planes can be read directly. subsampling: log2 of the chroma's (width, height) divisor."""

    name: str
    model: str  # "yuv", "gray" or "rgb"
    bit_depth: int
    subsampling: tuple[int, int]
    has_alpha: bool

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Sample type of a plane."""
        return np.uint8 if self.bit_depth == 8 else np.uint16

    @property
    def chroma(self) -> str:
        """ "420", "422", "444", "440", "gray" or "rgb"."""
        if self.model != "yuv":
            return self.model
        return {(1, 1): "420", (1, 0): "422", (0, 0): "444", (0, 1): "440"}[self.subsampling]


_PLANAR = re.compile(
    r"(?:yuv(?P<alpha>a)?j?(?P<chroma>420|422|444|440)p|(?P<gbr>gbr(?P<galpha>a)?p)|(?P<gray>gray))(?P<depth>9|10|12|14|16)?(?:le)?"
)
_CHROMA = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1)}


@lru_cache(maxsize=64)
def planar_format(name: str) -> PlanarFormat | None:
    """Describe pixel format ``name``, or None when its planes cannot be read directly."""
    found = _PLANAR.fullmatch(name)
    if not found:
        return None
    depth = int(found["depth"] or 8)
    if (depth == 8) == name.endswith("le"):
        return None  # big-endian samples carry no suffix that matches; 8-bit ones carry none at all
    if found["gbr"]:
        return PlanarFormat(name, "rgb", depth, (0, 0), bool(found["galpha"]))
    if found["gray"]:
        return PlanarFormat(name, "gray", depth, (0, 0), False)
    return PlanarFormat(name, "yuv", depth, _CHROMA[found["chroma"]], bool(found["alpha"]))


def bits_of(pix_fmt: str) -> int:
    """Bits per sample of a pixel format by its name. Errors: :class:`ValueError` where there is no such format."""
    components = av.VideoFormat(pix_fmt).components
    return max(component.bits for component in components) if components else 8


def nearest_planar_name(pixel_format: av.VideoFormat) -> str:
    """The directly readable format that holds everything ``pixel_format`` holds."""
    if planar_format(pixel_format.name):
        return pixel_format.name
    components = pixel_format.components
    depth = bits_of(pixel_format.name)
    depth = 8 if depth <= 8 else next((d for d in (10, 12, 16) if d >= depth), 16)
    suffix = "" if depth == 8 else f"{depth}le"
    alpha = any(component.is_alpha for component in components) or pixel_format.name in (
        "pal8",
        "ya8",
        "ya16le",
        "ya16be",
    )
    if pixel_format.is_rgb or pixel_format.has_palette:
        return f"gbr{'a' if alpha else ''}p{suffix}" if not (alpha and depth == 9) else "gbrap10le"
    if len(components) <= 2:
        return f"yuva444p{suffix}" if alpha else f"gray{suffix}"
    width, height = pixel_format.chroma_width(64), pixel_format.chroma_height(64)
    chroma = {(32, 32): "420", (32, 64): "422", (64, 32): "440"}.get((width, height), "444")
    if alpha and chroma == "440":
        chroma = "444"
    return f"yuv{'a' if alpha else ''}{chroma}p{suffix}"


@lru_cache(maxsize=64)
def _rgb_to_codes(matrix: int, color_range: int, bit_depth: int) -> np.ndarray:
    """float64 (3, 4): R'G'B' in [0, 1] to Y'CbCr code values, the offset in the last column."""
    if matrix == YCGCO:
        ycc = np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])
    else:
        red, blue = LUMA_WEIGHTS[matrix]
        luma = np.array([red, 1.0 - red - blue, blue])
        ycc = np.stack(
            [
                luma,
                (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)),
                (np.array([1, 0, 0]) - luma) / (2 * (1 - red)),
            ]
        )
    step = 1 << (bit_depth - 8)
    peak = (1 << bit_depth) - 1
    if color_range == 2:
        scale, offset = np.array([peak, peak, peak]), np.array([0, 128 * step, 128 * step])
    else:
        scale, offset = np.array([219, 224, 224]) * step, np.array([16, 128, 128]) * step
    return np.concatenate([ycc * scale[:, None], offset[:, None].astype(np.float64)], axis=1)


@lru_cache(maxsize=64)
def _codes_to_rgb(matrix: int, color_range: int, bit_depth: int) -> np.ndarray:
    forward = _rgb_to_codes(matrix, color_range, bit_depth)
    inverse = np.linalg.inv(forward[:, :3])
    return np.concatenate([inverse, -(inverse @ forward[:, 3:])], axis=1)


def _siting(location: ChromaLocation) -> tuple[str, str]:
    """(horizontal, vertical) siting: "on" a luma sample, "between" two, or on the "second" of them."""
    horizontal = "between" if location in ("center", "top", "bottom") else "on"
    vertical = (
        "on"
        if location in ("topleft", "top")
        else "second"
        if location in ("bottomleft", "bottom")
        else "between"
    )
    return horizontal, vertical


def _double_rows(x: np.ndarray, length: int, siting: str) -> np.ndarray:
    """Upsample axis 0 of float32 ``x`` from (length + 1) // 2 to ``length`` samples."""
    if length == 1:
        return x
    out = np.empty((length, x.shape[1]), np.float32)
    if siting == "between":
        slope = np.empty_like(x)
        slope[1:-1] = x[2:] - x[:-2]
        slope[0] = x[min(1, len(x) - 1)] - x[0]
        slope[-1] = 0 if length % 2 else x[-1] - x[max(len(x) - 2, 0)]
        slope *= 0.125
        np.subtract(x, slope, out=out[0::2])
        np.add(x[: length // 2], slope[: length // 2], out=out[1::2])
        return out
    if siting == "second":
        return _double_rows(x[::-1], length, "on")[::-1] if length % 2 == 0 else _double_rows(x, length, "on")
    out[0::2] = x
    pairs = length // 2
    following = x[1 : pairs + 1]
    odd = out[1::2]
    np.add(x[: len(following)], following, out=odd[: len(following)])
    odd[: len(following)] *= 0.5
    odd[len(following) :] = x[-1]
    return out


def _halve_rows(x: np.ndarray, siting: str) -> np.ndarray:
    """Downsample axis 0 of float32 ``x`` to (length + 1) // 2 samples; the inverse of :func:`_double_rows`."""
    length = len(x)
    if length == 1:
        return x
    if siting == "between":
        pairs = length // 2
        out = np.empty(((length + 1) // 2, x.shape[1]), np.float32)
        np.add(x[0 : 2 * pairs : 2], x[1::2], out=out[:pairs])
        out[:pairs] *= 0.5
        if length % 2:
            out[-1] = x[-1]
        return out
    if siting == "second":
        return (
            np.ascontiguousarray(_halve_rows(x[::-1], "on")[::-1])
            if length % 2 == 0
            else _halve_rows(x, "on")
        )
    padded = np.pad(x, ((2, 2), (0, 0)), mode="reflect")
    count = (length + 1) // 2
    even = padded[2 : 2 + 2 * count : 2]
    near = padded[1 : 1 + 2 * count : 2] + padded[3 : 3 + 2 * count : 2]
    far = padded[0 : 2 * count : 2] + padded[4 : 4 + 2 * count : 2]
    near *= 0.25
    far *= 0.125
    near -= far
    near += 0.75 * even
    return near


def _double_columns(x: np.ndarray, length: int, siting: str) -> np.ndarray:
    """Axis 1 of ``x``; like :func:`_double_rows`, without transposing."""
    if length == 1:
        return x
    right = np.concatenate([x[:, 1:], x[:, -1:]], axis=1)
    if siting == "between":
        slope = right - np.concatenate([x[:, :1], x[:, :-1]], axis=1)
        slope *= 0.125
        if length % 2:
            slope[:, -1] = 0
        even, odd = x - slope, x + slope
    else:
        even = x
        odd = right
        odd += x
        odd *= 0.5
    # OpenCV interleaves two planes several times faster than strided assignment does.
    pairs = np.asarray(cv2.merge([even, odd])).reshape(len(x), -1)
    return pairs[:, :length]


def _halve_columns(x: np.ndarray, siting: str) -> np.ndarray:
    """Axis 1 of ``x``; like :func:`_halve_rows`, without transposing."""
    length = x.shape[1]
    if length == 1:
        return x
    even, odd = x[:, 0::2], x[:, 1::2]
    if siting == "between":
        out = np.array(even)
        out[:, : odd.shape[1]] += odd
        out[:, : odd.shape[1]] *= 0.5
        return out
    if length < 3:  # OpenCV mirrors only what is there
        return _halve_rows(np.ascontiguousarray(x.T), siting).T
    smooth = np.asarray(cv2.filter2D(x, -1, LOW_PASS, borderType=cv2.BORDER_REFLECT_101))
    return smooth.reshape(x.shape)[:, ::2]


def planes_to_rgb(
    planes: list[np.ndarray], layout: PlanarFormat, tags: ColorTags
) -> tuple[np.ndarray, np.ndarray | None]:
    """(rgb float32 (h, w, 3), alpha float32 (h, w) or None) from integer code planes in FFmpeg's plane order.

    tags: must be resolved (see :meth:`ColorTags.resolved`). Nothing is clipped.
    """
    height, width = planes[0].shape
    peak = np.float32((1 << layout.bit_depth) - 1)
    alpha = planes[-1].astype(np.float32) / peak if layout.has_alpha else None
    if layout.model == "rgb":
        green, blue, red = (plane.astype(np.float32) for plane in planes[:3])
        return np.asarray(cv2.merge([red, green, blue])).reshape(height, width, 3) / peak, alpha
    if layout.model == "gray":
        luma = planes[0].astype(np.float32)
        forward = _rgb_to_codes(6, tags.range, layout.bit_depth)
        luma -= np.float32(forward[0, 3])
        luma /= np.float32(forward[0, :3].sum())
        return np.asarray(cv2.merge([luma, luma, luma])).reshape(height, width, 3), alpha
    inverse = _codes_to_rgb(_usable_matrix(tags.matrix), tags.range, layout.bit_depth)
    horizontal, vertical = _siting(tags.chroma_location)
    chroma = [plane.astype(np.float32) for plane in planes[1:3]]
    if layout.subsampling[1]:
        chroma = [_double_rows(plane, height, vertical) for plane in chroma]
    rgb = np.empty((height, width, 3), np.float32)
    for top in range(0, height, STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS)
        strip = [planes[0][rows].astype(np.float32), *(plane[rows] for plane in chroma)]
        if layout.subsampling[0]:
            strip[1:] = [_double_columns(plane, width, horizontal) for plane in strip[1:]]
        codes = np.asarray(cv2.merge(strip)).reshape(*strip[0].shape, 3)
        cv2.transform(codes, inverse, dst=rgb[rows])
    return rgb, alpha


def _usable_matrix(matrix: int) -> int:
    return matrix if matrix in LUMA_WEIGHTS or matrix == YCGCO else 6


def _to_codes(plane: np.ndarray, bit_depth: int) -> np.ndarray:
    """Round to the nearest code value and saturate."""
    codes = saturate(plane, 8 if bit_depth == 8 else 16)
    if 8 < bit_depth < 16:
        np.minimum(codes, (1 << bit_depth) - 1, out=codes)
    return codes


def saturate(values: np.ndarray, bits: int) -> np.ndarray:
    """Round float values to the nearest integer and clip to uint8 (bits=8) or uint16, in one pass of OpenCV."""
    zero: Any = (0.0, 0.0, 0.0, 0.0)
    return np.asarray(cv2.add(values, zero, dtype=cv2.CV_8U if bits == 8 else cv2.CV_16U)).reshape(
        values.shape
    )


def rgb_to_planes(
    rgb: np.ndarray, alpha: np.ndarray | None, layout: PlanarFormat, tags: ColorTags
) -> list[np.ndarray]:
    """Integer code planes of ``layout`` from float32 (h, w, 3) R'G'B' (and float32 (h, w) alpha when the layout has one)."""
    height, width, _ = rgb.shape
    peak = np.float32((1 << layout.bit_depth) - 1)
    planes: list[np.ndarray]
    if layout.model == "rgb":
        planes = [_to_codes(rgb[..., c] * peak, layout.bit_depth) for c in (1, 2, 0)]
    else:
        planes = _rgb_to_yuv_planes(rgb, layout, tags)
    if layout.has_alpha:
        opacity = (
            np.ones((height, width), np.float32) if alpha is None else np.ascontiguousarray(alpha, np.float32)
        )
        planes.append(_to_codes(opacity * peak, layout.bit_depth))
    return planes


def _rgb_to_yuv_planes(rgb: np.ndarray, layout: PlanarFormat, tags: ColorTags) -> list[np.ndarray]:
    height, width, _ = rgb.shape
    forward = _rgb_to_codes(_usable_matrix(tags.matrix), tags.range, layout.bit_depth)
    if layout.model == "gray":
        luma = np.asarray(cv2.transform(np.ascontiguousarray(rgb), forward[:1])).reshape(height, width)
        return [_to_codes(luma, layout.bit_depth)]
    horizontal, vertical = _siting(tags.chroma_location)
    columns = (width + 1) // 2 if layout.subsampling[0] else width
    luma = np.empty((height, width), layout.dtype)
    chroma = [np.empty((height, columns), np.float32) for _ in range(2)]
    for top in range(0, height, STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS)
        codes = np.asarray(cv2.transform(np.ascontiguousarray(rgb[rows]), forward))
        strip = [np.asarray(p).reshape(-1, width) for p in cv2.split(codes.reshape(-1, width, 3))]
        luma[rows] = _to_codes(strip[0], layout.bit_depth)
        for plane, part in zip(chroma, strip[1:], strict=True):
            plane[rows] = _halve_columns(part, horizontal) if layout.subsampling[0] else part
    if layout.subsampling[1]:
        chroma = [_halve_rows(plane, vertical) for plane in chroma]
    return [luma, *(_to_codes(np.ascontiguousarray(plane), layout.bit_depth) for plane in chroma)]


def read_planes(frame: av.VideoFrame, layout: PlanarFormat) -> list[np.ndarray]:
    """Views of the frame's planes without their padding; valid while ``frame`` lives."""
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, layout.dtype).reshape(plane.height, -1)  # type: ignore[call-overload]  # a plane has the buffer protocol, which its stub lacks
        planes.append(rows[:, : plane.width])
    return planes


def frame_to_rgb(frame: av.VideoFrame, tags: ColorTags) -> tuple[np.ndarray, np.ndarray | None]:
    """Convert a decoded frame of any pixel format; see :func:`planes_to_rgb`."""
    name = nearest_planar_name(frame.format)
    if name != frame.format.name:
        # swscale takes grey for full range, and Y'CbCr that says nothing for limited: between the two it must be told.
        known = {"src_color_range": tags.range, "dst_color_range": tags.range} if tags.matrix != 0 else {}
        frame = frame.reformat(format=name, **known)
    layout = planar_format(name)
    assert layout is not None
    return planes_to_rgb(read_planes(frame, layout), layout, tags)


def rgb_to_frame(rgb: np.ndarray, alpha: np.ndarray | None, pix_fmt: str, tags: ColorTags) -> av.VideoFrame:
    """A frame of ``pix_fmt`` for an encoder; formats that are not planar are reached through their planar equal."""
    name = nearest_planar_name(av.VideoFormat(pix_fmt))
    layout = planar_format(name)
    assert layout is not None
    height, width, _ = rgb.shape
    frame = av.VideoFrame(width, height, name)
    for plane, codes in zip(frame.planes, rgb_to_planes(rgb, alpha, layout, tags), strict=True):
        rows = np.frombuffer(plane, layout.dtype).reshape(plane.height, -1)  # type: ignore[call-overload]  # a plane has the buffer protocol, which its stub lacks
        rows[:, : plane.width] = codes
    return frame if name == pix_fmt else frame.reformat(format=pix_fmt)
