"""Atomic writes: what killed processes leave behind is removed, nothing else."""

from __future__ import annotations

from pathlib import Path

from rvrt_cli.atomic import remove_leftovers


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
