"""``benchmarks/upscale.py``: rows as JSON, targets judged, and a whole small run with bicubic."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "benchmarks" / "upscale.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("benchmark_upscale", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_targets(bench):
    row = bench.Row("memory", "160x90", "planned / peak", 1.1, "", least=0.8, most=1.3)
    assert row.as_dict()["target"] == ">= 0.8, <= 1.3"
    assert row.met is True
    assert bench.Row("overhead", "", "", 6.0, "%", most=5).met is False
    assert bench.Row("speed", "", "", 6.0, "frames/s").met is None
    assert row.as_line() == "| memory | 160x90 | planned / peak | 1.1  | >= 0.8, <= 1.3 | yes |"


@pytest.mark.slow
def test_a_small_run():
    done = subprocess.run(
        [
            sys.executable, str(SCRIPT), "--json", "--model", "bicubic", "--frames", "28", "--sizes", "64x48",
            "--memory-frames", "16", "32",
        ],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["part"] for row in rows} == {"start", "overhead", "speed", "memory", "seams"}
    assert all(row["met"] for row in rows if row["part"] == "seams" and row["target"])
