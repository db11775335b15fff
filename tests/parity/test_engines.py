"""PyTorch, ONNX Runtime and OpenVINO reproduce the published networks on the golden arrays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOLERANCE = 1e-4
"""Maximum absolute error; measured: at most 4e-7 for RVRT, 1.5e-6 px for its flows, 3.1e-6 for Light, on every engine."""

REPOSITORY = Path(__file__).resolve().parents[2]
EVERYTHING = ("parts", "sr0", "sr1", "sr2", "sr3", "light0", "light1", "light2", "deblur0", "denoise0")
ENGINES = {"onnx": ("onnxruntime", "openvino"), "torch": ("torch",)}


def errors(golden: Path, backend: str, *cases: str) -> dict[str, float]:
    """Maximum absolute error per engine and array, from one process per backend."""
    for package in ENGINES[backend] + (("spox",) if backend == "onnx" else ()):
        pytest.importorskip(package)
    command = [sys.executable, str(Path(__file__).with_name("engine_cases.py")), str(golden), backend, *cases]
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {f"{row['engine']} {row['case']} {row['array']}": row["max_error"] for row in rows}


def check(figures: dict[str, float], count: int) -> None:
    """Every array is there and within tolerance."""
    assert len(figures) == count
    assert {name: error for name, error in figures.items() if not error <= TOLERANCE} == {}


@pytest.mark.parametrize("backend", ENGINES)
def test_flows_shallow_features_short_clips_and_light(shared: Path, backend: str) -> None:
    check(errors(shared / "golden", backend, "parts", "sr3", "light1"), 5 * len(ENGINES[backend]))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", ENGINES)
def test_every_golden_array(shared: Path, backend: str) -> None:
    """With 44x52 (no multiple of the window), a mirrored sequence, deblurring and denoising."""
    check(errors(shared / "golden", backend, *EVERYTHING), (len(EVERYTHING) + 2) * len(ENGINES[backend]))
