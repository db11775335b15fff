"""``benchmarks/kills.py``: real runs, killed at random moments, end in the bytes of one that nobody killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("case", range(6))
def test_no_kill_costs_a_byte_or_a_finished_segment(case):
    command = [
        sys.executable,
        str(REPOSITORY / "benchmarks" / "kills.py"),
        "--kills",
        "3",
        "--case",
        str(case),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
