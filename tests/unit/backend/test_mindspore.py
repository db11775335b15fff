"""Gradients, primitives and errors of the MindSpore backend; networks against the golden arrays are in tests/parity."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mindspore")

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]

SMOOTH = 1e-4
"""Largest difference of a gradient over its largest value where the network is smooth; measured: 5e-6."""
BENT = 2e-3
"""The same where Lucas-Kanade flows lead, whose rounding grows from step to step; measured: 3e-4."""
KINKED = 2e-2
"""The same where positions are sampled: bilinear sampling has kinks at whole pixels, and rounding puts a few of 10^5
positions on the other side of one. Measured: 7e-3 against PyTorch; PyTorch's float32 against its own float64: 1.4e-3."""


def in_process(script: Path, *arguments: str) -> str:
    """Standard output of ``script`` in a process of its own, which may choose another backend than the tests'."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "GLOG_v": "3"}
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def check_gradients(folder: Path, mode: str, alignment: str, tolerance: float) -> None:
    """Loss and every parameter's gradient agree with PyTorch's."""
    pytest.importorskip("torch")
    results = {}
    for engine in ("torch", mode):
        out = folder / f"{engine}.npz"
        in_process(HERE / "gradient_case.py", engine, alignment, str(out))
        with np.load(out) as arrays:
            results[engine] = dict(arrays)
    expected, actual = results["torch"], results[mode]
    assert set(actual) == set(expected)
    assert all(np.abs(value).max() > 0 for value in expected.values())
    worst = {
        name: float(np.abs(actual[name] - value).max() / np.abs(value).max())
        for name, value in expected.items()
    }
    assert worst[""] <= 1e-6
    assert {name: error for name, error in worst.items() if not error <= tolerance} == {}


def test_gradients_of_local_alignment_in_graph_mode_equal_pytorchs(tmp_path: Path) -> None:
    check_gradients(tmp_path, "graph", "local", SMOOTH)


@pytest.mark.slow
def test_gradients_of_local_alignment_in_pynative_mode_equal_pytorchs(tmp_path: Path) -> None:
    check_gradients(tmp_path, "pynative", "local", SMOOTH)


def test_gradients_of_warped_alignment_in_graph_mode_equal_pytorchs(tmp_path: Path) -> None:
    check_gradients(tmp_path, "graph", "warped", BENT)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_gradients_of_guided_alignment_equal_pytorchs(tmp_path: Path, mode: str) -> None:
    check_gradients(tmp_path, mode, "guided", KINKED)


def test_primitives_equal_pytorchs(tmp_path: Path) -> None:
    """Those whose arithmetic is this project's own, on odd sizes, and the errors of the backend's functions."""
    pytest.importorskip("torch")
    for engine in ("torch", "mindspore"):
        in_process(HERE / "primitive_case.py", engine, str(tmp_path / f"{engine}.npz"))
    with np.load(tmp_path / "torch.npz") as expected, np.load(tmp_path / "mindspore.npz") as actual:
        assert set(actual) == set(expected)
        for name in expected:
            np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=5e-6, err_msg=name)


def test_bad_devices_and_tensors_are_explained() -> None:
    assert in_process(HERE / "mindspore_errors.py").split("\n")[:-1] == [
        "DeviceError: MindSpore has no device 'tpu'; use cpu, gpu:0 or ascend:0.",
        "DeviceError: MindSpore has no device 'gpu:x'; use cpu, gpu:0 or ascend:0.",
        "DeviceError: MindSpore cannot use 'ascend:0' on this machine; use --device cpu.",
        "WeightsError: The tensor extra is not part of this network; the weights are for another architecture.",
        "WeightsError: The tensor upsampler.last.weight is missing; the weights are for another architecture.",
        "WeightsError: The tensor upsampler.last.bias has shape (5,), the network needs (48,).",
        "unchanged",
    ]
