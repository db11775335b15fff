"""Colour conversion: exact round trips, known values, no BT.601/709 shift."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvrt_cli.media.color import (
    LUMA_WEIGHTS,
    frame_to_rgb,
    nearest_planar_name,
    planar_format,
    planes_to_rgb,
    rgb_to_frame,
    rgb_to_planes,
)
from rvrt_cli.media.source import ColorTags

FORMATS = [
    "yuv420p",
    "yuv422p",
    "yuv440p",
    "yuv444p",
    "yuva420p",
    "yuv420p10le",
    "yuv422p12le",
    "yuv444p16le",
    "gbrp",
    "gbrap12le",
    "gray",
    "gray10le",
]
LOCATIONS = ["unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom"]


def random_planes(name: str, height: int, width: int, seed: int) -> list[np.ndarray]:
    layout = planar_format(name)
    assert layout is not None
    rng = np.random.default_rng(seed)
    chroma = (
        (height + layout.subsampling[1]) >> layout.subsampling[1],
        (width + layout.subsampling[0]) >> layout.subsampling[0],
    )
    shapes = [(height, width)] + (
        [chroma if layout.model == "yuv" else (height, width)] * 2 if layout.model != "gray" else []
    )
    shapes += [(height, width)] if layout.has_alpha else []
    return [rng.integers(0, 1 << layout.bit_depth, shape).astype(layout.dtype) for shape in shapes]


@given(
    name=st.sampled_from(FORMATS),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    location=st.sampled_from(LOCATIONS),
    matrix=st.sampled_from([*LUMA_WEIGHTS, 8]),
    color_range=st.sampled_from([1, 2]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=120, deadline=None)
def test_an_identity_model_changes_no_code_value(
    name, height, width, location, matrix, color_range, seed
) -> None:
    """Even for noise in every code value, out-of-gamut ones included: nothing moves by even one step."""
    layout = planar_format(name)
    assert layout is not None
    tags = ColorTags(matrix=matrix, range=color_range, chroma_location=location)
    planes = random_planes(name, height, width, seed)
    rgb, alpha = planes_to_rgb(planes, layout, tags)
    assert rgb.shape == (height, width, 3)
    assert rgb.dtype == np.float32
    for before, after in zip(planes, rgb_to_planes(rgb, alpha, layout, tags), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("codes", "matrix", "color_range", "bits", "rgb"),
    [
        # Published 75 % bar values (SMPTE EG 1 for BT.601, BT.709 bars), black and white.
        ((16, 128, 128), 1, 1, 8, (0, 0, 0)),
        ((235, 128, 128), 1, 1, 8, (1, 1, 1)),
        ((51, 109, 212), 1, 1, 8, (0.75, 0, 0)),  # BT.709 red
        ((133, 63, 52), 1, 1, 8, (0, 0.75, 0)),  # BT.709 green
        ((65, 100, 212), 6, 1, 8, (0.75, 0, 0)),  # BT.601 red
        ((112, 72, 58), 6, 1, 8, (0, 0.75, 0)),  # BT.601 green
        ((255, 128, 128), 1, 2, 8, (1, 1, 1)),
        ((64, 512, 512), 9, 1, 10, (0, 0, 0)),
        ((940, 512, 512), 9, 1, 10, (1, 1, 1)),
        ((3760, 2048, 2048), 1, 1, 12, (1, 1, 1)),
    ],
)
def test_known_values(codes, matrix, color_range, bits, rgb) -> None:
    layout = planar_format("yuv444p" + ("" if bits == 8 else f"{bits}le"))
    assert layout is not None
    planes = [np.full((2, 2), code, layout.dtype) for code in codes]
    found, _ = planes_to_rgb(planes, layout, ColorTags(matrix=matrix, range=color_range))
    np.testing.assert_allclose(found[0, 0], rgb, atol=0.006 if bits == 8 else 1e-6)


@pytest.mark.parametrize(
    ("name", "peak", "limit"), [("yuv420p", 255, 1), ("yuv420p10le", 1023, 2), ("yuv422p12le", 4095, 2)]
)
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_a_flat_colour_survives_coding(name: str, peak: int, limit: int, matrix: int) -> None:
    """RGB to coded Y'CbCr and back: a channel moves by rounding only."""
    layout = planar_format(name)
    assert layout is not None
    for tags in (
        ColorTags(matrix=matrix, range=r, chroma_location=c)
        for r, c in itertools.product((1, 2), ("left", "center"))
    ):
        for colour in itertools.product((0.0, 0.25, 0.6, 1.0), repeat=3):
            rgb = np.broadcast_to(np.float32(colour), (6, 9, 3)).copy()
            back, _ = planes_to_rgb(rgb_to_planes(rgb, None, layout, tags), layout, tags)
            # The coded triple is the nearest one; its rounding, half a step in Y', Cb and Cr, reaches R'G'B' with gains up to 1.9.
            assert np.abs(back - rgb).max() * peak <= limit * 1.6
            again = rgb_to_planes(back, None, layout, tags)
            for one, other in zip(again, rgb_to_planes(rgb, None, layout, tags), strict=True):
                np.testing.assert_array_equal(one, other)


