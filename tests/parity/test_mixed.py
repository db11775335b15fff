"""Mixed precision stays within 50 dB of float32 on a real clip, for each kind of network on each engine that runs here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rvrt_cli.system.hardware import installed
from rvrt_cli.weights.find import shipped

LEAST_DB = 50.0
REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = "light-s"
GOLDEN = ("light_small.ckpt", "rvrt_sr_small.pth", "rvrt_deblur_small.pth", "rvrt_denoise_small.pth")


@pytest.mark.parametrize(
    ("engine", "models"),
    [
        ("openvino", (SHIPPED,)),
        ("onnxruntime", (SHIPPED, "light_small.ckpt")),
        pytest.param("openvino", GOLDEN, marks=pytest.mark.slow),
        pytest.param("onnxruntime", GOLDEN, marks=pytest.mark.slow),
        pytest.param("torch", (SHIPPED, *GOLDEN), marks=pytest.mark.slow),
        # One network a process: MindSpore keeps what it compiled, gigabytes for each.
        *(pytest.param("mindspore", (name,), marks=pytest.mark.slow) for name in (SHIPPED, *GOLDEN)),
    ],
)
@pytest.mark.timeout(1800)
def test_mixed_precision_on_a_real_clip(
    shared: Path, tmp_path: Path, engine: str, models: tuple[str, ...]
) -> None:
    for package in (engine, *(() if engine in ("torch", "mindspore") else ("spox",))):
        if not installed(package):  # not imported: MindSpore does not bear other packages in its process
            pytest.skip(f"{package} is not installed")
    if SHIPPED in models and SHIPPED not in shipped():
        pytest.skip("weights/light-s.safetensors is not in this checkout")
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY), "RVRT_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
        "GLOG_v": "3",
    }  # fmt: skip
    names = [name if name == SHIPPED else str(shared / "golden" / name) for name in models]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("mixed_cases.py")), str(shared / "data/davis_mini/camel"), engine, *names],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [row["model"] for row in rows] == names
    assert {row["model"]: row["psnr_db"] for row in rows if not row["psnr_db"] >= LEAST_DB} == {}
    assert all(row["differ"] for row in rows), "float16 was not used"
