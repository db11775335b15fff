"""What is behind a picture's suffix: films, several pages, tiles, icons, and formats that OpenCV does not read."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from rvrt_cli.errors import InputError, RvrtError, UsageError
from rvrt_cli.imaging.images import list_images
from rvrt_cli.media import EncodeOptions, probe, read_frames, resolve_encoding, run_ffmpeg
from rvrt_cli.media.heif import read_heif
from rvrt_cli.media.images import decode_image, write_png
from rvrt_cli.media.pages import count_pages
from rvrt_cli.system.suffixes import IMAGE_SUFFIXES, OPENCV_SUFFIXES, VIDEO_SUFFIXES
from rvrt_cli.upscale.batch import is_batch

COLOURS = [(20, 100, 200), (60, 100, 160), (100, 100, 120), (140, 100, 80)]


def pictures(size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Four uint8 RGB pictures with a gradient, each of another colour."""
    ramp = np.linspace(0, 50, size[1])[None, :, None]
    return [np.broadcast_to(np.array(c) + ramp, (*size, 3)).astype(np.uint8) for c in COLOURS]


def chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def webp_frame(picture: np.ndarray, quality: int) -> bytes:
    """The chunks of one picture (BGR or BGRA) as OpenCV codes it; a quality above 100 is lossless."""
    done, coded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert done
    data = coded.tobytes()[12:]
    return data[18:] if data[:4] == b"VP8X" else data


def animated_webp(
    path: Path, frames: list[tuple[np.ndarray, tuple[int, int], int, int]], *, quality: int = 101
) -> Path:
    """``frames``: picture (BGR or BGRA), (x, y), duration in ms, flags (1: is cleared afterwards, 2: is not blended)."""
    height, width = 48, 64
    size = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    body = chunk(b"VP8X", struct.pack("<I", 0x12) + size) + chunk(b"ANIM", bytes(6))
    for picture, (x, y), shown_ms, flags in frames:
        h, w = picture.shape[:2]
        head = b"".join(n.to_bytes(3, "little") for n in (x // 2, y // 2, w - 1, h - 1, shown_ms)) + bytes(
            [flags]
        )
        body += chunk(b"ANMF", head + webp_frame(picture, quality))
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body)
    return path


def tiff(path: Path, parts: list[np.ndarray], order: str = "<", kinds: tuple[int, ...] = ()) -> Path:
    """An uncompressed TIFF of several pages; kinds: of each page, NewSubfileType."""
    data = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8))
    for number, picture in enumerate(parts):
        height, width = picture.shape[:2]
        tags = [
            (254, 4, kinds[number] if kinds else 0), (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 2),
            (273, 4, len(data) + 2 + 12 * 10 + 4), (277, 3, 3), (278, 4, height), (279, 4, picture.size),
        ]  # fmt: skip
        data += struct.pack(order + "H", len(tags))
        for tag, kind, value in tags:
            data += struct.pack(
                order + ("HHIHH" if kind == 3 else "HHII"), tag, kind, 1, value, *([0] if kind == 3 else [])
            )
        following = len(data) + 4 + picture.size
        data += struct.pack(order + "I", following if number < len(parts) - 1 else 0) + picture.tobytes()
    path.write_bytes(data)
    return path


def read(path: Path, fps: Fraction | None = None) -> tuple[list[int], list[np.ndarray]]:
    """Times in milliseconds and uint8 pictures of what a path holds."""
    source = probe(path, fps=fps)
    with read_frames(source) as frames:
        found = list(frames)
    times = [round(1000 * (f.pts - found[0].pts) * source.video.time_base) for f in found]
    return times, [np.rint(f.rgb * 255).astype(np.uint8) for f in found]


def test_all_pictures_of_an_animated_webp_are_read(tmp_path: Path) -> None:
    frames = [(p[..., ::-1], (0, 0), ms, 0) for p, ms in zip(pictures(), (40, 80, 0, 120), strict=True)]
    path = animated_webp(tmp_path / "a.webp", frames)
    times, found = read(path)
    assert times == [0, 40, 120, 220]  # 0 ms are shown for 100, as browsers do
    np.testing.assert_array_equal(found, pictures())
    assert probe(path).video.average_rate == Fraction(4000, 340)
    assert probe(path).duration_s == 0.34
    assert read(path, Fraction(10))[0] == [0, 100, 200, 300]


