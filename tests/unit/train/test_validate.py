"""Validation sets: what is refused, names, and frames that do not fit into memory."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rvrt_cli.errors import InputError, OutOfMemoryError_, UsageError
from rvrt_cli.model.config import PRESETS
from rvrt_cli.train.validate import (
    ValidationSpec,
    load_validation,
    parse_validation,
    predict_within_memory,
    validate,
)

CONFIG = PRESETS["light-s"]


def _write(path: Path, height: int = 64, width: int = 80, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def _load(path: Path, **more: int) -> list[str]:
    return [clip.name for clip in load_validation(ValidationSpec("set", str(path), **more), CONFIG)]


def test_clips_are_shared_by_ranks_and_spread_over_the_set(tmp_path: Path) -> None:
    for clip in range(5):
        for frame in range(3):
            _write(tmp_path / f"c{clip}" / f"{frame}.png")
    assert _load(tmp_path, clips=3) == ["c0", "c2", "c4"]
    spec = ValidationSpec("set", str(tmp_path), frames=2, clips=3)
    shares = [load_validation(spec, CONFIG, rank, 2) for rank in range(2)]
    assert [[clip.name for clip in share] for share in shares] == [["c0", "c4"], ["c2"]]
    assert shares[0][0].gt.shape == (2, 64, 80, 3)
    assert shares[0][0].lq.shape == (2, 16, 20, 3)


def test_frames_of_several_sizes_are_named(tmp_path: Path) -> None:
    _write(tmp_path / "clip" / "0.png")
    _write(tmp_path / "clip" / "1.png", width=96)
    with pytest.raises(InputError, match="clip"):
        _load(tmp_path)


def test_frames_that_grow_later_are_named(tmp_path: Path) -> None:
    for frame in range(40):
        _write(tmp_path / "clip" / f"{frame:02d}.png", width=96 if frame == 3 else 80)
    with pytest.raises(InputError, match=r"03\.png has another size than 00\.png"):
        _load(tmp_path)


def test_photographs_are_no_clip(tmp_path: Path) -> None:
    for index, name in enumerate(("lake", "hill", "road")):
        _write(tmp_path / f"{name}.png", seed=index)
    with pytest.raises(InputError, match="no consecutive frames"):
        _load(tmp_path)


def test_frames_that_are_too_small_are_named(tmp_path: Path) -> None:
    for frame in range(2):
        _write(tmp_path / "clip" / f"{frame}.png", 8, 8)
    with pytest.raises(InputError, match=r"0\.png is 8×8 pixels"):
        _load(tmp_path)


def test_clips_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    for scene in ("00001", "00002"):
        for frame in range(2):
            _write(tmp_path / scene / "0266" / f"{frame}.png")
    assert _load(tmp_path) == ["00001-0266", "00002-0266"]


def test_sets_have_names_of_their_own(tmp_path: Path) -> None:
    a, b = tmp_path / "a" / "val", tmp_path / "b" / "val"
    a.mkdir(parents=True)
    b.mkdir(parents=True)
    assert [spec.name for spec in parse_validation([str(a), f"other={b}"], 6, 16)] == ["val", "other"]
    with pytest.raises(UsageError, match="Two --val sets are called val; name one"):
        parse_validation([str(a), str(b)], 6, 16)


def test_frames_that_do_not_fit_are_predicted_in_tiles() -> None:
    sizes, notes = [], []

    def predict(lq: np.ndarray) -> np.ndarray:
        sizes.append(lq.shape[1:3])
        if lq.shape[2] > 70:
            raise OutOfMemoryError_("too large")
        return lq.repeat(4, 1).repeat(4, 2)

    lq = np.random.default_rng(0).random((2, 60, 150, 3), dtype=np.float32)
    sr = predict_within_memory(predict, lq, 4, notes.append)
    np.testing.assert_allclose(sr, lq.repeat(4, 1).repeat(4, 2), atol=1e-6)
    assert sizes[0] == (60, 150)
    assert "150×60 LQ pixels does not fit" in notes[0]
    with pytest.raises(OutOfMemoryError_):
        predict_within_memory(_never, lq, 4, notes.append)


def _never(lq: np.ndarray) -> np.ndarray:
    raise OutOfMemoryError_("too large")


def test_odd_clips_are_mirrored_and_measured_beside_bicubic(tmp_path: Path) -> None:
    for frame in range(3):
        _write(tmp_path / "clip" / f"{frame}.png")
    clips = load_validation(ValidationSpec("set", str(tmp_path)), CONFIG)
    seen, kept = [], {}

    def predict(lq: np.ndarray) -> np.ndarray:
        seen.append(len(lq))
        return np.concatenate([clips[0].gt, clips[0].gt[::-1]]).astype(np.float32) / 255

    ((name, network, bicubic),) = validate("set", clips, predict, kept.__setitem__)
    assert (name, seen) == ("clip", [6])
    assert network > bicubic > 20
    assert kept["set-clip"].shape == (64, 240, 3)
