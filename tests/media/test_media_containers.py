"""Sources made with ffmpeg, and everything in them that must survive."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_helpers import Passed, scaled, tracks

from rvrt_cli.errors import InputError, UsageError
from rvrt_cli.media import EncodeOptions, HdrMetadata, probe, read_frames, run_ffmpeg
from rvrt_cli.media.ffmpeg import list_streams

FILM = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1"]
SOUND = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=1"]


def make(path: Path, *arguments: str) -> Path:
    run_ffmpeg(["-v", "error", "-y", *arguments, str(path)], doing="making a test file")
    return path


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """Two sounds, two subtitles, chapters, a font, a cover, languages, dispositions, titles: a Matroska with everything."""
    (tmp_path / "a.srt").write_text(
        "1\n00:00:00,100 --> 00:00:00,500\nHello\n\n2\n00:00:00,600 --> 00:00:00,900\nWorld\n"
    )
    (tmp_path / "a.ass").write_text(
        "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,20\n\n[Events]\n"
        "Format: Layer, Start, End, Style, Text\nDialogue: 0,0:00:00.20,0:00:00.70,Default,Styled\n"
    )
    (tmp_path / "font.ttf").write_bytes(b"not really a font" * 10)
    make(tmp_path / "cover.png", "-f", "lavfi", "-i", "color=red:size=16x16", "-frames:v", "1")
    (tmp_path / "meta.txt").write_text(
        ";FFMETADATA1\ntitle=A film\ncustom_key=kept\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=1000\ntitle=Two\n"
    )
    return make(
        tmp_path / "rich.mkv", *FILM, *SOUND, *SOUND, "-i", str(tmp_path / "a.srt"), "-i", str(tmp_path / "a.ass"),
        "-i", str(tmp_path / "meta.txt"), "-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map", "4",
        "-map_metadata", "5", "-map_chapters", "5", "-c:v", "libx264", "-g", "10", "-c:a:0", "aac", "-c:a:1", "libopus", "-c:s:0", "srt", "-c:s:1", "ass",
        "-metadata:s:a:0", "language=deu", "-metadata:s:a:0", "title=Ton", "-metadata:s:a:1", "language=eng",
        "-metadata:s:s:0", "language=fra", "-disposition:a:0", "0", "-disposition:a:1", "default+comment", "-disposition:s:0", "forced", "-disposition:s:1", "0",
        "-attach", str(tmp_path / "font.ttf"), "-metadata:s:t:0", "mimetype=application/x-truetype-font", "-metadata:s:t:0", "filename=font.ttf",
        "-attach", str(tmp_path / "cover.png"), "-metadata:s:t:1", "mimetype=image/png", "-metadata:s:t:1", "filename=cover.png",
    )  # fmt: skip


def test_matroska_keeps_everything(rich: Path, run_through: Callable[..., Passed]) -> None:
    done = run_through(rich, "out.mkv")
    assert done.plan.warnings == ()
    again, source = probe(done.output), done.source
    assert [(s.kind, s.codec, s.language, s.disposition) for s in again.streams if s.kind != "video"] == [
        (s.kind, s.codec, s.language, s.disposition) for s in source.streams if s.kind != "video"
    ]
    assert sum("attached_pic" in s.disposition for s in again.streams) == 1
    assert again.chapters == source.chapters
    assert (
        dict(again.metadata)["custom_key" if "custom_key" in dict(again.metadata) else "CUSTOM_KEY"] == "kept"
    )
    assert dict(again.streams[1].metadata)["title"] == "Ton"
    before, after = tracks(rich), tracks(done.output)
    copied = {s.index for s in source.streams if s.kind in ("audio", "subtitle")}
    for index in copied:
        assert (before[index].digest, before[index].times_s) == (after[index].digest, after[index].times_s)
    digests = [t.digest for t in before if t.kind == "video"][1:]
    assert [t.digest for t in after if t.kind == "video"][1:] == digests, "the cover's bytes"
    text = list_streams(done.output)
    assert "font.ttf" in text
    assert "mimetype" in text


def test_mp4_converts_text_and_names_what_is_lost(rich: Path, run_through: Callable[..., Passed]) -> None:
    done = run_through(rich, "out.mp4")
    said = " ".join(done.plan.warnings)
    assert "converted from subrip to mov_text" in said
    assert "converted from ass to mov_text and loses its styles" in said
    assert "only Matroska holds attachments" in said
    assert "custom_key" in said.lower()
    again = probe(done.output)
    kept = [
        (s.kind, s.codec, s.language)
        for s in again.streams
        if s.kind != "data" and "attached_pic" not in s.disposition
    ]
    assert kept == [("video", "h264", None), ("audio", "aac", "deu"), ("audio", "opus", "eng"), ("subtitle", "mov_text", "fra"),
                    ("subtitle", "mov_text", None)] or [k[:2] for k in kept] == [
        ("video", "h264"), ("audio", "aac"), ("audio", "opus"), ("subtitle", "mov_text"), ("subtitle", "mov_text")]  # fmt: skip
    assert "forced" in next(s for s in again.streams if s.kind == "subtitle").disposition
    assert sum("attached_pic" in s.disposition for s in again.streams) == 1
    assert [(c.start_s, c.title) for c in again.chapters] == [(0.0, "One"), (0.4, "Two")]
    assert dict(again.metadata)["title"] == "A film"
    run_ffmpeg(
        ["-v", "error", "-i", str(done.output), "-map", "0:s:0", str(done.output.with_suffix(".srt"))],
        doing="reading the subtitles",
    )
    assert "Hello" in done.output.with_suffix(".srt").read_text()


def test_webm_converts_sound(rich: Path, run_through: Callable[..., Passed]) -> None:
    done = run_through(rich, "out.webm")
    assert any("converted from aac to opus" in w for w in done.plan.warnings)
    assert any("there is no place for covers" in w for w in done.plan.warnings)
    assert [(s.kind, s.codec) for s in probe(done.output).streams] == [
        ("video", "vp9"), ("audio", "opus"), ("audio", "opus"), ("subtitle", "webvtt"), ("subtitle", "webvtt")]  # fmt: skip


def test_sound_that_starts_later_stays_later(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    source = make(tmp_path / "a.mp4", *FILM, "-itsoffset", "0.3", *SOUND, "-c:v", "libx264", "-c:a", "aac")
    before = tracks(source)
    for name in ("o.mp4", "o.mkv"):
        after = tracks(run_through(source, name).output)
        gap_before = before[1].times_s[0] - before[0].times_s[0]
        assert after[1].times_s[0] - after[0].times_s[0] == pytest.approx(gap_before, abs=1.1e-3)
        assert after[1].digest == before[1].digest


def test_a_film_that_starts_later_than_its_sound(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    source = make(tmp_path / "a.mp4", "-itsoffset", "0.35", *FILM, *SOUND, "-c:v", "libx264", "-c:a", "aac")
    before, after = tracks(source), tracks(run_through(source, "o.mp4").output)
    assert after[0].times_s == pytest.approx(before[0].times_s, abs=1e-6)
    assert after[1].times_s == pytest.approx(before[1].times_s, abs=1e-4)
    assert before[0].times_s[0] > 0.3


def test_transport_streams_start_at_zero_with_their_offset(
    tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = make(
        tmp_path / "a.ts", *FILM, *SOUND, "-c:v", "mpeg2video", "-c:a", "mp2", "-output_ts_offset", "100"
    )
    before = tracks(source)
    assert before[0].times_s[0] > 100
    after = tracks(run_through(source, "o.mkv").output)
    assert min(after[0].times_s[0], after[1].times_s[0]) == pytest.approx(0, abs=2e-3)
    assert after[1].times_s[0] - after[0].times_s[0] == pytest.approx(
        before[1].times_s[0] - before[0].times_s[0], abs=2e-3
    )
    assert len(after[0].times_s) == 25


@pytest.mark.parametrize("output", ["o.mp4", "o.mkv", "o.mov", "o.webm"])
@pytest.mark.parametrize("per_segment", [1, 7, 100])
def test_variable_frame_rate_is_exact(
    output: str, per_segment: int, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    """Frames 0-9 ms apart and pauses of a second, in a 90 kHz clock; segments of 1 frame, of 7, and one for all."""
    expression = "(mod(N*N*37\\,800)+N*3600+gte(N\\,13)*90000)/90000/TB"
    source = make(tmp_path / "a.mp4", "-f", "lavfi", "-i", "testsrc2=size=32x32:rate=25:duration=1", "-vf",
                  f"settb=1/90000,setpts={expression}", "-fps_mode", "passthrough", "-enc_time_base", "1:90000",
                  "-video_track_timescale", "90000", "-c:v", "libx264", "-bf", "2")  # fmt: skip
    done = run_through(source, output, per_segment=per_segment)
    assert done.pts == pytest.approx(
        [(n * n * 37 % 800) + n * 3600 + (90000 if n >= 13 else 0) for n in range(25)], abs=1
    )
    assert [p / 90000 for p in done.pts] == pytest.approx(tracks(source)[0].times_s, abs=1e-9)
    found = tracks(done.output)[0].times_s
    exact = output.endswith(("mp4", "mov"))
    assert found == pytest.approx([p / 90000 for p in done.pts], abs=1e-9 if exact else 5.1e-4)


@pytest.mark.parametrize("output", ["o.mkv", "o.webm"])
def test_what_an_mp4_says_of_its_layout_is_not_said_of_matroska(
    output: str, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = make(tmp_path / "a.mp4", *FILM, "-metadata", "title=A film", "-c:v", "libx264")
    found = dict(probe(run_through(source, output).output).metadata)
    assert found["title"] == "A film"
    assert not {key for key in found if "brand" in key.lower() or "version" in key.lower()}


def test_hdr10_metadata_is_carried(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    parameters = "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:chromaloc=2:" \
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"  # fmt: skip
    source = make(
        tmp_path / "a.mp4",
        *FILM,
        "-c:v",
        "libx265",
        "-pix_fmt",
        "yuv420p10le",
        "-color_range",
        "tv",
        "-x265-params",
        parameters,
        "-tag:v",
        "hvc1",
    )
    wanted = HdrMetadata(
        red=(Fraction(17, 25), Fraction(8, 25)), green=(Fraction(53, 200), Fraction(69, 100)), blue=(Fraction(3, 20), Fraction(3, 50)),
        white=(Fraction(3127, 10000), Fraction(329, 1000)), max_luminance=Fraction(1000), min_luminance=Fraction(1, 200), max_cll=1000, max_fall=400,
    )  # fmt: skip
    assert probe(source).video.hdr == wanted
    for name, options in (
        ("o.mp4", EncodeOptions()),
        ("o.mkv", EncodeOptions()),
        ("a.webm", EncodeOptions(preset="12")),
    ):
        done = run_through(source, name, options=options)
        video = probe(done.output).video
        assert (video.color.matrix, video.color.primaries, video.color.transfer, video.color.range) == (
            9,
            9,
            16,
            1,
        ), name
        assert video.bit_depth == 10
        hdr = video.hdr
        assert hdr is not None, name
        assert (hdr.max_cll, hdr.max_fall) == (1000, 400)
        assert float(hdr.max_luminance or 0) == pytest.approx(1000)
        assert float((hdr.green or (0, 0))[1]) == pytest.approx(0.69, abs=1e-4)
        assert video.color.chroma_location == "topleft", name
        assert "hvc1" in list_streams(done.output) or name != "o.mp4"


def test_hlg_is_carried(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    source = make(tmp_path / "a.mkv", *FILM, "-c:v", "libx265", "-pix_fmt", "yuv422p10le", "-x265-params",
                  "log-level=none:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc")  # fmt: skip
    video = probe(run_through(source, "o.mp4").output).video
    assert (video.color.transfer, video.chroma, video.bit_depth) == (18, "422", 10)


@pytest.mark.parametrize(("rotation", "flip"), [(90, False), (180, False), (-90, True), (0, True)])
def test_rotation_is_carried_or_baked(
    rotation: int, flip: bool, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    plain = make(tmp_path / "p.mp4", *FILM, "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p")
    arguments = [
        "-display_rotation",
        str(rotation),
        *(["-display_hflip"] if flip else []),
        "-i",
        str(plain),
        "-c",
        "copy",
    ]
    source = make(tmp_path / "a.mp4", *arguments)
    video = probe(source).video
    assert (video.rotation, video.flipped) == (rotation, flip)
    carried = probe(run_through(source, "o.mp4", factor=1).output).video
    assert (carried.rotation, carried.flipped, carried.width, carried.height) == (rotation, flip, 64, 48)
    done = run_through(source, "o.mkv", factor=1, options=EncodeOptions(lossless=True))
    baked = probe(done.output).video
    assert (baked.rotation, baked.flipped) == (0, False)
    # ffmpeg turns the source upright by itself; the baked film must look the same.
    upright = make(tmp_path / "upright.mkv", "-i", str(source), "-c:v", "ffv1", "-pix_fmt", "yuv444p")
    with read_frames(probe(upright)) as a, read_frames(probe(done.output)) as b:
        for one, other in zip(a, b, strict=True):
            assert one.rgb.shape == other.rgb.shape
            assert np.abs(one.rgb - other.rgb).max() < 1.01 / 255 * 2


def test_timecode_track_and_quicktime(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    source = make(
        tmp_path / "a.mov", *FILM, *SOUND, "-c:v", "libx264", "-c:a", "pcm_s16le", "-timecode", "01:00:00:00"
    )
    done = run_through(source, "o.mov")
    assert "01:00:00:00" in list_streams(done.output)
    assert tracks(done.output)[1].digest == tracks(source)[1].digest


def test_an_existing_output_is_replaced_whole(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    source = make(tmp_path / "a.mp4", *FILM, "-c:v", "libx264")
    (tmp_path / "o.mp4").write_bytes(b"old")
    assert run_through(source, "o.mp4").output.stat().st_size > 1000


def test_the_same_frames_give_the_same_file(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    source = make(tmp_path / "a.mp4", *FILM, *SOUND, "-c:v", "libx264", "-c:a", "aac")
    for name in ("o.mp4", "o.mkv"):
        first = run_through(source, name, per_segment=9).output.read_bytes()
        assert run_through(source, name, per_segment=9).output.read_bytes() == first


@pytest.mark.parametrize(
    ("read", "frames"),
    [({"start_s": 0.2, "end_s": 0.6}, range(5, 15)), ({"start_s": 0.21}, range(6, 25)), ({"max_frames": 3}, range(3)), ({"end_s": 0.08}, range(2))],
)  # fmt: skip
def test_trimming_is_exact(
    read: dict[str, float], frames: range, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = make(tmp_path / "a.mp4", *FILM, *SOUND, "-c:v", "libx264", "-g", "10", "-c:a", "aac")
    whole = probe(source)
    done = run_through(source, "o.mp4", **read)
    assert done.pts == [512 * n for n in frames]
    assert whole.video.time_base == Fraction(1, 12800)
    after = tracks(done.output)
    assert after[0].times_s == pytest.approx([n / 25 - frames[0] / 25 for n in frames], abs=1e-6)
    assert after[1].times_s[0] == pytest.approx(0, abs=0.03)
    assert after[1].times_s[-1] <= len(frames) / 25 + 0.03
    assert set_of_packets(done.output) <= set_of_packets(source)


def set_of_packets(path: Path) -> set[bytes]:
    with av.open(str(path)) as container:
        return {bytes(p) for p in container.demux(audio=0) if p.size}


def test_seeking_gives_the_same_frames_as_decoding_everything(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.mp4",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=10:duration=8",
        "-c:v",
        "libx264",
        "-g",
        "15",
        "-bf",
        "3",
    )
    source = probe(path)
    with read_frames(source) as frames:
        everything = list(frames)
    with read_frames(source, start_s=5.3, end_s=6.0) as frames:
        some = list(frames)
    assert [f.pts for f in some] == [f.pts for f in everything[53:60]]
    assert [f.index for f in some] == list(range(7))
    for one, other in zip(some, everything[53:60], strict=True):
        np.testing.assert_array_equal(one.rgb, other.rgb)


def test_skipping_continues_the_same_run(shared: Path) -> None:
    source = probe(shared / "data" / "media" / "test1.mp4")  # interlaced: the filter needs the frames before
    with read_frames(source, start_s=0.1) as frames:
        everything = list(frames)
    with read_frames(source, start_s=0.1, skip_frames=9) as frames:
        rest = list(frames)
    assert [f.index for f in rest] == list(range(9, len(everything)))
    for one, other in zip(rest, everything[9:], strict=True):
        assert (one.pts, one.duration) == (other.pts, other.duration)
        np.testing.assert_array_equal(one.rgb, other.rgb)


def test_a_range_without_frames_is_an_error(tmp_path: Path) -> None:
    source = probe(make(tmp_path / "a.mp4", *FILM, "-c:v", "libx264"))
    with (
        pytest.raises(InputError, match=r"no frame from 50 s, its last frame is at 0.960 s"),
        read_frames(source, start_s=50) as frames,
    ):
        next(frames)
    with pytest.raises(UsageError, match="swap"):
        read_frames(source, start_s=2, end_s=1)
    with pytest.raises(UsageError, match="At least one"):
        read_frames(source, max_frames=0)


def test_damage_in_the_middle_is_concealed_and_counted(
    tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    path = make(
        tmp_path / "a.mp4",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=128x96:rate=25:duration=2",
        "-c:v",
        "libx264",
        "-bf",
        "0",
        "-g",
        "12",
    )
    data = bytearray(path.read_bytes())
    start = data.find(b"mdat") + len(data) // 3
    data[start : start + 1500] = b"\xa5" * 1500
    (tmp_path / "b.mp4").write_bytes(bytes(data))
    done = run_through(tmp_path / "b.mp4", "o.mp4", factor=1)
    assert done.corrupt > 0
    assert not any("damaged" in n for n in done.notes), "the count says it; a report would say it twice"
    assert 30 <= len(done.pts) <= 50


def test_a_truncated_matroska_gives_its_beginning(
    rich: Path, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    (tmp_path / "t.mkv").write_bytes(rich.read_bytes()[: rich.stat().st_size * 2 // 3])
    done = run_through(tmp_path / "t.mkv", "o.mkv", factor=1)
    assert 1 <= len(done.pts) <= 25


def test_gray_rgb_and_deep_sources(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    for number, (codec, pix_fmt, chroma, depth) in enumerate(
        [("ffv1", "gray", "420", 8), ("ffv1", "gray10le", "420", 10), ("libx264rgb", "rgb24", "444", 8), ("ffv1", "yuv422p12le", "422", 12),
         ("ffv1", "gbrp10le", "444", 10), ("prores_ks", "yuva444p10le", "444", 10), ("rawvideo", "yuv411p", "422", 8)]
    ):  # fmt: skip
        source = make(
            tmp_path / f"s{number}.{'mkv' if codec == 'rawvideo' else 'mov'}",
            *FILM,
            "-c:v",
            codec,
            "-pix_fmt",
            pix_fmt,
            "-frames:v",
            "2",
        )
        video = probe(
            run_through(
                source,
                "o.mov",
                factor=1,
                options=EncodeOptions(codec="prores" if "yuva" in pix_fmt else None),
            ).output
        ).video
        if "yuva" not in pix_fmt:
            assert (video.chroma if pix_fmt != "yuv411p" else "422", video.bit_depth) == (chroma, depth), (
                pix_fmt
            )
        else:
            assert video.has_alpha


def test_interlaced_fields_are_not_woven(tmp_path: Path) -> None:
    """A moving edge in interlaced frames shows a comb; after deinterlacing neighbouring rows agree again."""
    make_ = [
        "-f",
        "lavfi",
        "-i",
        "smptebars=size=64x64:rate=50:duration=0.4",
        "-vf",
        "scroll=h=0.05,tinterlace=interleave_top,fieldorder=tff,setfield=tff",
    ]
    path = make(
        tmp_path / "i.mkv",
        *make_,
        "-c:v",
        "libx264",
        "-flags",
        "+ildct+ilme",
        "-x264-params",
        "interlaced=1",
        "-crf",
        "10",
    )
    source = probe(path)
    assert source.video.interlaced

    def combing(mode: str) -> float:
        with read_frames(source, deinterlace=mode) as frames:
            rows = [np.abs(f.rgb[2:-2:2] - 0.5 * (f.rgb[1:-3:2] + f.rgb[3:-1:2])).mean() for f in frames]
        assert len(rows) == 10
        return float(np.mean(rows))

    assert combing("auto") < 0.8 * combing("off")
    assert combing("on") == pytest.approx(combing("auto"), rel=0.2)


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "prores", "ffv1"])
def test_every_codec_goes_through(codec: str, tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    source = make(tmp_path / "a.mp4", *FILM, *SOUND, "-c:v", "libx264", "-c:a", "aac")
    preset = {"av1": "12"}.get(codec)
    done = run_through(
        source, "o.mkv", per_segment=10, factor=1, options=EncodeOptions(codec=codec, preset=preset)
    )
    with read_frames(done.source) as before, read_frames(probe(done.output)) as after:
        for one, other in zip(before, after, strict=True):
            error = np.mean((np.clip(one.rgb, 0, 1) - np.clip(other.rgb, 0, 1)) ** 2)
            assert -10 * np.log10(error + 1e-12) > (28 if codec == "av1" else 34), codec


@pytest.mark.parametrize(
    ("codec", "bits"),
    [
        *((codec, 8) for codec in ("h264", "h265", "vp9", "ffv1", "av1")),
        *((codec, 10) for codec in ("h264", "h265", "ffv1")),
        *((codec, 12) for codec in ("h265", "ffv1")),
    ],
)
def test_lossless_is_lossless(
    codec: str, bits: int, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    """At every depth that the encoders promise it for; SVT-AV1 and PyAV's libvpx have 8 bits alone."""
    pix_fmt = "yuv420p" if bits == 8 else f"yuv420p{bits}le"
    film = ["-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=0.2", "-pix_fmt", pix_fmt]
    source = make(tmp_path / "a.mkv", *film, "-c:v", "ffv1")
    done = run_through(source, "o.mkv", factor=1, options=EncodeOptions(codec=codec, lossless=True))
    assert done.settings.bit_depth == bits
    with read_frames(done.source) as before, read_frames(probe(done.output)) as after:
        for one, other in zip(before, after, strict=True):
            np.testing.assert_allclose(one.rgb, other.rgb, atol=1e-6)


def test_ffmpeg_sees_what_pyav_sees(rich: Path, run_through: Callable[..., Passed]) -> None:
    """The stream lines of ffmpeg's own listing agree between source and output, but for the film's size and codec details."""
    text = [list_streams(p) for p in (rich, run_through(rich, "o.mkv").output)]

    def lines(listing: str) -> list[str]:
        found = re.findall(r"Stream #0:\d+.*?: (?:Audio|Subtitle|Attachment).*", listing)
        return [re.sub(r", (\d+ kb/s|start [\d.]+)", "", line) for line in found]

    assert lines(text[0]) == lines(text[1])
    assert len(lines(text[0])) == 5
    assert re.findall(r"Chapter.*|title +: .*", text[0]) == re.findall(r"Chapter.*|title +: .*", text[1])


def test_scaled_helper_keeps_corners() -> None:
    picture = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert scaled(picture, 4).shape == (8, 12)
