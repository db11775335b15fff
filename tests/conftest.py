"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rvrt_cli.media.scheduling import keep_ordinary_scheduling

REPOSITORY = Path(__file__).resolve().parents[1]


def shared_folder() -> Path | None:
    """The folder of golden arrays and real data: ``RVRT_SHARED`` or ``shared`` beside the checkout; None where absent."""
    folder = Path(os.environ.get("RVRT_SHARED", REPOSITORY.parent / "shared"))
    return folder if (folder / "golden").is_dir() else None


SWAYED = re.compile(
    r"LC_.*|LANG|LANGUAGE|TZ|PYTHON(UTF8|IOENCODING|WARNINGS|UNBUFFERED|OPTIMIZE)|NO_COLOR|FORCE_COLOR|CLICOLOR.*|COLUMNS|LINES|TERM|"
    r"RVRT_(?!SHARED$).*|_RVRT_COMPLETE|IMAGEIO_FFMPEG_EXE|(OMP|MKL|OPENBLAS)_NUM_THREADS|.*_proxy|.*_PROXY"
)
"""Variables of whoever runs the tests that change what the program does or shows."""


@pytest.fixture(autouse=True, scope="session")
def known_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests depend on is as they expect it, whoever runs them: a terminal, ``nohup``, cron, a build server, a shell's job.

    Signals that a parent ignores would be ignored in every process a test starts; a strict umask or somebody's language,
    colours, proxies and temporary folder would change what the program makes and says.
    """
    folder = tmp_path_factory.mktemp("temporary")
    expected = {
        "SIGINT": signal.default_int_handler,
        "SIGTERM": signal.SIG_DFL,
        "SIGHUP": signal.SIG_DFL,
        "SIGPIPE": signal.SIG_IGN,
        "SIGCHLD": signal.SIG_DFL,
    }
    signals = {getattr(signal, name): how for name, how in expected.items() if hasattr(signal, name)}
    before = {number: signal.signal(number, how) for number, how in signals.items()}
    mask = os.umask(0o022)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if SWAYED.fullmatch(name)]:
            patch.delenv(name)
        patch.setenv("LC_ALL", "C.UTF-8")
        patch.setenv("TERM", "xterm")
        for name in ("TMPDIR", "TEMP", "TMP"):
            patch.setenv(name, str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield
    os.umask(mask)
    for number, how in before.items():
        signal.signal(number, how)


@pytest.fixture(autouse=True, scope="session")
def own_cache(known_state: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
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