@pytest.mark.parametrize("quality", [101, 90])
def test_frames_of_an_animated_webp_are_laid_over_each_other(quality: int, tmp_path: Path) -> None:
    """Parts of a picture, half transparent ones, and such that vanish afterwards."""
    ground = pictures()[0][..., ::-1]
    patch = np.full((16, 20, 4), (0, 255, 0, 255), np.uint8)
    half = np.full((16, 20, 4), (255, 0, 0, 128), np.uint8)
    path = animated_webp(
        tmp_path / "a.webp",
        [
            (ground, (0, 0), 50, 0),
            (patch, (10, 8), 50, 0),
            (half, (10, 8), 50, 0),
            (half, (40, 20), 50, 3),
            (patch, (0, 0), 50, 2),
        ],
        quality=quality,
    )
    source = probe(path)
    with read_frames(source) as frames:
        found = [(f.rgb * 255, f.alpha * 255) for f in frames if f.alpha is not None]
    assert len(found) == 5
    near = 0.6 if quality > 100 else 8
    assert np.allclose(found[1][0][12, 15], (0, 255, 0), atol=near)
    assert np.allclose(found[1][0][40, 15], pictures()[0][40, 15], atol=near)
    assert np.allclose(found[2][0][12, 15], (0, 127, 128), atol=near)
    assert found[3][1][25, 45] == 128
    assert found[4][1][25, 45] == 0
    assert found[4][1][40, 5] == 255


@pytest.mark.parametrize("order", ["<", ">"])
def test_all_pages_of_a_tiff_are_read(order: str, tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", pictures(), order)
    times, found = read(path, Fraction(10))
    assert times == [0, 100, 200, 300]
    np.testing.assert_array_equal(found, pictures())


def test_smaller_versions_in_a_tiff_are_no_pages(tmp_path: Path) -> None:
    small = pictures()[1][::2, ::2].copy()
    path = tiff(tmp_path / "a.tif", [pictures()[0], small, pictures()[2]], kinds=(0, 1, 4))
    assert count_pages(path).count == 1
    np.testing.assert_array_equal(read(path)[1], pictures()[:1])


def test_pages_of_different_sizes_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 pages of different sizes"):
        probe(tiff(tmp_path / "a.tif", [pictures()[0], pictures()[1][::2, ::2].copy()]))


def film(path: Path, *arguments: str, frames: int = 4) -> Path:
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10,hue=h=40*n"]
    run_ffmpeg(
        ["-v", "error", "-y", *source, "-frames:v", str(frames), *arguments, str(path)],
        doing="making a test file",
    )
    return path


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("a.png", ["-f", "apng"]), ("a.gif", []), ("a.avif", ["-c:v", "libsvtav1", "-svtav1-params", "lp=1"])],
)
def test_films_behind_a_pictures_suffix_are_films(name: str, arguments: list[str], tmp_path: Path) -> None:
    path = film(tmp_path / name, *arguments)
    source = probe(path)
    assert source.kind == "video"
    assert [stream.kind for stream in source.streams] == ["video"]
    times, found = read(path)
    assert times == [0, 100, 200, 300]
    assert len(found) == 4


def test_the_still_picture_of_an_avif_film_is_no_part_of_it(shared: Path) -> None:
    source = probe(shared / "data" / "media_faults" / "0684_four-colors-flip.avif")
    assert [stream.index for stream in source.streams] == [source.video.index] == [1]
    assert source.video.frame_count_hint == 7
    assert source.notes == ()


def test_an_animated_picture_in_a_sequence_is_named(tmp_path: Path) -> None:
    for number, picture in enumerate(pictures()[:2]):
        write_png(tmp_path / f"{number}.png", picture / np.float32(255), None, 8)
    film(tmp_path / "2.png", "-f", "apng")
    source = probe(tmp_path)
    assert len(source.images) == 3
    assert any("Several pictures lie in 2.png; the first one is taken" in note for note in source.notes)
    for number in range(2):
        (tmp_path / f"{number}.png").unlink()
    assert any("2.png" in note for note in probe(tmp_path).notes)


def avif(path: Path, *arguments: str) -> Path:
    return film(path, "-c:v", "libsvtav1", "-svtav1-params", "lp=1", *arguments, frames=1)


def rewritten(path: Path, change: dict[bytes, bytes], add: bytes = b"") -> Path:
    """An AVIF still whose parts are replaced by others of the same length; ``add`` is put behind its properties."""
    data = path.read_bytes()
    for before, after in change.items():
        assert before in data
        assert len(before) == len(after)
        data = data.replace(before, after)
    if add:
        at = data.index(b"ipco") - 4
        size = int.from_bytes(data[at : at + 4], "big")
        sizes = {
            place - 4: int.from_bytes(data[place - 4 : place], "big")
            for place in map(data.index, (b"meta", b"iprp", b"ipco"))
        }
        number = _boxes_in(data[at + 8 : at + size]) + 1
        ipma = data.index(b"ipma")
        length = int.from_bytes(data[ipma - 4 : ipma], "big")
        count = data[ipma + 14]
        entry = bytes([0x80 | number])
        new = bytearray(data)
        new[ipma + 14] = count + 1
        new[ipma + length - 4 : ipma + length - 4] = entry
        new[ipma - 4 : ipma] = (length + 1).to_bytes(4, "big")
        new[at + size : at + size] = add
        for place, was in sizes.items():
            grown = len(add) + (0 if place == at else 1)
            new[place : place + 4] = (was + grown).to_bytes(4, "big")
        item = new.index(b"iloc")
        (offset,) = struct.unpack_from(">I", new, item + 18)
        struct.pack_into(">I", new, item + 18, offset + len(add) + 1)
        data = bytes(new)
    path.write_bytes(data)
    return path


