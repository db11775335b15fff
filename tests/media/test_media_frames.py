"""No frame is lost between packets and pictures: empty packets, late B-pyramids, damage, hidden packets, edit lists."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from rvrt_cli.errors import InputError
from rvrt_cli.media import (
    ColorTags,
    Source,
    Y4mWriter,
    decode,
    probe,
    read_frames,
    run_ffmpeg,
    y4m_settings,
)
from rvrt_cli.media.count import count_pictures
from rvrt_cli.media.reader import FrameReader


def film(path: Path, *arguments: str, size: str = "64x48", rate: str = "25", seconds: float = 1) -> Path:
    """Moving test pictures, encoded by ffmpeg with ``arguments``."""
    source = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds},hue=h=9*n"]
    run_ffmpeg(["-v", "error", "-y", *source, *arguments, str(path)], doing="making a test file")
    return path


def packets(path: Path) -> list[tuple[int | None, bytes]]:
    """(pts, content) of the video's packets."""
    with av.open(str(path)) as container:
        return [(p.pts, bytes(p)) for p in container.demux(video=0) if p.dts is not None or p.size]


def read(path: Path, **options: float) -> tuple[FrameReader, list[int], list[np.ndarray]]:
    with read_frames(probe(path), **options) as reader:  # type: ignore[arg-type]
        frames = list(reader)
    return reader, [frame.pts for frame in frames], [frame.rgb for frame in frames]


def without_content(path: Path, numbers: list[int]) -> Path:
    """An MP4 of one track and one chunk, whose header comes last, with nothing in some samples."""
    data = bytearray(path.read_bytes())
    content = data.index(b"mdat") - 4
    table = data.index(b"stsz") + 16
    sizes = list(struct.unpack_from(f">{len(packets(path))}I", data, table))
    (begin,) = struct.unpack_from(">I", data, data.index(b"stco") + 12)
    for number in sorted(numbers, reverse=True):
        struct.pack_into(">I", data, table + 4 * number, 0)
        start = begin + sum(sizes[:number])
        del data[start : start + sizes[number]]
        table -= sizes[number]
    struct.pack_into(
        ">I", data, content, struct.unpack_from(">I", data, content)[0] - sum(sizes[n] for n in numbers)
    )
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("empty", [[8], [1, 2, 3, 20], list(range(5, 24)), [22, 23, 24]])
@pytest.mark.parametrize("codec", ["mjpeg", "png"])
def test_empty_packets_repeat_the_picture_before(codec: str, empty: list[int], tmp_path: Path) -> None:
    """Reading used to end at the first of them, for the decoder takes an empty packet for the end."""
    path = without_content(film(tmp_path / "a.mov", "-c:v", codec), empty)
    reader, pts, pictures = read(path)
    assert pts == list(range(0, 25 * 512, 512))
    for number in range(1, 25):
        assert np.array_equal(pictures[number], pictures[number - 1]) == (number in empty)
    assert reader.repeated_frames == len(empty)
    assert reader.missing_frames == reader.corrupt_frames == 0
    assert any("repeat pictures" in note for note in reader.notes)
    with read_frames(probe(path), start_s=0.3, end_s=0.9) as part:  # 0.32 to 0.88 s
        assert [frame.pts for frame in part] == pts[8:23]


def test_an_empty_packet_before_all_pictures_is_counted_as_lost(tmp_path: Path) -> None:
    path = without_content(film(tmp_path / "a.mov", "-c:v", "mjpeg"), [0, 1])
    reader, pts, _ = read(path)
    assert pts[0] == 1024
    assert len(pts) == 23
    assert reader.corrupt_frames == 2
    assert reader.missing_frames == 0


def test_theora_repeats_by_empty_packets(tmp_path: Path) -> None:
    path = tmp_path / "a.ogv"
    still = ["-f", "lavfi", "-i", "color=red:size=32x32:rate=25:duration=1"]
    run_ffmpeg(["-v", "error", *still, "-c:v", "libtheora", str(path)], doing="making a test file")
    reader, pts, _ = read(path)
    assert pts == list(range(25))
    assert reader.repeated_frames > 10
    assert reader.missing_frames == 0


def test_theora_of_others_repeats_by_empty_packets(shared: Path) -> None:
    reader, pts, _ = read(shared / "data" / "media_faults" / "0467_pattern.ogv")
    assert pts == list(range(97))
    assert reader.missing_frames == 0


