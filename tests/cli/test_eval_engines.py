"""The same table from every engine: ``rvrt eval`` on OpenVINO, ONNX Runtime, PyTorch and MindSpore."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import rvrt_cli
from rvrt_cli.inference.device import installed
from rvrt_cli.model.config import PRESETS
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.weights import Weights, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """light-s with seeded weights, large enough to change bicubic by some decibels."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in parameter_shapes(PRESETS["light-s"]).items():
        fan_in = int(np.prod(shape[1:])) or 1
        values = (
            rng.standard_normal(shape) * (0.7 / np.sqrt(fan_in))
            if len(shape) > 1
            else rng.standard_normal(shape) * 0.02
        )
        tensors[name] = values.astype(np.float32)
    path = tmp_path_factory.mktemp("weights") / "seeded.safetensors"
    save_weights(path, Weights(PRESETS["light-s"], tensors))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gt")
    for clip in ("a", "b"):
        for frame in range(3):
            noise = np.random.default_rng([ord(clip), frame]).integers(0, 256, (64, 80, 3), dtype=np.uint8)
            path = root / clip / f"{frame:04d}.png"
            path.parent.mkdir(exist_ok=True)
            assert cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 2.5))
    return root


def table(
    folder: Path, weights: Path, backend: str, cache: Path
) -> dict[tuple[str, str], tuple[float, float]]:
    """(clip, model) → (PSNR, SSIM); in its own process, because a process uses one framework."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(rvrt_cli.__file__).parents[1]),
        "RVRT_CACHE": str(cache),
    }
    command = [
        sys.executable,
        "-m",
        "rvrt_cli",
        "eval",
        "--gt",
        folder,
        "--model",
        weights,
        "--backend",
        backend,
    ]
    result = subprocess.run(
        [*map(str, command), "--device", "cpu", "--json", "--baseline", "bicubic"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    return {
        (row["clip"], row["model"]): (row["psnr"], row["ssim"]) for row in json.loads(result.stdout)["scores"]
    }


@pytest.fixture(scope="module")
def reference(
    folder: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], tuple[float, float]]:
    return table(folder, weights, "openvino", tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("backend", ["onnxruntime", "torch", "mindspore"])
def test_every_engine_gives_the_same_table(
    backend: str, reference, folder: Path, weights: Path, tmp_path: Path
) -> None:
    if not installed(backend):
        pytest.skip(f"{backend} is not installed")
    assert abs(reference["a", "seeded"][0] - reference["a", "bicubic"][0]) > 0.1
    rows = table(folder, weights, backend, tmp_path)
    assert rows.keys() == reference.keys()
    for key, (psnr, ssim) in rows.items():
        assert psnr == pytest.approx(reference[key][0], abs=0.01)
        assert ssim == pytest.approx(reference[key][1], abs=1e-4)
