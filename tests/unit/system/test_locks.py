"""Advisory locks: held, free, and file systems that know none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rvrt_cli.system.locks import try_lock, try_lock_where_possible


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    try:
        assert try_lock(first)
        assert not try_lock(second)
        assert not try_lock_where_possible(second)
    finally:
        os.close(first)
    assert try_lock(second)
    os.close(second)


def test_a_file_system_without_locks_is_worked_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(descriptor: int) -> bool:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("rvrt_cli.system.locks.try_lock", refuse)
    with open(tmp_path / "lock", "ab") as file:
        assert try_lock_where_possible(file.fileno())