def _boxes_in(data: bytes) -> int:
    count = position = 0
    while position < len(data):
        position += int.from_bytes(data[position : position + 4], "big")
        count += 1
    return count


def test_a_still_avif_is_a_picture(tmp_path: Path) -> None:
    path = avif(tmp_path / "a.avif", "-crf", "1")
    source = probe(path)
    assert source.kind == "images"
    assert (source.video.width, source.video.height, source.video.has_alpha) == (
        64,
        48,
        False,
    )
    (found,) = read(path)[1]
    with av.open(str(film(tmp_path / "a.mkv", "-c:v", "ffv1", frames=1))) as container:
        wanted = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert (
        np.median(np.abs(found.astype(int) - wanted)) < 3
    )  # BT.601, as the standard has it where the file does not say


def test_a_picture_made_of_tiles_is_refused_at_once(tmp_path: Path) -> None:
    """Phones store pictures of 12 megapixels as a grid; FFmpeg gives the tiles, each as a film of its own."""
    path = rewritten(avif(tmp_path / "a.avif"), {b"\0\0av01": b"\0\0grid"})
    heif = read_heif(path)
    assert heif is not None
    assert heif.kind == b"grid"
    for name in ("a.avif", "b.heic", "c.bin"):
        path = path.rename(tmp_path / name)
        with pytest.raises(InputError, match=r"put together from tiles.*convert it to PNG first"):
            probe(path)


@pytest.mark.parametrize(
    ("turn", "wanted"), [(1, np.rot90), (2, lambda p: np.rot90(p, 2)), (3, lambda p: np.rot90(p, 3))]
)
def test_an_avif_is_turned_as_it_says(turn: int, wanted: object, tmp_path: Path) -> None:
    plain = decode_image(avif(tmp_path / "a.avif"))
    turned = decode_image(rewritten(avif(tmp_path / "b.avif"), {}, struct.pack(">I4sB", 9, b"irot", turn)))
    np.testing.assert_array_equal(turned, wanted(plain))  # type: ignore[operator]


def test_the_largest_picture_of_an_icon_is_taken(shared: Path, tmp_path: Path) -> None:
    assert probe(shared / "data" / "media_faults" / "0853_MediaInfo.ico").video.width == 256
    sides = (16, 64, 32)
    coded = [
        cv2.imencode(".png", np.full((side, side, 4), (10, side, 200, 255), np.uint8))[1].tobytes()
        for side in sides
    ]
    head, body = struct.pack("<HHH", 0, 1, 3), b"".join(coded)
    offset = 6 + 16 * 3
    for side, data in zip(sides, coded, strict=True):
        head += struct.pack("<BBBBHHII", side, side, 0, 0, 1, 32, len(data), offset)
        offset += len(data)
    (tmp_path / "a.ico").write_bytes(head + body)
    picture = decode_image(tmp_path / "a.ico")
    assert picture.shape == (64, 64, 4)
    assert picture[5, 5].tolist() == [200, 64, 10, 255]


@pytest.mark.parametrize(
    "suffix", [".tga", ".jfif", ".ppm", ".pgm", ".avif", ".jp2", ".webp", ".bmp", ".ico"]
)
def test_folders_of_every_kind_of_picture_are_sequences(suffix: str, tmp_path: Path) -> None:
    for number in range(2):
        path = tmp_path / f"f{number}{suffix}"
        if suffix == ".tga":
            picture = pictures()[number]
            path.write_bytes(
                struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 64, 48, 24, 0x20)
                + picture[..., ::-1].tobytes()
            )
        elif suffix == ".avif":
            avif(path)
        elif suffix == ".ico":
            film(path, "-c:v", "bmp", "-pix_fmt", "bgra", frames=1)
        else:
            kind = {".jfif": ".jpg"}.get(suffix, suffix)
            picture = pictures()[number][..., 0] if suffix == ".pgm" else pictures()[number][..., ::-1]
            path.write_bytes(cv2.imencode(kind, picture)[1].tobytes())
    source = probe(tmp_path)
    assert source.kind == "images"
    assert len(source.images) == 2
    assert not is_batch(str(tmp_path))
    with read_frames(source) as frames:
        first = next(frames).rgb * 255
    if suffix in (".tga", ".ppm", ".bmp"):
        np.testing.assert_allclose(first, pictures()[0], atol=0.01)


