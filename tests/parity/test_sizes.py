"""Pictures of 1x1, 2x2 and 3x1 pixels, one frame and three, on each engine that runs here: the same result on all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from size_cases import SIZES

from rvrt_cli.model.config import PRESETS
from rvrt_cli.system.hardware import installed

REPOSITORY = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4


def restored(engine: str, folder: Path, *presets: str) -> dict[str, np.ndarray]:
    """Results by preset and size, from one process per engine."""
    for package in (engine, *(() if engine in ("torch", "mindspore") else ("spox",))):
        if not installed(package):  # not imported: MindSpore does not bear other packages in its process
            pytest.skip(f"{package} is not installed")
    output = folder / f"{engine}.npz"
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY), "RVRT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "GLOG_v": "3",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("size_cases.py")), engine, str(output), *presets],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(output) as arrays:
        return dict(arrays)


def check(engines: tuple[str, ...], folder: Path, *presets: str) -> None:
    """Right shapes, finite values, and no engine further than the tolerance from the first."""
    first, *others = (restored(engine, folder, *presets) for engine in engines)
    assert len(first) == len(presets) * len(SIZES)
    for name, expected in first.items():
        preset, _, size = name.partition(" ")
        t, h, w = (int(number) for number in size.strip("()").split(","))
        scale = PRESETS[preset].upscale
        assert expected.shape == (t, scale * h, scale * w, 3), name
        assert np.isfinite(expected).all(), name
        for result in others:
            assert np.abs(result[name] - expected).max() <= TOLERANCE, name


def test_the_small_networks_on_every_engine_but_mindspore(tmp_path: Path) -> None:
    check(("openvino", "onnxruntime", "torch"), tmp_path, "light-s", "light-s-x2")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_network_on_every_engine_but_mindspore(tmp_path: Path) -> None:
    check(("openvino", "onnxruntime", "torch"), tmp_path, "light", "rvrt", "denoise")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mindspore_graph_mode(tmp_path: Path) -> None:
    check(("openvino", "mindspore"), tmp_path, "light-s", "light-s-x2", "rvrt")