@pytest.mark.parametrize("hit", [0, 5, 9, 11])
@pytest.mark.parametrize(("name", "codec"), [("a.mov", "png"), ("a.webm", "libvpx-vp9"), ("a.mkv", "tiff")])
def test_damage_costs_one_frame_whatever_the_threads(name: str, codec: str, hit: int, tmp_path: Path) -> None:
    """Decoders with several threads lose the frames in flight, too, and those left at the end."""
    path = film(tmp_path / name, "-c:v", codec, "-g", "1", "-frames:v", "12")
    found = packets(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(found[hit][1], b"\xff" * len(found[hit][1])))
    reader, pts, _ = read(path)
    assert pts == [time for number, (time, _) in enumerate(found) if number != hit]
    assert reader.corrupt_frames == 1
    assert reader.missing_frames == 0


def reordered_late(folder: Path) -> Path:
    """Raw H.264 whose first half has no B-frames and whose second has a pyramid, without reorder depth in its headers."""
    common = "ref=4:keyint=25:scenecut=0:weightp=0"
    flat = film(folder / "1.h264", "-c:v", "libx264", "-x264-params", f"bframes=0:{common}")
    pyramid = f"bframes=5:b-adapt=0:b-pyramid=normal:{common}"
    steep = film(folder / "2.h264", "-c:v", "libx264", "-x264-params", pyramid)
    path = folder / "late.h264"
    path.write_bytes(b"".join(_without_restriction(part.read_bytes()) for part in (flat, steep)))
    return path


def _without_restriction(stream: bytes) -> bytes:
    """A stream of x264 whose parameter set has no bitstream restriction, the last thing in it (ITU-T H.264, E.1.1).

    Of its flag (1), of vectors over the borders (1), no limits of bytes and bits (ue 0 = 1, twice), the range of vectors
    (ue 8, twice) and the two depths, which are all to go, the flag is kept as 0.
    """
    start = stream.index(b"\x00\x00\x01\x67") + 3
    end = stream.index(b"\x00\x00\x01", start)
    unit = stream[start:end].rstrip(b"\0").replace(b"\0\0\x03", b"\0\0")
    bits = "".join(f"{byte:08b}" for byte in unit)
    kept = bits[: bits.rindex("1111" + 2 * "0001001")] + "01"  # and the stop bit
    kept += "0" * (-len(kept) % 8)
    escaped, zeros = bytearray(), 0
    for byte in (int(kept[at : at + 8], 2) for at in range(0, len(kept), 8)):
        if zeros >= 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return stream[:start] + bytes(escaped) + stream[end:]


def in_matroska(raw: Path) -> Path:
    """``raw`` H.264 in a container that says when its packets are shown."""
    path = raw.with_suffix(".mkv")
    with av.open(str(raw)) as container, av.open(str(path), "w") as output:
        stream = container.streams.video[0]
        stream.codec_context.options = {"strict": "strict"}
        coded = [packet for packet in container.demux(stream) if packet.size]
        for number, packet in enumerate(coded):
            packet.pts = packet.dts = number
        order = [frame.pts for packet in [*coded, None] for frame in stream.codec_context.decode(packet)]
        out = output.add_stream_from_template(stream)
        for number, packet in enumerate(coded):
            packet.stream, packet.time_base = out, out.time_base
            step = round(1 / (25 * out.time_base))
            packet.pts, packet.dts = (order.index(number) + 8) * step, number * step
            output.mux(packet)
    return path


def test_a_b_pyramid_that_begins_late_loses_no_frame(tmp_path: Path) -> None:
    raw = reordered_late(tmp_path)
    for path in (raw, in_matroska(raw)):
        reader, pts, _ = read(path)
        assert len(pts) == len(packets(path)) == 50
        assert len(set(np.diff(pts))) == 1
        assert reader.missing_frames == 0


