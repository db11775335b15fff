"""The MindSpore backend reproduces the published networks on CPU, in PyNative and in graph mode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mindspore")

TOLERANCE = 1e-4
"""Maximum absolute error; measured: 2.4e-7 for RVRT, 9.5e-7 px for its flows, 2.3e-6 for Light."""

REPOSITORY = Path(__file__).resolve().parents[2]


def errors(golden: Path, *arguments: str) -> dict[str, dict[str, float]]:
    """Figures per array of ``mindspore_cases.py`` in one process."""
    command = [sys.executable, str(Path(__file__).with_name("mindspore_cases.py")), str(golden), *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "GLOG_v": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {f"{row['case']} {row['array']}": row for row in rows}


def check(figures: dict[str, dict[str, float]], count: int) -> None:
    """Every array is there and within tolerance."""
    assert len(figures) == count
    assert {
        name: row["max_error"] for name, row in figures.items() if not row["max_error"] <= TOLERANCE
    } == {}


def test_pynative_mode_reproduces_light_and_the_parts_of_rvrt(shared: Path) -> None:
    check(errors(shared / "golden", "pynative", "parts", "light1", "sr3"), 5)


def test_graph_mode_reproduces_light(shared: Path) -> None:
    check(errors(shared / "golden", "graph", "light1"), 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_every_golden_array_of_super_resolution(shared: Path, mode: str) -> None:
    """Flows, shallow features, 44x52 (no multiple of the window), a mirrored sequence, two frames."""
    check(
        errors(shared / "golden", mode, "parts", "sr0", "sr1", "sr2", "sr3", "light0", "light1", "light2"), 10
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_every_golden_array_of_deblurring_and_denoising(shared: Path, mode: str) -> None:
    check(errors(shared / "golden", mode, "deblur0", "denoise0"), 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mixed_precision_stays_within_50_db(shared: Path) -> None:
    figures = errors(shared / "golden", "graph", "mixed", "light0", "sr3")
    assert {name: row["psnr_db"] for name, row in figures.items() if not row["psnr_db"] >= 50} == {}
    assert max(row["max_error"] for row in figures.values()) > 1e-6, "float16 was not used"
