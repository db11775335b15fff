"""Atomic writes: whole files or none, errors a user can read, and what killed processes leave behind is removed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rvrt_cli.errors import DiskFullError, OutputError
from rvrt_cli.system.files import (
    atomic_path,
    fitting_name,
    remove_all_leftovers,
    remove_leftovers,
    sync_directory,
    translate_write_errors,
    visible,
    visible_folders,
    write_bytes,
    write_json,
    written_through,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_half_way(target: Path, error: BaseException) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"ha")
        raise error


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    target.write_bytes(b"old")
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_what_fails_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "film.mp4"
    target.write_bytes(b"old")
    with pytest.raises(type(error)):
        fail_half_way(target, error)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_apart(tmp_path: Path, number: int) -> None:
    with pytest.raises(DiskFullError, match="disk is full"):
        fail_half_way(tmp_path / "a", OSError(number, os.strerror(number)))
    assert names(tmp_path) == []


def test_a_file_that_cannot_be_renamed(tmp_path: Path) -> None:
    (tmp_path / "taken" / "within").mkdir(parents=True)
    with pytest.raises(OutputError, match="taken could not be written"):
        write_bytes(tmp_path / "taken", b"x")
    assert names(tmp_path) == ["taken"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="choose another place"):
        write_bytes(tmp_path / "missing" / "a", b"x")
    with (
        pytest.raises(OutputError, match=r"a could not be written: .*No such file"),
        translate_write_errors(tmp_path / "a"),
    ):
        sync_directory(tmp_path / "missing")


def test_explained_writing_lets_other_errors_through(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), translate_write_errors(tmp_path / "a"):
        raise ValueError("mine")
    with translate_write_errors(tmp_path / "a"):
        pass


def test_json_is_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "Ü", "list": [1]})
    assert (tmp_path / "a.json").read_text(
        encoding="utf-8"
    ) == '{\n  "name": "Ü",\n  "list": [\n    1\n  ]\n}\n'


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
    assert names(tmp_path) == sorted(kept)


def test_all_leftovers_of_a_folder_are_removed(tmp_path: Path) -> None:
    kept = ["a.mkv", ".hidden", ".a.0123abcd.part", "b.0123abcd.part.mkv"]
    for name in [*kept, ".a.0123abcd.part.mkv", ".b c.89abcdef.part.json"]:
        (tmp_path / name).write_bytes(b"x")
    remove_all_leftovers(tmp_path)
    assert names(tmp_path) == sorted(kept)
    remove_all_leftovers(tmp_path / "missing")


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


def test_hidden_files_and_what_lies_in_hidden_folders_are_not_seen(tmp_path: Path) -> None:
    for name in ("b.mp4", "._b.mp4", "sub/a.mp4", "sub/deeper/c.mp4", ".Trash-1000/old.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "back").symlink_to(tmp_path)
    assert [path.name for path in visible(tmp_path)] == ["b.mp4", "sub"]
    found = [path.relative_to(tmp_path).as_posix() for path in visible_folders(tmp_path)]
    assert found == [".", "sub", "sub/back", "sub/deeper"]


def test_a_name_fits_and_tells_its_twins_apart(tmp_path: Path) -> None:
    assert fitting_name(tmp_path / "not" / "there", "film", ".part") == "film.part"
    first, second = (fitting_name(tmp_path, "ü" * 130 + end, ".rvrt-work") for end in "ab")
    assert first != second
    for name in (first, second):
        assert len(os.fsencode(name)) <= 255
        assert name.endswith(".rvrt-work")
        (tmp_path / name).touch()


def test_a_link_stands_for_what_it_points_to(tmp_path: Path) -> None:
    link, loop = tmp_path / "link", tmp_path / "loop"
    link.symlink_to(tmp_path / "target")
    loop.symlink_to(loop)
    assert written_through(tmp_path / "plain") == tmp_path / "plain"
    assert written_through(link) == (tmp_path / "target").resolve()  # which need not exist
    with pytest.raises(OutputError):
        written_through(loop)
