"""Sources of training clips: what a folder is taken for, determinism, caching, mirrored runs, bad files."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from upscale_clips import make_clip, make_shots

from rvrt_cli.data.clips import (
    ArrayCache,
    ClipSource,
    FrameSource,
    MixedSource,
    PhotoSource,
    VideoSource,
    augment_clip,
    mirrored_run,
)
from rvrt_cli.data.recognise import open_clip_source
from rvrt_cli.errors import InputError
from rvrt_cli.imaging.images import list_images


def write_image(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def noise(seed: int, height: int = 80, width: int = 96) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def frames_folder(tmp_path: Path) -> Path:
    for sequence in range(2):
        for frame in range(8):
            # The red channel (last in OpenCV's order) holds the frame number: a clip shows which frames it has.
            image = noise(sequence)
            image[..., 2] = frame
            write_image(tmp_path / f"s{sequence}" / f"{frame:05d}.png", image)
    return tmp_path


def test_mirrored_run_is_the_fields_fourteen() -> None:
    assert mirrored_run(0, 14, 7) == [0, 1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1, 0]
    assert mirrored_run(2, 3, 7) == [2, 3, 4]
    assert mirrored_run(0, 4, 1) == [0, 0, 0, 0]


def test_frame_folders_give_consecutive_frames_at_one_place(frames_folder: Path) -> None:
    source = open_clip_source(frames_folder)
    assert isinstance(source, FrameSource)
    assert len(source) == 2
    for seed in range(10):
        clip = source.sample(np.random.default_rng(seed), 5, 32).frames
        assert clip.shape == (5, 32, 32, 3)
        numbers = clip[..., 0].reshape(5, -1)
        assert (numbers == numbers[:, :1]).all()
        np.testing.assert_array_equal(np.diff(numbers[:, 0].astype(int)), 1)


def test_short_sequences_are_mirrored(frames_folder: Path) -> None:
    clip = open_clip_source(frames_folder).sample(np.random.default_rng(0), 16, 32).frames
    np.testing.assert_array_equal(clip[:8], clip[:7:-1])


def test_photos_are_recognised_and_sampled_deterministically(tmp_path: Path) -> None:
    for index, name in enumerate(["beach", "harbour_12", "mill"]):
        write_image(tmp_path / f"{name}.jpg", noise(index, 200, 220))
    source = open_clip_source(tmp_path)
    assert isinstance(source, PhotoSource)
    first = source.sample(np.random.default_rng(5), 4, 48).frames
    for seed in range(3):
        source.sample(np.random.default_rng(seed), 4, 48)
    np.testing.assert_array_equal(source.sample(np.random.default_rng(5), 4, 48).frames, first)
    without_cache = PhotoSource(list_images(tmp_path), cache=ArrayCache(0))
    np.testing.assert_array_equal(without_cache.sample(np.random.default_rng(5), 4, 48).frames, first)


def test_sources_pickle_without_their_cache(frames_folder: Path) -> None:
    source = open_clip_source(frames_folder)
    clip = source.sample(np.random.default_rng(1), 3, 32).frames
    data = pickle.dumps(source)
    assert len(data) < 10_000
    copy: ClipSource = pickle.loads(data)
    np.testing.assert_array_equal(copy.sample(np.random.default_rng(1), 3, 32).frames, clip)


def test_mixture_draws_by_weight(frames_folder: Path, tmp_path: Path) -> None:
    frames = open_clip_source(frames_folder / "s0")
    photos = PhotoSource([write_image(tmp_path / "p" / "white.png", np.full((90, 90, 3), 255, np.uint8))])
    mixture = MixedSource([(frames, 1.0), (photos, 3.0)])
    rng = np.random.default_rng(0)
    white = sum(bool((mixture.sample(rng, 2, 32).frames == 255).all()) for _ in range(200))
    assert 130 < white < 170
    with pytest.raises(InputError, match="above zero"):
        MixedSource([(frames, 0.0)])


def test_vimeo_layout(shared: Path) -> None:
    source = open_clip_source(shared / "data" / "vimeo90k_mini")
    assert len(source) == 12
    assert source.sample(np.random.default_rng(0), 14, 64).frames.shape == (14, 64, 64, 3)


def test_videos(shared: Path) -> None:
    source = open_clip_source(shared / "data" / "media" / "flower.mp4")
    clip = source.sample(np.random.default_rng(0), 5, 64).frames
    assert clip.shape == (5, 64, 64, 3)
    np.testing.assert_array_equal(clip, source.sample(np.random.default_rng(0), 5, 64).frames)
    assert clip.std() > 5


def test_cache_keeps_to_its_budget() -> None:
    cache = ArrayCache(250)
    loads = []

    def load(key: int) -> np.ndarray:
        loads.append(key)
        return np.zeros(100, np.uint8)

    for key in (0, 1, 0, 2, 0, 1):
        cache.get(key, lambda key=key: load(key))
    assert loads == [0, 1, 2, 1]
    assert cache.bytes <= 250


def test_augmentation_only_rearranges() -> None:
    clip = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    seen = set()
    for seed in range(64):
        result = augment_clip(clip, np.random.default_rng(seed))
        np.testing.assert_array_equal(np.sort(result, axis=None), np.sort(clip, axis=None))
        seen.add(result.tobytes())
    assert len(seen) == 16


def test_clips_of_videos_avoid_cuts(tmp_path: Path) -> None:
    source = VideoSource([make_shots(tmp_path / "shots.mp4", 48)])
    assert source.count_clips(6) == 8
    origins = set()
    for seed in range(12):
        clip = source.sample(np.random.default_rng(seed), 6, 32)
        steps = np.abs(np.diff(clip.frames.astype(int), axis=0)).mean((1, 2, 3))
        assert steps.max() < 40, clip.origin  # a cut between these pictures is 60 levels and more
        origins.add(clip.origin)
    assert len(origins) == 12


def test_short_videos_are_mirrored(tmp_path: Path) -> None:
    source = VideoSource([make_clip(tmp_path / "short.mp4", 3)])
    clip = source.sample(np.random.default_rng(0), 6, 32).frames
    np.testing.assert_array_equal(clip[:3], clip[:2:-1])


def test_clips_of_videos_avoid_damage(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "film.mp4", 96, "96x64", extra=("-g", "12"))
    data = bytearray(path.read_bytes())
    start = data.find(b"mdat")
    length = len(data) - start
    for place in range(start + length // 2, start + length * 2 // 3):
        data[place] ^= 0x5A
    path.write_bytes(data)
    source = VideoSource([path])
    with pytest.raises(InputError, match=r"film\.mp4 is damaged at 2\.0 s"):
        source._read(path, 2.0, 6)
    for seed in range(8):
        source.sample(np.random.default_rng(seed), 6, 32)
    worse = tmp_path / "worse.mp4"
    worse.write_bytes(data[: start + 8] + bytes(length - 8))
    with pytest.raises(InputError, match=r"worse\.mp4"):
        VideoSource([worse]).sample(np.random.default_rng(0), 6, 32)


def test_origins_name_the_files(frames_folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    assert "s0" in open_clip_source(frames_folder / "s0").sample(rng, 2, 32).origin
    photos = PhotoSource([write_image(tmp_path / "p" / "white.png", np.full((90, 90, 3), 255, np.uint8))])
    assert "white.png" in photos.sample(rng, 2, 32).origin


def test_unusable_data_is_explained(tmp_path: Path, frames_folder: Path) -> None:
    with pytest.raises(InputError, match=r"smaller than the 128×128 patch"):
        open_clip_source(frames_folder).sample(np.random.default_rng(0), 2, 128)
    write_image(frames_folder / "s1" / "00004.png", noise(1, 72, 96))
    with pytest.raises(InputError, match=r"another size.*photos=DIR"):
        open_clip_source(frames_folder / "s1", "frames").sample(np.random.default_rng(0), 8, 32)
    damaged = frames_folder / "s0" / "00003.png"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"00003\.png is damaged \(it is cut off\)"):
        open_clip_source(frames_folder / "s0", "frames").sample(np.random.default_rng(0), 8, 32)
