"""Mixed precision stays within 50 dB of float32 on a real clip, on each engine that runs here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LEAST_DB = 50.0
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("engine", "names"),
    [
        ("openvino", ["light_small.ckpt"]),
        ("onnxruntime", ["light_small.ckpt"]),
        pytest.param("openvino", ["rvrt_sr_small.pth"], marks=pytest.mark.slow),
        pytest.param("onnxruntime", ["rvrt_sr_small.pth"], marks=pytest.mark.slow),
        pytest.param("torch", ["light_small.ckpt", "rvrt_sr_small.pth"], marks=pytest.mark.slow),
    ],
)
def test_mixed_precision_on_a_real_clip(shared: Path, tmp_path: Path, engine: str, names: list[str]) -> None:
    for package in (engine, *(() if engine == "torch" else ("spox",))):
        pytest.importorskip(package)
    command = [sys.executable, str(Path(__file__).with_name("mixed_cases.py"))]
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY), "RVRT_CACHE": str(tmp_path), "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip
    done = subprocess.run(
        [*command, str(shared / "golden"), str(shared / "data/davis_mini/camel"), engine, *names],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [row["file"] for row in rows] == names
    assert {row["file"]: row["psnr_db"] for row in rows if not row["psnr_db"] >= LEAST_DB} == {}
