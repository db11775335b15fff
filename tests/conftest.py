"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rvrt_cli.media.scheduling import keep_ordinary_scheduling

REPOSITORY = Path(__file__).resolve().parents[1]


def shared_folder() -> Path | None:
    """The folder of golden arrays and real data: ``RVRT_SHARED`` or ``shared`` beside the checkout; None where absent."""
    folder = Path(os.environ.get("RVRT_SHARED", REPOSITORY.parent / "shared"))
    return folder if (folder / "golden").is_dir() else None


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Graphs, programs and fetched weights of the person who runs the tests are neither used nor touched."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RVRT_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """Tests that open SVT-AV1 themselves, as root, leave the process real-time, which starves the rest of the machine."""
    yield
    keep_ordinary_scheduling()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder; the test is skipped with the reason where it is absent."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("shared data (golden arrays, real clips) not found; set RVRT_SHARED")
    return folder
