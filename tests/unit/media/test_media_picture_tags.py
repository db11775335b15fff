"""EXIF orientation and ICC profiles of pictures."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from rvrt_cli.cli import app as cli
from rvrt_cli.media import ImageSequenceWriter, probe, read_frames, run_ffmpeg
from rvrt_cli.media.picture_tags import exif_orientation, foreign_profile

# A picture with four different corners: red, green, blue, white (clockwise from the top left), in BGR.
UPRIGHT = np.zeros((32, 48, 3), np.uint8)
UPRIGHT[:16, :24], UPRIGHT[:16, 24:], UPRIGHT[16:, 24:], UPRIGHT[16:, :24] = (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255)  # fmt: skip
# What a camera stores for each orientation, in OpenCV's words.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda p: p,
    2: lambda p: cv2.flip(p, 1),
    3: lambda p: cv2.rotate(p, cv2.ROTATE_180),
    4: lambda p: cv2.flip(p, 0),
    5: cv2.transpose,
    6: lambda p: cv2.rotate(p, cv2.ROTATE_90_COUNTERCLOCKWISE),
    7: lambda p: cv2.rotate(cv2.transpose(p), cv2.ROTATE_180),
    8: lambda p: cv2.rotate(p, cv2.ROTATE_90_CLOCKWISE),
}


def exif(orientation: int, order: str) -> bytes:
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)


def jpeg_with(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    return data[:2] + b"".join(struct.pack(">BBH", 255, k, len(b) + 2) + b for k, b in segments) + data[2:]


def png_with(data: bytes, kind: bytes, block: bytes) -> bytes:
    """The chunk is put behind the header, which is 33 bytes long with the signature."""
    chunk = struct.pack(">I", len(block)) + kind + block + struct.pack(">I", zlib.crc32(kind + block))
    return data[:33] + chunk + data[33:]


def webp_with(data: bytes, kind: bytes, block: bytes) -> bytes:
    body = data[8:] + kind + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def coded(suffix: str, picture: np.ndarray, *parameters: int) -> bytes:
    return bytes(cv2.imencode(suffix, picture, parameters)[1])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(suffix: str, orientation: int, tmp_path: Path) -> None:
    """OpenCV's own decoder, which knows EXIF, turns them the same way."""
    stored = STORED[orientation](UPRIGHT)
    block = exif(orientation, "<" if orientation % 2 else ">")
    if suffix == ".jpg":
        data = jpeg_with(coded(suffix, stored, cv2.IMWRITE_JPEG_QUALITY, 100), (0xE1, b"Exif\0\0" + block))
    elif suffix == ".png":
        data = png_with(coded(suffix, np.dstack([stored, stored[..., :1] // 2 + 100])), b"eXIf", block)
    else:
        data = webp_with(coded(suffix, stored, cv2.IMWRITE_WEBP_QUALITY, 101), b"EXIF", b"Exif\0\0" + block)
    assert exif_orientation(data) == orientation
    (tmp_path / f"a{suffix}").write_bytes(data)
    source = probe(tmp_path / f"a{suffix}")
    assert (source.video.width, source.video.height) == (48, 32)
    with read_frames(source) as frames:
        frame = next(frames)
    np.testing.assert_allclose(frame.rgb[4::24, 4::40], UPRIGHT[4::24, 4::40, ::-1] / 255, atol=0.02)
    if suffix == ".jpg":
        np.testing.assert_allclose(
            frame.rgb[..., ::-1] * 255,
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR),
            atol=0.01,
        )


def test_damaged_tags_are_ignored() -> None:
    plain = coded(".jpg", UPRIGHT)
    assert exif_orientation(plain) == 1
    assert exif_orientation(b"") == exif_orientation(b"\xff\xd8\xff") == exif_orientation(b"BM") == 1
    block = exif(6, "<")
    for damaged in (block[:5], block[:12], b"XX" + block[2:], exif(9, "<"), block[:4] + b"\xff\xff\xff\xff"):
        assert exif_orientation(jpeg_with(plain, (0xE1, b"Exif\0\0" + damaged))) == 1
    assert exif_orientation(png_with(coded(".png", UPRIGHT), b"eXIf", block)[:40]) == 1
    assert foreign_profile(png_with(coded(".png", UPRIGHT), b"iCCP", b"x\0\0not zlib")) == b""


def with_profile_in(suffix: str, profile: bytes) -> bytes:
    """The test picture with a profile where its format keeps it; a JPEG's is in two parts."""
    if suffix == ".jpg":
        parts = [(0xE2, b"ICC_PROFILE\0" + bytes([n, 2]) + part) for n, part in ((1, profile[:9]), (2, profile[9:]))]  # fmt: skip
        return jpeg_with(coded(suffix, UPRIGHT), *parts)
    if suffix == ".png":
        return png_with(coded(suffix, UPRIGHT), b"iCCP", b"a profile\0\0" + zlib.compress(profile))
    return webp_with(coded(suffix, UPRIGHT), b"ICCP", profile)


def profile_of(name: bytes, space: bytes = b"RGB ") -> bytes:
    """The header of an ICC profile, and something in place of its tables."""
    size = struct.pack(">I", 128 + len(name) + 40)
    return size + bytes(12) + space + bytes(16) + b"acsp" + bytes(88) + name + bytes(40)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_other_colour_profiles_are_named(suffix: str, tmp_path: Path) -> None:
    for name, plain in ((b"Display P3", False), (b"sRGB IEC61966-2.1", True), ("sRGB built-in".encode("utf-16-be"), True)):  # fmt: skip
        (tmp_path / f"a{suffix}").write_bytes(with_profile_in(suffix, profile_of(name)))
        notes = probe(tmp_path / f"a{suffix}").notes
        assert any("colour profile" in note for note in notes) != plain


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("bit_depth", [8, 16])
def test_a_profile_is_carried_into_png(suffix: str, bit_depth: int, tmp_path: Path) -> None:
    profile = profile_of(b"Display P3")
    (tmp_path / f"a{suffix}").write_bytes(with_profile_in(suffix, profile))
    source = probe(tmp_path / f"a{suffix}")
    assert source.video.icc_profile == profile
    assert any("PNG output carries it" in note for note in source.notes)
    writer = ImageSequenceWriter(tmp_path / "o.png", bit_depth=bit_depth, icc_profile=profile)
    written = writer.write(UPRIGHT[..., ::-1] / np.float32(255), 0).read_bytes()
    assert foreign_profile(written) == profile
    looking = ["-v", "info", "-i", str(tmp_path / "o.png"), "-vf", "showinfo", "-f", "null", "-"]
    said = run_ffmpeg(looking, doing="looking at a picture")  # FFmpeg checks the chunks' sums and order
    assert f"ICC profile: ({len(profile)} bytes)" in said
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "o.png"), cv2.IMREAD_COLOR), UPRIGHT)


