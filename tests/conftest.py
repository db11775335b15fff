"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def shared_folder() -> Path | None:
    """The folder of golden arrays and real data: ``RVRT_SHARED`` or ``shared`` beside the checkout; None where absent."""
    folder = Path(os.environ.get("RVRT_SHARED", REPOSITORY.parent / "shared"))
    return folder if (folder / "golden").is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder; the test is skipped with the reason where it is absent."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("shared data (golden arrays, real clips) not found; set RVRT_SHARED")
    return folder
