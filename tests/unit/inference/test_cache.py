"""The cache of graphs and programs: damage, pruning, concurrent writers, a folder that cannot be written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rvrt_cli.inference import cache


def test_an_entry_comes_back(tmp_path: Path) -> None:
    path = cache.entry_path("blob", "weights", 6, 64, 64, folder=tmp_path)
    assert cache.read_entry(path) is None
    cache.write_entry(path, b"program")
    assert cache.read_entry(path) == b"program"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_every_part_makes_another_entry(tmp_path: Path) -> None:
    paths = {
        cache.entry_path("onnx", *parts, folder=tmp_path) for parts in [("a", 1), ("a", 2), ("b", 1), ("a1",)]
    }
    assert len(paths) == 4


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 40, None])
def test_a_damaged_entry_is_ignored_and_removed(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "entry.blob"
    cache.write_entry(path, b"program" * 100)
    path.write_bytes(damage if damage is not None else path.read_bytes()[:-3])
    assert cache.read_entry(path) is None
    assert not path.exists()
    cache.write_entry(path, b"again")
    assert cache.read_entry(path) == b"again"


def test_least_recently_used_entries_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT_BYTES", 2500)
    for age, name in enumerate(["new", "old", "used"]):
        cache.write_entry(tmp_path / name, bytes(700))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert cache.read_entry(tmp_path / "used") is not None
    cache.write_entry(tmp_path / "last", bytes(700))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last", "new", "used"]


def test_folders_of_programs_make_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They used to stop the pruning: a folder cannot be unlinked."""
    monkeypatch.setattr(cache, "LIMIT_BYTES", 1500)
    for age, name in enumerate(["new.trt", "old.trt"]):
        assert not cache.open_folder(tmp_path / name)
        (tmp_path / name / "deep").mkdir()
        (tmp_path / name / "deep" / "engine").write_bytes(bytes(700))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    cache.write_entry(tmp_path / "last", bytes(700))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last", "new.trt"]
    assert cache.open_folder(tmp_path / "new.trt")
    cache.write_entry(tmp_path / "another", bytes(700))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["another", "new.trt"]


def test_a_folder_that_cannot_be_made_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert not cache.open_folder(tmp_path / "file" / "program")


def test_bytes_are_made_once_and_again_when_dropped(tmp_path: Path) -> None:
    made: list[int] = []

    def entry() -> cache.CachedBytes:
        return cache.CachedBytes(tmp_path / "graph.onnx", lambda: made.append(1) or b"graph")

    first = entry()
    assert (first.read(), first.remembered) == (b"graph", False)
    second = entry()
    assert (second.read(), second.remembered, made) == (b"graph", True, [1])
    second.drop()
    assert (second.read(), second.remembered, made) == (b"graph", False, [1, 1])


def test_concurrent_writers_leave_one_whole_entry(tmp_path: Path) -> None:
    path = tmp_path / "entry.onnx"
    contents = [bytes([i]) * 200_000 for i in range(8)]
    threads = [threading.Thread(target=cache.write_entry, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.read_entry(path) in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "entry.onnx"
    cache.write_entry(path, b"graph")
    assert cache.read_entry(path) is None


def test_the_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RVRT_CACHE", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "graphs"