def test_one_list_of_suffixes_says_what_a_folder_holds(tmp_path: Path) -> None:
    assert not IMAGE_SUFFIXES & VIDEO_SUFFIXES
    assert OPENCV_SUFFIXES < IMAGE_SUFFIXES
    for suffix in OPENCV_SUFFIXES:
        (tmp_path / f"a{suffix}").touch()
    assert {path.suffix for path in list_images(tmp_path)} == OPENCV_SUFFIXES


def test_a_picture_that_opencv_refuses_and_one_thread_decodes(shared: Path) -> None:
    assert decode_image(shared / "data" / "media_faults" / "0845_testJPEG.jp2").shape[:2] == (75, 100)


def test_grey_pictures_have_the_full_range(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    for name in ("a.pgm", "a.png", "a.tif"):
        cv2.imwrite(str(tmp_path / name), ramp)
        np.testing.assert_array_equal(decode_image(tmp_path / name)[..., 0], ramp)
    for pix_fmt, peak in (("gray", 255), ("ya8", 255), ("gray16le", 65535)):
        grey = [
            "-f",
            "lavfi",
            "-i",
            "gradients=s=64x48:x0=0:x1=64:y0=0:y1=0:c0=black:c1=white:n=2",
            "-frames:v",
            "1",
        ]
        path = tmp_path / f"{pix_fmt}.jp2"
        run_ffmpeg(
            ["-v", "error", *grey, "-pix_fmt", pix_fmt, "-c:v", "jpeg2000", str(path)],
            doing="making a picture",
        )
        picture = decode_image(path)[..., :3]
        assert picture.min() < 0.02 * peak
        assert picture.max() > 0.98 * peak


def huge(path: Path, width: int, height: int) -> Path:
    """A PNG that announces a size and has no pixels."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (content, data, b"IEND")
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def test_the_size_of_a_large_picture_is_known_before_it_is_decoded(tmp_path: Path) -> None:
    source = probe(huge(tmp_path / "a.png", 18040, 14172))
    assert (source.video.width, source.video.height, source.video.pix_fmt) == (18040, 14172, "gbrp")
    with pytest.raises(RvrtError):
        decode_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("codec", "width", "height", "refused"),
    [
        (None, 21888, 14592, "no video holds"),
        ("ffv1", 18000, 18000, "no video holds"),
        ("ffv1", 16384, 15000, None),
        ("h264", 16384, 64, None),
        ("h264", 16386, 64, "at most 16384x16384"),
        ("h264", 64, 16386, "at most 16384x16384"),
        ("av1", 64, 8704, None),
        ("av1", 64, 8706, "at most 16384x8704"),
        ("vp9", 65534, 64, None),
        ("vp9", 65536, 64, "at most 65535x65535"),
    ],
)
def test_sizes_that_nothing_can_hold_are_refused_before_the_work(
    codec: str | None, width: int, height: int, refused: str | None, tmp_path: Path
) -> None:
    write_png(tmp_path / "a.png", np.zeros((16, 16, 3), np.float32), None, 8)
    source = probe(tmp_path / "a.png")
    if refused is None:
        assert resolve_encoding(source, EncodeOptions(codec=codec), "o.mkv", width, height).width == width
    else:
        with pytest.raises(UsageError, match=refused):
            resolve_encoding(source, EncodeOptions(codec=codec), "o.mkv", width, height)


def test_the_transparency_of_an_avif_film_is_named(tmp_path: Path) -> None:
    """It is a grey track beside the film, which would have been copied as a second film."""
    path = tmp_path / "a.avif"
    film(tmp_path / "a.mkv", "-c:v", "libsvtav1", "-svtav1-params", "lp=1")
    grey = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10", "-frames:v", "4", "-pix_fmt", "gray10le"]
    run_ffmpeg(
        ["-v", "error", *grey, "-c:v", "libx265", "-x265-params", "log-level=none", str(tmp_path / "b.mp4")],
        doing="making a mask",
    )
    both = [
        "-i",
        str(tmp_path / "a.mkv"),
        "-i",
        str(tmp_path / "b.mp4"),
        "-map",
        "0:v",
        "-map",
        "1:v",
        "-c",
        "copy",
    ]
    run_ffmpeg(["-v", "error", *both, str(tmp_path / "both.mp4")], doing="making a test file")
    data = (tmp_path / "both.mp4").read_bytes()
    path.write_bytes(data[:8] + b"avis" + data[12:])
    source = probe(path)
    assert [stream.index for stream in source.streams] == [0]
    assert any("transparency lies in a track of its own" in note for note in source.notes)
