"""Image sequences in and out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rvrt_cli.errors import InputError, OutputError, UsageError
from rvrt_cli.media import ImageSequenceWriter, probe, read_frames
from rvrt_cli.media.images import silence


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_written_pictures_read_back_exactly(bits: int, with_alpha: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    peak = (1 << bits) - 1
    pictures = [rng.integers(0, peak + 1, (5, 7, 4)).astype(np.float32) / np.float32(peak) for _ in range(3)]
    writer = ImageSequenceWriter(tmp_path / "frames" / "%04d.png", bit_depth=bits)
    for number, picture in enumerate(pictures):
        path = writer.write(picture[..., :3], number, picture[..., 3] if with_alpha else None)
        assert path.name == f"{number + 1:04d}.png"
    source = probe(tmp_path / "frames", fps=Fraction(30))
    assert (source.kind, source.video.bit_depth, source.video.has_alpha, source.video.frame_count_hint) == (
        "images",
        bits,
        with_alpha,
        3,
    )
    assert source.video.average_rate == 30
    with read_frames(source) as frames:
        for frame, picture in zip(frames, pictures, strict=True):
            np.testing.assert_allclose(frame.rgb, picture[..., :3], atol=0.1 / peak)
            if with_alpha:
                assert frame.alpha is not None
                np.testing.assert_allclose(frame.alpha, picture[..., 3], atol=0.1 / peak)
            else:
                assert frame.alpha is None
    assert not [p for p in (tmp_path / "frames").iterdir() if ".part" in p.name]


def test_values_outside_the_range_are_clipped(tmp_path: Path) -> None:
    path = ImageSequenceWriter(tmp_path / "one.png").write(
        np.full((2, 2, 3), (-0.5, 0.5, 1.5), np.float32), 0
    )
    assert path == tmp_path / "one.png"
    np.testing.assert_array_equal(cv2.imread(str(path))[0, 0], (255, 128, 0))


def test_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 10, 9):
        cv2.imwrite(str(tmp_path / f"f{number}.png"), np.full((3, 3, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    for given in (tmp_path, tmp_path / "f%d.png"):
        assert [p.name for p in probe(given).images] == ["f1.png", "f2.png", "f9.png", "f10.png"]
    assert [p.name for p in probe(tmp_path / "f%02d.png").images] == ["f10.png"]
    assert len(probe(tmp_path / "f2.png").images) == 1


def test_gray_and_jpeg(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((4, 6), 77, np.uint8))
    with read_frames(probe(tmp_path / "a.jpg")) as frames:
        rgb = next(frames).rgb
    assert rgb.shape == (4, 6, 3)
    assert np.ptp(rgb) < 0.02


def test_a_truncated_picture_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "1.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="is damaged"):
        probe(path)
    assert capfd.readouterr() == ("", "")


def test_opencv_is_silenced_in_its_old_and_its_new_place() -> None:
    """4.13, which Python 3.13 gets, has no ``cv2.setLogLevel``."""
    levels: list[int] = []
    silence(SimpleNamespace(setLogLevel=levels.append))
    silence(SimpleNamespace(utils=SimpleNamespace(logging=SimpleNamespace(setLogLevel=levels.append))))
    assert levels == [0, 0]


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures and no videos"):
        probe(tmp_path)
    with pytest.raises(InputError, match="holds no pictures"):
        probe(tmp_path / "none" / "%05d.png")
    with pytest.raises(UsageError, match="frame number"):
        probe(tmp_path / "%s.png")
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UsageError, match="positive"):
        probe(tmp_path, fps=Fraction(-1))
    (tmp_path / "2.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(InputError, match=r"2\.png is damaged"), read_frames(probe(tmp_path)) as frames:
        list(frames)
    cv2.imwrite(str(tmp_path / "2.png"), np.zeros((5, 4, 3), np.uint8))
    with pytest.raises(InputError, match="the same size"), read_frames(probe(tmp_path)) as frames:
        list(frames)
    (tmp_path / "2.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"2\.png"), read_frames(probe(tmp_path)) as frames:
        list(frames)


def test_bad_output_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="8 or 16"):
        ImageSequenceWriter(tmp_path, bit_depth=10)
    with pytest.raises(UsageError, match="pattern"):
        ImageSequenceWriter(tmp_path / "%s.png")
    with pytest.raises(UsageError, match="pattern"):
        ImageSequenceWriter(tmp_path / "%05d.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be created"):
        ImageSequenceWriter(tmp_path / "file" / "%05d.png")
    assert (
        ImageSequenceWriter(tmp_path / "out", first_number=0).path_of(7) == tmp_path / "out" / "00000007.png"
    )
