"""The ONNX tracing backend, in processes of its own (a process has one backend)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

for package in ("spox", "onnxruntime", "openvino"):
    pytest.importorskip(package)


@pytest.mark.parametrize(
    "checks",
    [
        ("shapes", "names"),
        ("local_attention", "pooling", "motion", "zeros", "half", "export"),
        ("cache",),
        ("sizes",),
    ],
)
def test_onnx_backend(tmp_path: Path, checks: tuple[str, ...]) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
        "RVRT_CACHE": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("onnx_checks.py")), *checks],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["ok"] * len(checks)
