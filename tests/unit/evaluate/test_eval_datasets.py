"""Finding the clips of a data set, and one clear sentence for everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rvrt_cli.errors import InputError, UsageError
from rvrt_cli.evaluate.datasets import load_clip, open_dataset
from rvrt_cli.evaluate.protocols import PROTOCOLS, Protocol, find_protocol, find_published
from rvrt_cli.imaging.resize import imresize_u8

FOLDER, VIMEO, VID4, REDS4 = (PROTOCOLS[name] for name in ("folder", "vimeo90k", "vid4", "reds4"))


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def noise(seed: int, height: int = 32, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for clip in ("a", "b"):
        for frame in range(4):
            write(tmp_path / "GT" / clip / f"{frame:08d}.png", noise(frame))
            write(tmp_path / "BIx4" / clip / f"{frame:08d}.png", noise(frame, 8, 10))
    return tmp_path


def test_protocols_state_themselves() -> None:
    assert "centre frame" in VIMEO.statement
    assert "RGB" in REDS4.statement
    assert "Y of BT.601" in VID4.statement
    with pytest.raises(UsageError, match="vimeo90k, vid4"):
        find_protocol("set5")


def test_published_figures_need_the_whole_test_set() -> None:
    assert find_published("rvrt-vimeo", VIMEO, "BI", 4) is None
    figure = find_published("rvrt-vimeo", VIMEO, "BI", 7824)
    assert figure is not None
    assert (figure.psnr, figure.ssim) == (38.15, 0.9527)
    assert find_published("bicubic", VID4, "BI", 4).psnr == 23.78
    assert find_published("bicubic", VID4, "BD", 4) is None


def test_lq_beside_gt_is_used_unless_it_is_to_be_made(folder: Path) -> None:
    clips = open_dataset(FOLDER, folder)
    assert [clip.name for clip in clips] == ["a", "b"]
    gt, lq = load_clip(clips[0], 4, "BI")
    np.testing.assert_array_equal(lq[1][..., ::-1], noise(1, 8, 10))
    made = open_dataset(FOLDER, folder, make_lq=True)
    gt, lq = load_clip(made[0], 4, "BI")
    np.testing.assert_array_equal(lq, imresize_u8(gt, 0.25))
    # Another degradation has no frames here: they are made.
    assert open_dataset(FOLDER, folder, degradation="BD")[0].lq == ()


def test_limit_and_frames(folder: Path) -> None:
    clips = open_dataset(FOLDER, folder, limit=1, frames=2)
    assert [(clip.name, len(clip.gt), len(clip.lq)) for clip in clips] == [("a", 2, 2)]


def test_plain_folder_of_clips_or_frames(folder: Path) -> None:
    assert [clip.name for clip in open_dataset(FOLDER, folder / "GT")] == ["a", "b"]
    assert [clip.name for clip in open_dataset(FOLDER, folder / "GT" / "a")] == ["a"]
    paired = open_dataset(FOLDER, folder / "GT", lq_root=folder / "BIx4")
    assert len(paired[1].lq) == 4


def test_sizes_that_are_no_multiple_are_cropped(tmp_path: Path) -> None:
    write(tmp_path / "a" / "0.png", noise(0, 35, 42))
    gt, lq = load_clip(open_dataset(FOLDER, tmp_path)[0], 4, "BI")
    assert gt.shape == (1, 32, 40, 3)
    assert lq.shape == (1, 8, 10, 3)


def test_real_degradation_is_the_same_every_time(folder: Path) -> None:
    clip = open_dataset(FOLDER, folder, degradation="real")[0]
    np.testing.assert_array_equal(load_clip(clip, 4, "real")[1], load_clip(clip, 4, "real")[1])


def test_vimeo_uses_the_test_list(shared: Path) -> None:
    clips = open_dataset(VIMEO, shared / "data/vimeo90k_mini")
    assert [clip.name for clip in clips] == [f"00002/{i:04d}" for i in range(5, 9)]
    assert all(len(clip.gt) == 7 for clip in clips)


def load_all(protocol: Protocol, folder: Path, **options) -> None:
    for clip in open_dataset(protocol, folder, **options):
        load_clip(clip, 4, "BI")


def refuse(folder: Path, message: str, protocol: Protocol = FOLDER, **options) -> None:
    with pytest.raises(InputError, match=message):
        load_all(protocol, folder, **options)


def test_wrong_roots(tmp_path: Path, folder: Path) -> None:
    refuse(tmp_path / "nowhere", "is not a folder")
    refuse(folder, "--lq is the folder", lq_root=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", "holds no folders of frames")
    refuse(folder, "holds no sequences/", protocol=VIMEO)


def test_half_downloaded_sets(folder: Path) -> None:
    refuse(folder, "lacks the clip 'calendar' of Vid4", protocol=VID4)
    for name, length in VID4.clips:
        for frame in range(length - (name == "walk")):
            write(folder / "GT" / name / f"{frame:08d}.png", noise(0, 16, 16))
    refuse(folder, "walk holds 46 frames, but Vid4 has 47", protocol=VID4, make_lq=True)
    (folder / "GT" / "b" / "00000002.png").unlink()
    refuse(folder / "GT", "lacks the frames between 00000001 and 00000003")


def test_lq_that_does_not_match(folder: Path) -> None:
    write(folder / "BIx4" / "a" / "00000000.png", noise(0, 16, 20))
    for frame in range(1, 4):
        write(folder / "BIx4" / "a" / f"{frame:08d}.png", noise(0, 16, 20))
    refuse(folder, r"is 20×16 pixels, but its ground truth reduced by 4 is 10×8")
    (folder / "BIx4" / "a" / "00000003.png").unlink()
    refuse(folder, "holds 3 low-quality frames for the 4")


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((32, 40, 3), np.uint16), "16 bits per sample"),
        (np.zeros((32, 40), np.uint8), "grey image"),
        (np.zeros((32, 40, 4), np.uint8), "alpha channel"),
        (np.zeros((32, 44, 3), np.uint8), "44×32 pixels, but the first frame of its clip is 40×32"),
    ],
)
def test_unsuitable_frames(folder: Path, pixels: np.ndarray, message: str) -> None:
    write(folder / "GT" / "a" / "00000002.png", pixels)
    refuse(folder, message)


def test_damaged_frames(folder: Path) -> None:
    damaged = folder / "GT" / "a" / "00000001.png"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 0xFF
    damaged.write_bytes(bytes(data))
    refuse(folder, "checksum does not match")
    damaged.write_bytes(b"")
    refuse(folder, "is empty")


def test_missing_vimeo_frame(shared: Path, tmp_path: Path) -> None:
    root = tmp_path / "vimeo_septuplet"
    (root / "sequences").mkdir(parents=True)
    (root / "sep_testlist.txt").write_text("00009/0001\n")
    refuse(root, r"im1\.png is missing", protocol=VIMEO)