def test_swscale_agrees_on_flat_colours() -> None:
    """An independent implementation, full precision RGB out: the same colour for the same code values."""
    for matrix, name in ((1, "ITU709"), (6, "ITU601")):
        frame = av.VideoFrame(16, 16, "yuv444p")
        for plane, code in zip(frame.planes, (120, 90, 200), strict=True):
            np.frombuffer(plane, np.uint8)[:] = code
        frame.colorspace, frame.color_range = matrix, 1
        theirs = frame.reformat(format="gbrp16le", src_colorspace=name, dst_colorspace=name)
        g, b, r = (np.frombuffer(p, np.uint16).reshape(16, -1)[0, 0] / 65535 for p in theirs.planes)
        ours, _ = frame_to_rgb(frame, ColorTags(matrix=matrix, range=1))
        np.testing.assert_allclose(ours[0, 0], (r, g, b), atol=5e-3)  # swscale's white is 65280


def test_chroma_is_placed_where_the_location_says() -> None:
    """A vertical chroma edge moves by half a luma sample between "left" and "center" siting."""
    layout = planar_format("yuv420p")
    assert layout is not None
    luma = np.full((16, 32), 128, np.uint8)
    chroma = np.full((8, 16), 128, np.uint8)
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8) * 4 + 90, (8, 16)).copy()
    left, _ = planes_to_rgb([luma, chroma, ramp], layout, ColorTags(1, 2, chroma_location="left"))
    center, _ = planes_to_rgb([luma, chroma, ramp], layout, ColorTags(1, 2, chroma_location="center"))
    slope = left[8, 11, 0] - left[8, 10, 0]
    np.testing.assert_allclose(left[8, 8:24, 0] - center[8, 8:24, 0], 0.5 * slope, rtol=1e-3)


def test_upsampling_keeps_a_flat_plane_flat_and_a_ramp_straight() -> None:
    layout = planar_format("yuv420p")
    assert layout is not None
    for location in LOCATIONS:
        tags = ColorTags(1, 2, chroma_location=location)
        flat, _ = planes_to_rgb(
            [np.full((9, 7), 100, np.uint8), *(np.full((5, 4), c, np.uint8) for c in (77, 190))], layout, tags
        )
        assert np.ptp(flat.reshape(-1, 3), axis=0).max() < 1e-6


@pytest.mark.parametrize(
    ("given_", "read_as"),
    [("nv12", "yuv420p"), ("p010le", "yuv420p10le"), ("rgb24", "gbrp"), ("rgba", "gbrap"), ("yuyv422", "yuv422p"), ("pal8", "gbrap"),
     ("ya8", "yuva444p"), ("gray16be", "gray16le"), ("yuv420p10be", "yuv420p10le"), ("rgb48le", "gbrp16le"), ("yuv411p", "yuv444p"),
     ("monob", "gray"), ("yuvj420p", "yuvj420p"), ("rgba64le", "gbrap16le"), ("x2rgb10le", "gbrp10le")],
)  # fmt: skip
def test_every_format_has_a_planar_equal(given_: str, read_as: str) -> None:
    assert nearest_planar_name(av.VideoFormat(given_)) == read_as
    frame = av.VideoFrame(8, 6, given_)
    rgb, alpha = frame_to_rgb(frame, ColorTags(6, 1))
    assert rgb.shape == (6, 8, 3)
    layout = planar_format(read_as)
    assert (alpha is not None) == (layout is not None and layout.has_alpha)


def test_frames_for_encoders_keep_values() -> None:
    rng = np.random.default_rng(3)
    rgb = rng.random((10, 14, 3), np.float32)
    for name in ("bgr0", "gbrp", "rgb24"):
        back, _ = frame_to_rgb(rgb_to_frame(rgb, None, name, ColorTags(0, 2)), ColorTags(0, 2))
        assert np.abs(back - rgb).max() <= 0.51 / 255
    alpha = rng.random((10, 14), np.float32)
    _, kept = frame_to_rgb(rgb_to_frame(rgb, alpha, "yuva444p10le", ColorTags(1, 1)), ColorTags(1, 1))
    assert kept is not None
    assert np.abs(kept - alpha).max() <= 0.51 / 1023


def test_what_players_assume_is_made_explicit() -> None:
    untagged = ColorTags()
    assert untagged.resolved("yuv420p", 320, 240) == ColorTags(6, 1, 2, 2)
    assert untagged.resolved("yuv420p", 720, 576).matrix == 5
    assert untagged.resolved("yuv420p", 720, 480).primaries == 6
    assert untagged.resolved("yuv420p", 1280, 720).matrix == 1
    assert untagged.resolved("yuvj420p", 320, 240).range == 2
    assert untagged.resolved("gbrp", 320, 240).matrix == 0
    tagged = ColorTags(9, 1, 9, 16, "topleft")
    assert tagged.resolved("yuv420p10le", 320, 240) == tagged
    assert tagged.is_hdr
