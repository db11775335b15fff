"""The first upscale on a fresh machine needs no network: an empty cache, and every connection refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rvrt_cli.weights.find import shipped

REPOSITORY = Path(__file__).resolve().parents[2]

WITHOUT_NETWORK = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"tried to use the network: {event} {arguments[1:]}")

sys.addaudithook(refuse)
from rvrt_cli.cli.app import main
main()
"""


def isolated() -> list[str]:
    """A command in front that takes the network away from the whole process tree; empty where that is not allowed."""
    program = shutil.which("unshare")
    if program is None:
        return []
    command = [program, "--map-root-user", "--net"]
    allowed = subprocess.run([*command, "true"], capture_output=True, timeout=20).returncode == 0
    return command if allowed else []


def test_first_upscale_needs_no_network(tmp_path: Path) -> None:
    if "light-s" not in shipped():
        pytest.skip("weights/light-s.safetensors is not in this checkout")
    output = tmp_path / "out.mp4"
    done = subprocess.run(
        [*isolated(), sys.executable, "-c", WITHOUT_NETWORK, "upscale", str(REPOSITORY / "examples" / "bunny.mp4"), str(output),
         "--light", "--frames", "2", "--threads", "1"],
        capture_output=True, text=True, timeout=240,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "RVRT_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert output.stat().st_size > 0


def test_the_network_really_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK, "weights", "fetch", "rvrt", "--mirror", "http://localhost:9"],
        capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "RVRT_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert "tried to use the network" in done.stderr