def test_frames_that_a_decoder_drops_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count comes from a pass over the packets: a decoder that drops frames silently is noticed, in a range, too."""
    path = in_matroska(reordered_late(tmp_path))
    monkeypatch.setattr(decode, "open_decoder", lambda stream, has_alpha: stream.codec_context)
    reader, pts, _ = read(path)
    assert len(pts) == 48
    assert reader.missing_frames == 2
    assert any("holds 50, 2 of them are missing" in note for note in reader.notes)
    assert read(path, start_s=0.5, end_s=2.0)[0].missing_frames == 2
    assert read(path, start_s=0.5, end_s=1.2)[0].missing_frames == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("alt-ref.webm", ["-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "10"]),
        ("alt-ref-9.webm", ["-c:v", "libvpx-vp9", "-auto-alt-ref", "1", "-lag-in-frames", "16"]),
        ("fields.mkv", ["-c:v", "libx264", "-flags", "+ildct+ilme", "-x264-params", "interlaced=1"]),
        ("fields.ts", ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-bf", "2"]),
        ("b.ts", ["-c:v", "libx264"]),
        ("b.mov", ["-c:v", "libx265", "-x265-params", "log-level=none"]),
        ("b.avi", ["-c:v", "mpeg4", "-bf", "2"]),
        ("a.gif", []),
        ("a.mkv", ["-c:v", "libsvtav1", "-svtav1-params", "lp=1"]),
        ("a.flv", ["-c:v", "flv1"]),
    ],
)
def test_no_frame_of_a_sound_film_is_called_missing(name: str, arguments: list[str], tmp_path: Path) -> None:
    path = film(tmp_path / name, *arguments)
    source = probe(path)
    with read_frames(source) as reader:
        assert len(list(reader)) == 25
    assert reader.missing_frames == 0
    assert not [note for note in reader.notes if "nterlaced" not in note]
    with read_frames(source, start_s=0.2, end_s=0.6) as reader:
        assert 9 <= len(list(reader)) <= 11
    assert reader.missing_frames == 0
    held = count_pictures(source)
    assert held is not None
    assert held == 25 or "fields" in name


def test_a_film_in_the_real_world_with_hidden_packets(shared: Path) -> None:
    reader, pts, _ = read(shared / "data" / "media_faults" / "0355_roadtrip-vp92-10bit.webm")
    assert len(pts) == 72
    assert reader.missing_frames == 0


@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
def test_an_edit_list_that_trims_the_end_is_no_truncation(codec: str, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mov", "-c:v", codec, "-bf", "0")
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    (shown,) = struct.unpack_from(">I", data, at + 12)
    struct.pack_into(">I", data, at + 12, shown * 2 // 5)
    path.write_bytes(data)
    reader, pts, _ = read(path)
    assert len(pts) == 10
    assert reader.notes == ()
    assert probe(path).video.frame_count_hint == 10


def test_a_file_that_is_cut_off_is_still_called_so(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mov", "-c:v", "mjpeg", "-movflags", "+faststart")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    reader, pts, _ = read(path)
    assert len(pts) < 20
    assert any("announces 25 frames" in note for note in reader.notes)


@pytest.mark.parametrize(
    ("name", "rate", "arguments"),
    [
        ("a.h264", "24", ["-c:v", "libx264", "-bf", "2"]),
        ("a.h264", "30000/1001", ["-c:v", "libx264", "-bf", "0"]),
        ("a.hevc", "24000/1001", ["-c:v", "libx265", "-x265-params", "log-level=none"]),
        ("a.m4v", "12", ["-c:v", "mpeg4", "-bf", "2", "-f", "m4v"]),
        ("a.m4v", "30000/1001", ["-c:v", "mpeg4", "-bf", "0", "-f", "m4v"]),
        ("a.m2v", "24", ["-c:v", "mpeg2video", "-bf", "2"]),
    ],
)
def test_a_raw_stream_has_the_rate_that_it_states(
    name: str, rate: str, arguments: list[str], tmp_path: Path
) -> None:
    source = probe(film(tmp_path / name, *arguments, rate=rate))
    assert str(source.video.average_rate) == rate
    with read_frames(source) as reader:
        pts = [frame.pts for frame in reader]
    assert set(np.diff(pts)) == {1 / (source.video.average_rate * source.video.time_base)}
    assert reader.repaired_timestamps == 0
    assert reader.notes == ()
    with read_frames(source, start_s=0.5, end_s=0.75) as reader:
        times = [frame.pts * source.video.time_base - Fraction(source.start_s) for frame in reader]
    step = 1 / Fraction(rate)
    assert Fraction(1, 2) <= times[0] < Fraction(1, 2) + step
    assert Fraction(3, 4) - step <= times[-1] < Fraction(3, 4)


def test_raw_streams_that_were_read_at_the_demuxers_rate(shared: Path) -> None:
    folder = shared / "data" / "media_faults"
    assert probe(folder / "0529_tos.h264").video.average_rate == 24
    _, pts, _ = read(folder / "0202_frame0123.m4v")
    assert np.diff(pts).tolist() == [48000] * 4


def test_a_raw_stream_without_a_rate_says_what_is_assumed(tmp_path: Path) -> None:
    source = probe(film(tmp_path / "a.mjpeg", "-c:v", "mjpeg", rate="30"))
    assert source.video.average_rate == 25
    assert any("25 frames a second are assumed" in note for note in source.notes)


def grey(path: Path, codec: str, pix_fmt: str) -> Path:
    """A ramp from black to white in full range, in a stream that does not say its range."""
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    frame = av.VideoFrame.from_ndarray(ramp, "gray")
    if pix_fmt != "gray":
        frame = frame.reformat(format=pix_fmt, src_color_range=2, dst_color_range=2)
    frame.color_range = 0
    frame.pts = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.nut", "rawvideo", "gray"),
        ("a.avi", "rawvideo", "gray"),
        ("a.nut", "rawvideo", "gray10le"),
        ("a.nut", "rawvideo", "gray16be"),
        ("a.nut", "rawvideo", "ya8"),
        ("a.nut", "rawvideo", "monob"),
        ("a.avi", "magicyuv", "gray"),
        ("a.mkv", "jpeg2000", "gray"),
        ("a.mkv", "jpeg2000", "gray16le"),
        ("a.mkv", "jpeg2000", "ya8"),
        ("a.mkv", "ffv1", "gray"),
        ("a.mkv", "ffv1", "gray16le"),
    ],
)
def test_grey_without_tags_is_full_range(name: str, codec: str, pix_fmt: str, tmp_path: Path) -> None:
    path = grey(tmp_path / name, codec, pix_fmt)
    assert probe(path).video.effective_color.range == 2
    _, _, (picture,) = read(path)
    assert -1e-6 < picture.min() < 0.001
    assert 0.999 < picture.max() < 1 + 1e-6


def test_grey_whose_standard_says_limited_stays_so() -> None:
    tags = ColorTags()
    assert tags.resolved("gray", 64, 48, "h264").range == tags.resolved("gray10le", 64, 48, "hevc").range == 1
    assert tags.resolved("gray", 64, 48, "rawvideo").range == tags.resolved("ya8", 64, 48).range == 2
    assert ColorTags(range=1).resolved("gray", 64, 48).range == 1


def sources(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    """The same second at 25 frames a second as a film, as raw pictures on standard input and as an image sequence."""
    path = film(folder / "a.mp4", "-c:v", "libx264")
    (folder / "frames").mkdir()
    run_ffmpeg(["-v", "error", "-i", str(path), str(folder / "frames" / "%03d.png")], doing="making pictures")
    run_ffmpeg(["-v", "error", "-i", str(path), str(folder / "a.y4m")], doing="making a stream")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((folder / "a.y4m").read_bytes())))
    return [probe(path), probe("-"), probe(folder / "frames", fps=Fraction(25))]


@pytest.mark.parametrize(
    ("start_s", "end_s", "said"),
    [
        (5.0, None, r"no frame from 5 s, its last frame is at 0\.960 s"),
        (1.0, 2.0, r"no frame from 1 s to 2 s, its last frame is at 0\.960 s"),
        (0.5, 0.51, r"no frame from 0\.5 s to 0\.51 s, the nearest frames are at 0\.480 s and 0\.520 s"),
    ],
)
def test_a_range_without_frames_is_one_sentence_for_every_input(
    start_s: float, end_s: float | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in sources(tmp_path, monkeypatch):
        with (
            pytest.raises(InputError, match=said),
            read_frames(source, start_s=start_s, end_s=end_s) as frames,
        ):
            next(frames)


@pytest.mark.parametrize(("start_s", "end_s"), [(0.48, 0.52), (0.4801, 0.5204), (0.0, 0.04)])
def test_times_that_are_rounded_to_milliseconds_find_their_frame(
    start_s: float, end_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in sources(tmp_path, monkeypatch):
        with read_frames(source, start_s=start_s, end_s=end_s) as frames:
            assert len(list(frames)) == 1


def test_a_stream_without_frames_gets_no_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.BytesIO()
    source = sources(tmp_path, monkeypatch)[0]
    writer = Y4mWriter(output, y4m_settings(source, 64, 48))
    assert output.getvalue() == b""
    for number in range(2):
        writer.write(np.zeros((48, 64, 3), np.float32), number * 512)
    assert output.getvalue().count(b"YUV4MPEG2") == 1
    assert output.getvalue().count(b"FRAME\n") == 2
