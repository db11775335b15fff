"""Nothing is called and nothing is reported: name look-ups and sockets of whole runs, in every process, and files left behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rvrt_cli.weights.find import shipped

REPOSITORY = Path(__file__).resolve().parents[2]

WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto", "socket.sendmsg"):
        with open(os.environ["RVRT_TEST_CALLS"], "a") as file:
            file.write(f"{event} {arguments[1:]} by {sys.argv}\\n")
        raise OSError("no network in this test")

sys.addaudithook(watch)
"""
"""``sitecustomize`` of the test: Python runs it first, in every process that is started with this environment."""

CALL = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg)\(.*sa_family=AF_INET6?")
TRACED = "trace=connect,sendto,sendmsg,sendmmsg"


class Watched:
    """Runs commands where calls are noted and refused, with a home and a temporary folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary, site = (folder / name for name in ("home", "temporary", "site"))
        for path in (self.home, self.temporary, site):
            path.mkdir()
        (site / "sitecustomize.py").write_text(WATCH)
        self.noted, self.trace = folder / "calls.txt", folder / "trace.txt"
        # Engines' telemetry stays silent where it sees a build server, and people have none.
        servers = (
            "CI",
            "TF_BUILD",
            "JENKINS_URL",
            "GITHUB_ACTIONS",
            "TEAMCITY_VERSION",
            "ORT_DISABLE_TELEMETRY",
        )
        self.environment = {name: value for name, value in os.environ.items() if name not in servers} | {
            "PYTHONPATH": os.pathsep.join([str(site), str(REPOSITORY)]),
            "RVRT_TEST_CALLS": str(self.noted),
            "RVRT_CACHE": str(folder / "cache"),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
        }

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """``rvrt`` with ``arguments``, without a network and traced where this machine allows it."""
        command = [*self._isolated(), *self._traced(), sys.executable, "-m", "rvrt_cli", *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=240,
            env=self.environment,
            stdin=subprocess.DEVNULL,
        )

    def calls(self) -> list[str]:
        """What was called: noted by Python, and seen by the system where strace is."""
        noted = self.noted.read_text().splitlines() if self.noted.exists() else []
        traced = self.trace.read_text(errors="replace").splitlines() if self.trace.exists() else []
        return noted + [line for line in traced if CALL.search(line)]

    def left(self) -> list[str]:
        """Files in the home and the temporary folder."""
        return [str(path) for place in (self.home, self.temporary) for path in place.rglob("*")]

    def _isolated(self) -> list[str]:
        program = shutil.which("unshare")
        return _where_allowed([program, "--map-root-user", "--net"]) if program else []

    def _traced(self) -> list[str]:
        program = shutil.which("strace")
        options = ["-f", "--seccomp-bpf", "-qq", "-A", "-o", str(self.trace), "-e", TRACED]
        return _where_allowed([program, *options]) if program else []


def _where_allowed(command: list[str]) -> list[str]:
    allowed = subprocess.run([*command, "true"], capture_output=True, timeout=20).returncode == 0
    return command if allowed else []


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_first_run_calls_nobody_and_leaves_nothing(backend: str, watched: Watched, tmp_path: Path) -> None:
    """On a fresh machine: an empty cache and home. Also what compiled libraries do shows, by the files of their telemetry."""
    if "light-s" not in shipped():
        pytest.skip("weights/light-s.safetensors is not in this checkout")
    output = tmp_path / "out.mp4"
    done = watched.run(
        "upscale", REPOSITORY / "examples" / "bunny.mp4", output, "--light", "--frames", "2", "--threads", "1",
        "--backend", backend,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert output.stat().st_size > 0
    assert watched.calls() == []
    assert watched.left() == []


def test_looking_at_all_engines_calls_nobody(watched: Watched) -> None:
    done = watched.run("devices")
    assert done.returncode == 0, done.stderr[-3000:]
    assert watched.calls() == []
    assert watched.left() == []


def test_calls_are_noted_and_refused(watched: Watched) -> None:
    done = watched.run("weights", "fetch", "rvrt", "--mirror", "http://localhost:9")
    assert done.returncode != 0
    assert watched.calls()