@pytest.mark.parametrize("name", ["a.mkv", "a.mov"])
def test_a_film_of_pngs_with_a_profile_is_read(name: str, tmp_path: Path) -> None:
    """PyAV freed the profile's name twice, which ended the process."""
    (tmp_path / "a.png").write_bytes(with_profile_in(".png", profile_of(b"Display P3")))
    making = ["-v", "error", "-i", str(tmp_path / "a.png"), "-c", "copy", str(tmp_path / name)]
    run_ffmpeg(making, doing="making a test file")
    looking = f"import gc; from rvrt_cli.media import probe; v = probe({str(tmp_path / name)!r}).video; gc.collect(); print(v.codec)"
    done = subprocess.run([sys.executable, "-c", looking], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "png"), done.stderr
    with read_frames(probe(tmp_path / name)) as frames:
        np.testing.assert_allclose(next(frames).rgb, UPRIGHT[..., ::-1] / np.float32(255), atol=1e-6)


@pytest.mark.parametrize("profile", [profile_of(b"Dot Gain 20%", b"GRAY"), profile_of(b"x")[:-1], b"nothing"])
def test_a_profile_that_does_not_fit_is_only_named(profile: bytes, tmp_path: Path) -> None:
    """Grey pictures become RGB ones, which a profile of grey does not describe."""
    (tmp_path / "a.png").write_bytes(with_profile_in(".png", profile))
    source = probe(tmp_path / "a.png")
    assert source.video.icc_profile == b""
    assert any("the output does not carry it" in note for note in source.notes)


@pytest.mark.parametrize("arguments", [[], ["--frame", "0"]])
def test_the_command_carries_a_profile(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sequence of pictures, and a single one."""
    (tmp_path / "in").mkdir()
    for number in (1, 2):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(with_profile_in(".jpg", profile_of(b"Display P3")))
    output = tmp_path / "out" / ("a.png" if arguments else "%02d.png")
    output.parent.mkdir()
    command = ["rvrt", "upscale", str(tmp_path / "in"), str(output), "--model", "bicubic", *arguments]
    monkeypatch.setattr(sys, "argv", command)
    with suppress(SystemExit):
        cli.main()
    written = sorted(output.parent.iterdir())
    assert len(written) == (1 if arguments else 2)
    assert all(foreign_profile(path.read_bytes()) == profile_of(b"Display P3") for path in written)
