"""What a folder of training data is taken for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rvrt_cli.data.clips import ClipSource, FrameSource, MixedSource, PhotoSource, VideoSource
from rvrt_cli.data.recognise import open_clip_source
from rvrt_cli.errors import InputError


def picture(seed: int, height: int = 160, width: int = 200, shift: int = 0) -> np.ndarray:
    """A smooth random picture, moved by ``shift`` pixels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.roll(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), shift, 1)


def write(folder: Path, name: str, image: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / name), image)


def kind(source: ClipSource) -> type:
    return type(source)


def test_numbered_photographs_are_no_film(tmp_path: Path) -> None:
    for index in range(6):
        write(tmp_path / "sizes", f"{index:04d}.png", picture(0, 160 + 8 * index))  # as DIV2K
        write(tmp_path / "camera", f"IMG_{1230 + index}.jpg", picture(index))  # one size, other content
    assert kind(open_clip_source(tmp_path / "sizes")) is PhotoSource
    assert kind(open_clip_source(tmp_path / "camera")) is PhotoSource
    below = open_clip_source(tmp_path)
    assert kind(below) is PhotoSource
    assert len(below) == 12


def test_frames_are_a_film_in_the_folder_itself_and_below(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        for index in range(6):
            write(tmp_path / folder, f"{index:05d}.png", picture(3, shift=5 * index))
    assert kind(open_clip_source(tmp_path / "one")) is FrameSource
    both = open_clip_source(tmp_path)
    assert kind(both) is FrameSource
    assert len(both) == 2
    assert both.count_clips(2) == 6


def test_a_cut_does_not_make_a_film_photographs(tmp_path: Path) -> None:
    for index in range(12):
        write(tmp_path, f"{index:05d}.png", picture(index // 6, shift=3 * index))
    assert kind(open_clip_source(tmp_path)) is FrameSource


def test_the_kind_can_be_said(tmp_path: Path) -> None:
    for index in range(4):
        write(tmp_path, f"{index}.png", picture(3, shift=index))
    assert kind(open_clip_source(tmp_path, "photos")) is PhotoSource
    assert kind(open_clip_source(tmp_path, "frames")) is FrameSource
    with pytest.raises(InputError, match="holds no videos"):
        open_clip_source(tmp_path, "videos")


def test_several_kinds_are_mixed(tmp_path: Path) -> None:
    write(tmp_path, "lake.png", picture(1))
    for index in range(3):
        write(tmp_path / "film", f"{index}.png", picture(3, shift=index))
    (tmp_path / "film.mp4").write_bytes(b"not looked into yet")
    source = open_clip_source(tmp_path)
    assert isinstance(source, MixedSource)
    assert [kind(part) for part, _ in source.parts] == [PhotoSource, FrameSource, VideoSource]


def test_unreadable_pictures_are_named_when_drawn_not_before(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(b"damaged" if index else b"")
    source = open_clip_source(tmp_path)
    with pytest.raises(InputError, match=r"\.png is"):
        source.sample(np.random.default_rng(0), 2, 32)


def test_a_single_picture_is_a_photograph(tmp_path: Path) -> None:
    write(tmp_path, "lake.png", picture(0))
    source = open_clip_source(tmp_path / "lake.png")
    assert kind(source) is PhotoSource
    assert source.name == f"1 photograph in {tmp_path}"


def test_unusable_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_clip_source(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no photographs, frames or videos"):
        open_clip_source(tmp_path)
    with pytest.raises(InputError, match="no kind"):
        open_clip_source(tmp_path, "films")
