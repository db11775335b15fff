"""Atomic writes: what killed processes leave behind is removed, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvrt_cli.atomic import atomic_path, remove_leftovers


def test_only_leftovers_of_the_same_target_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / ".a film [1].0123abcd.part.mp4"
    kept = [
        "a film [1].mp4",
        ".a film [1].0123abcd.part.mkv",
        ".other.0123abcd.part.mp4",
        ".a film [1].xyz.part.mp4",
    ]
    for path in [leftover, *(tmp_path / name for name in kept)]:
        path.write_bytes(b"x")
    remove_leftovers(tmp_path / "a film [1].mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize("stem", ["x" * 251, "\u6620" * 83], ids=["ascii", "three bytes a sign"])
def test_the_longest_names_can_be_written(tmp_path: Path, stem: str) -> None:
    target = tmp_path / f"{stem}.mp4"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"x")
        left = temporary.with_name(temporary.name)
    assert target.read_bytes() == b"x"
    left.write_bytes(b"of a killed run")
    remove_leftovers(target)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
