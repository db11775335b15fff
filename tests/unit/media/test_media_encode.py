"""Choice of encoder, pixel format and options."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

import pytest
from media_helpers import made_up_source as source

from rvrt_cli.errors import OutputError, UsageError
from rvrt_cli.media import ColorTags, EncodeOptions, HdrMetadata, resolve_encoding, with_shape_kept
from rvrt_cli.media.codecs import CODECS
from rvrt_cli.media.encoder_options import mastering_display_text


@pytest.mark.parametrize(
    ("changes", "output", "encoder", "pix_fmt"),
    [
        ({}, "o.mp4", "libx264", "yuv420p"),
        ({}, "o.mkv", "libx264", "yuv420p"),
        ({}, "o.webm", "libvpx-vp9", "yuv420p"),
        ({"chroma": "422"}, "o.mov", "libx264", "yuv422p"),
        ({"chroma": "444"}, "o.mp4", "libx264", "yuv444p"),
        ({"chroma": "440"}, "o.mp4", "libx264", "yuv444p"),
        ({"chroma": "gray"}, "o.mp4", "libx264", "yuv420p"),
        ({"bit_depth": 10}, "o.mp4", "libx265", "yuv420p10le"),
        ({"bit_depth": 12, "chroma": "422"}, "o.mkv", "libx265", "yuv422p12le"),
        ({"bit_depth": 10}, "o.webm", "libsvtav1", "yuv420p10le"),
        ({"bit_depth": 16, "chroma": "rgb"}, "o.mkv", "libx265", "yuv444p12le"),
        ({"effective_color": ColorTags(9, 1, 9, 18)}, "o.mp4", "libx265", "yuv420p"),
        ({"has_alpha": True}, "o.webm", "libvpx-vp9", "yuva420p"),
        ({"has_alpha": True}, "o.mkv", "libvpx-vp9", "yuva420p"),
        ({"has_alpha": True, "chroma": "444"}, "o.mkv", "ffv1", "yuva444p"),
        ({"has_alpha": True, "chroma": "444"}, "o.webm", "libvpx-vp9", "yuva420p"),
        ({"has_alpha": True, "chroma": "rgb"}, "o.mkv", "ffv1", "bgra"),
        ({"has_alpha": True, "chroma": "rgb"}, "o.webm", "libvpx-vp9", "yuva420p"),
        ({"has_alpha": True, "chroma": "rgb", "bit_depth": 16}, "o.mkv", "ffv1", "gbrap16le"),
        ({"has_alpha": True, "chroma": "rgb", "bit_depth": 16}, "o.webm", "libvpx-vp9", "yuva420p"),
        ({"has_alpha": True, "chroma": "rgb", "bit_depth": 16}, "o.mov", "prores_ks", "yuva444p10le"),
        ({"has_alpha": True, "chroma": "rgb", "bit_depth": 16}, "o.mp4", "libx265", "yuv444p12le"),
        ({"has_alpha": True, "bit_depth": 10, "chroma": "444"}, "o.mkv", "ffv1", "yuva444p10le"),
        ({"has_alpha": True, "bit_depth": 10, "chroma": "444"}, "o.webm", "libvpx-vp9", "yuva420p"),
        ({"has_alpha": True, "bit_depth": 10, "chroma": "444"}, "o.mp4", "libx265", "yuv444p10le"),
        ({"has_alpha": True}, "o.mov", "prores_ks", "yuva444p10le"),
        ({"has_alpha": True}, "o.mp4", "libx264", "yuv420p"),
    ],
)
def test_defaults_keep_the_sources_depth_and_subsampling(
    changes: dict[str, object], output: str, encoder: str, pix_fmt: str
) -> None:
    settings = resolve_encoding(source(**changes), EncodeOptions(), output, 256, 192)
    assert (settings.encoder, settings.pix_fmt) == (encoder, pix_fmt)
    assert settings.has_alpha == (bool(changes.get("has_alpha")) and output != "o.mp4")
    assert settings.time_base == Fraction(1, 12800)


@pytest.mark.parametrize(
    ("options", "output", "size", "words"),
    [
        (EncodeOptions(codec="nonsense"), "o.mp4", (64, 48), "nonsense is not offered; choose h264"),
        (EncodeOptions(codec="aac"), "o.mp4", (64, 48), "aac is not offered"),
        (EncodeOptions(codec="mpeg4"), "o.mp4", (64, 48), "mpeg4 is not offered"),
        (EncodeOptions(codec="h264_nvenc"), "o.mp4", (64, 48), "h264_nvenc is not offered"),
        (EncodeOptions(codec="ffv1"), "o.mov", (64, 48), "does not go into .mov"),
        (EncodeOptions(codec="vp9", preset="8"), "o.mkv", (64, 48), "no preset '8'; it knows 0, 1, 2, 3, 4, 5"),
        (EncodeOptions(codec="vp9", pix_fmt="yuva444p"), "o.mkv", (64, 48), "cannot encode yuva444p"),
        (EncodeOptions(codec="h265", pix_fmt="yuva420p"), "o.mkv", (64, 48), "cannot encode yuva420p"),
        (EncodeOptions(codec="ffv1", pix_fmt="gbrpf32le"), "o.mkv", (64, 48), "cannot encode gbrpf32le"),
        (EncodeOptions(codec="ffv1"), "o.mp4", (64, 48), "does not go into .mp4"),
        (EncodeOptions(codec="h264"), "o.webm", (64, 48), "does not go into .webm"),
        (EncodeOptions(crf=99), "o.mp4", (64, 48), "goes from 0 to 51"),
        (EncodeOptions(codec="prores", crf=10), "o.mov", (64, 48), "no --crf"),
        (EncodeOptions(lossless=True, crf=10), "o.mp4", (64, 48), "contradict"),
        (EncodeOptions(codec="prores", lossless=True), "o.mov", (64, 48), "no lossless mode"),
        (EncodeOptions(preset="warp"), "o.mp4", (64, 48), "no preset 'warp'"),
        (EncodeOptions(codec="av1", preset="99"), "o.mp4", (64, 48), "no preset '99'"),
        (EncodeOptions(codec="prores", preset="slow"), "o.mov", (64, 48), "no --preset"),
        (EncodeOptions(pix_fmt="yuv420p16le"), "o.mp4", (64, 48), "cannot encode yuv420p16le"),
        (EncodeOptions(pix_fmt="yuv420p"), "o.mp4", (63, 48), "needs even sizes"),
        (EncodeOptions(codec="av1"), "o.mp4", (63, 47), "cannot write pictures of 63x47"),
        (EncodeOptions(codec="h265"), "o.mp4", (8, 8), "at least 16 pixels"),
        (EncodeOptions(codec="dnxhd"), "o.mov", (64, 48), "dnxhd is not offered"),
    ],
)  # fmt: skip
def test_impossible_combinations_say_what_to_choose(
    options: EncodeOptions, output: str, size: tuple[int, int], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        resolve_encoding(source(), options, output, *size)
    assert "\n" not in str(caught.value)


def test_unknown_containers_are_refused() -> None:
    for output in ("o.xyz", "o"):
        with pytest.raises(OutputError, match="known video container"):
            resolve_encoding(source(), EncodeOptions(), output, 64, 48)
    with pytest.raises(UsageError, match="--container avi is not offered; choose mp4, mkv, mov or webm"):
        resolve_encoding(source(), EncodeOptions(container="avi"), "o.mp4", 64, 48)
    assert resolve_encoding(source(), EncodeOptions(container="matroska"), "o", 64, 48).container == "mkv"
    assert resolve_encoding(source(), EncodeOptions(), "o.M4V", 64, 48).container == "mp4"


def test_odd_sizes_keep_the_codec_and_refine_the_chroma() -> None:
    odd = resolve_encoding(source(), EncodeOptions(), "o.mp4", 161, 121)
    assert odd.pix_fmt == "yuv444p"
    assert any("odd size" in n for n in odd.notes)
    assert resolve_encoding(source(), EncodeOptions(), "o.mp4", 160, 121).pix_fmt == "yuv422p"
    assert resolve_encoding(source(), EncodeOptions(), "o.webm", 161, 121).pix_fmt == "yuv420p"
    assert resolve_encoding(source(), EncodeOptions(), "o.mp4", 1, 1).encoder == "libvpx-vp9"


def test_losses_are_named_before_the_run() -> None:
    said = resolve_encoding(source(has_alpha=True), EncodeOptions(), "o.mp4", 64, 48).notes
    assert any("transparency" in n for n in said)
    said = resolve_encoding(source(has_alpha=True, chroma="444"), EncodeOptions(), "o.webm", 64, 48).notes
    assert any("coarser colour resolution" in n for n in said)
    said = resolve_encoding(source(chroma="422"), EncodeOptions(codec="av1"), "o.mp4", 64, 48).notes
    assert any("coarser colour resolution" in n for n in said)
    said = resolve_encoding(
        source(bit_depth=10), EncodeOptions(codec="h264", pix_fmt="yuv420p"), "o.mp4", 64, 48
    ).notes
    assert any("gradients may band" in n for n in said)
    turned = resolve_encoding(source(rotation=90, sar=Fraction(2)), EncodeOptions(), "o.mkv", 64, 48)
    assert (turned.bake_rotation, turned.coded_size, turned.sar) == (90, (48, 64), Fraction(1, 2))
    assert any("upright" in n for n in turned.notes)
    assert resolve_encoding(source(rotation=90), EncodeOptions(), "o.mp4", 64, 48).bake_rotation == 0


def test_rgb_sources_get_a_matrix() -> None:
    rgb = {"chroma": "rgb", "effective_color": ColorTags(0, 2, 1, 13)}
    settings = resolve_encoding(source(**rgb), EncodeOptions(), "o.mp4", 64, 48)
    assert (settings.pix_fmt, settings.color.matrix, settings.color.range, settings.color.transfer) == (
        "yuv444p",
        1,
        1,
        13,
    )
    kept = resolve_encoding(source(**rgb), EncodeOptions(codec="ffv1"), "o.mkv", 64, 48)
    assert (kept.pix_fmt, kept.color.matrix) == ("bgr0", 0)
    assert (
        resolve_encoding(source(**rgb), EncodeOptions(codec="libx264rgb"), "o.mkv", 64, 48).color.matrix == 0
    )


def test_threads_never_depend_on_the_machine() -> None:
    """The bytes must not change with the number of cores: every encoder gets a fixed number."""
    for name, codec in CODECS.items():
        container = sorted(codec.containers)[0]
        options = dict(
            resolve_encoding(source(), EncodeOptions(codec=name), f"o.{container}", 64, 48).encoder_options
        )
        text = " ".join(f"{k}={v}" for k, v in options.items())
        assert "threads=4" in text or "pools=4" in text or "lp=4" in text, name


def test_lossless_and_quality_options() -> None:
    def options(**given: object) -> dict[str, str]:
        return dict(resolve_encoding(source(), EncodeOptions(**given), "o.mkv", 64, 48).encoder_options)

    assert options(lossless=True)["qp"] == "0"
    assert "crf" not in options(lossless=True)
    assert "lossless=1" in options(codec="h265", lossless=True)["x265-params"]
    assert "lossless=1" in options(codec="av1", lossless=True)["svtav1-params"]
    assert options(codec="vp9", lossless=True)["lossless"] == "1"
    assert options(crf=20.5)["crf"] == "20.5"
    assert options(codec="vp9", preset="3")["cpu-used"] == "3"
    with_alpha = resolve_encoding(source(has_alpha=True), EncodeOptions(lossless=True), "o.mkv", 64, 48)
    assert (with_alpha.encoder, with_alpha.pix_fmt) == ("ffv1", "yuva420p")
    with pytest.raises(UsageError, match=r"name the output \.mkv"):
        resolve_encoding(source(has_alpha=True), EncodeOptions(lossless=True), "o.mov", 64, 48)


@pytest.mark.parametrize(
    ("options", "output"), [(EncodeOptions(lossless=True), "o.webm"), (EncodeOptions(lossless=True, codec="av1"), "o.mp4")]
)  # fmt: skip
def test_a_lossless_mode_that_is_not_so_above_8_bits_is_refused(options: EncodeOptions, output: str) -> None:
    with pytest.raises(UsageError, match=r"not lossless above 8 bits; choose --codec h265 or ffv1 .* \.mkv"):
        resolve_encoding(source(bit_depth=10), options, output, 64, 48)
    eight = replace(options, codec="av1", pix_fmt="yuv420p")
    assert resolve_encoding(source(bit_depth=10), eight, output, 64, 48).bit_depth == 8


@pytest.mark.parametrize(
    ("codec", "source_color", "written", "words"),
    [
        ("prores", ColorTags(5, 2, 5, 1), ColorTags(5, 1, 5, 1), "the limited one only"),
        ("h264", ColorTags(5, 2, 5, 1), ColorTags(5, 2, 5, 1), None),
        ("vp9", ColorTags(4, 1, 4, 1), ColorTags(5, 1, 4, 1), r"\(FCC\); the picture is converted to BT.601"),
        ("vp9", ColorTags(10, 1, 9, 1), ColorTags(9, 1, 9, 1), "to BT.2020 with non-constant luminance"),
        ("vp9", ColorTags(8, 1, 1, 1), ColorTags(1, 1, 1, 1), r"\(YCgCo\)"),
        ("av1", ColorTags(4, 1, 4, 1), ColorTags(4, 1, 4, 1), None),
        ("h264", ColorTags(1, 1, 22, 1), ColorTags(1, 1, 6, 1), "EBU 3213"),
        ("h265", ColorTags(1, 1, 22, 1), ColorTags(1, 1, 6, 1), "SMPTE 170M's"),
        ("vp9", ColorTags(1, 1, 22, 1), ColorTags(1, 1, 22, 1), None),
    ],
)
def test_colours_that_an_encoder_cannot_state_are_replaced_and_named(
    codec: str, source_color: ColorTags, written: ColorTags, words: str | None
) -> None:
    given = source(chroma="444", color=source_color, effective_color=source_color)
    settings = resolve_encoding(given, EncodeOptions(codec=codec, pix_fmt=None), "o.mkv", 64, 48)
    assert replace(settings.color, chroma_location="unspecified") == written
    said = [note for note in settings.notes if "coarser" not in note]
    if words is None:
        assert said == []
    else:
        (note,) = said
        assert re.search(words, note)


def test_a_matrix_that_nothing_stands_for_is_refused() -> None:
    given = source(effective_color=ColorTags(14, 1, 9, 16))
    with pytest.raises(UsageError, match=r"libvpx-vp9 cannot state .* \(ICtCp\); choose --codec av1 or h265"):
        resolve_encoding(given, EncodeOptions(codec="vp9"), "o.webm", 64, 48)
    assert resolve_encoding(given, EncodeOptions(codec="av1"), "o.webm", 64, 48).color.matrix == 14


def test_hdr_parameters() -> None:
    hdr = HdrMetadata(
        red=(Fraction(17, 25), Fraction(8, 25)), green=(Fraction(53, 200), Fraction(69, 100)), blue=(Fraction(3, 20), Fraction(3, 50)),
        white=(Fraction(3127, 10000), Fraction(329, 1000)), max_luminance=Fraction(1000), min_luminance=Fraction(1, 200), max_cll=1000, max_fall=400,
    )  # fmt: skip
    text = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    assert mastering_display_text(hdr, scaled=True) == text
    assert (
        mastering_display_text(hdr, scaled=False)
        == "G(0.265,0.69)B(0.15,0.06)R(0.68,0.32)WP(0.3127,0.329)L(1000,0.005)"
    )
    assert mastering_display_text(HdrMetadata(max_cll=5), scaled=True) is None
    assert mastering_display_text(replace(hdr, max_luminance=None), scaled=True) is None
    given = source(bit_depth=10, hdr=hdr)
    x265 = dict(resolve_encoding(given, EncodeOptions(), "o.mp4", 64, 48).encoder_options)["x265-params"]
    assert f"master-display={text}:max-cll=1000,400:hdr10=1" in x265
    x264 = dict(resolve_encoding(given, EncodeOptions(codec="h264"), "o.mp4", 64, 48).encoder_options)[
        "x264-params"
    ]
    assert x264 == f"mbtree=0:mastering-display={text}:cll=1000,400"
    av1 = dict(resolve_encoding(given, EncodeOptions(codec="av1"), "o.mp4", 64, 48).encoder_options)[
        "svtav1-params"
    ]
    assert "mastering-display=G(0.265,0.69)" in av1


def test_the_fingerprint_follows_the_bytes() -> None:
    one = resolve_encoding(source(), EncodeOptions(), "o.mp4", 64, 48)
    assert one.fingerprint == resolve_encoding(source(), EncodeOptions(), "other.mp4", 64, 48).fingerprint
    assert one.fingerprint == replace(one, notes=("x",)).fingerprint
    assert one.fingerprint != resolve_encoding(source(), EncodeOptions(crf=20), "o.mp4", 64, 48).fingerprint
    assert one.fingerprint != resolve_encoding(source(), EncodeOptions(), "o.mp4", 66, 48).fingerprint


@pytest.mark.parametrize(
    ("size", "sar", "shown"),
    [
        ((192, 256), Fraction(1), None),
        ((192, 256), Fraction(64, 45), None),
        ((146, 194), Fraction(8, 9), None),  # 3 times 48.5 x 64.5, made even
        ((108, 192), Fraction(64, 45), Fraction(64 * 64, 48 * 45)),
        ((108, 192), Fraction(1), Fraction(4, 3)),
        ((200, 100), Fraction(16, 15), Fraction(64 * 16, 48 * 15)),
    ],
)
def test_the_shape_is_kept_in_any_size(size: tuple[int, int], sar: Fraction, shown: Fraction | None) -> None:
    video = source(sar=sar).video
    height, width = size
    kept = with_shape_kept(video, height, width)
    if shown is None:
        assert kept == video
    else:
        assert float(kept.sar * width / height) == pytest.approx(float(shown), rel=1e-5)
