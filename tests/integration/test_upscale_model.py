"""``rvrt upscale`` with a network (seeded weights) on a real engine: options reach it, windows and tiles do not show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from upscale_clips import make_clip, upscale

from rvrt_cli.evaluate.metrics import psnr
from rvrt_cli.model.config import PRESETS
from rvrt_cli.model.initialise import initial_tensors
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.weights import Weights, save_weights

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    config = replace(PRESETS["light-s"], embed_dim=16)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, Weights(config, initial_tensors(parameter_shapes(config), config, seed=5)))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "in.mp4", 26, "72x48", picture="mandelbrot")


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_windows_and_tiles_are_invisible(clip, weights, tmp_path):
    engine = (
        "--weights",
        weights,
        "--device",
        "cpu",
        "--backend",
        "openvino",
        "--precision",
        "fp32",
        "--threads",
        "1",
        "--lossless",
    )
    whole, parts = tmp_path / "whole.mkv", tmp_path / "parts.mkv"
    done = upscale(clip, whole, *engine, "--window", "26", "--tile", "off", "--no-shots", "--json")
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout.splitlines()[-1])
    assert "OpenVINO" in report["engine"]
    assert report["window"] == 26
    done = upscale(clip, parts, *engine, "--window", "8", "--tile", "40", "--no-shots")
    assert done.returncode == 0, done.stderr.decode()
    a, b = pictures(whole), pictures(parts)
    assert len(a) == len(b) == 26
    assert a[0].shape == (192, 288, 3)
    # Rounding to eight bits alone costs a perfect copy about 59 dB.
    assert min(psnr(x, y) for x, y in zip(a, b, strict=True)) > 50


def test_a_model_given_as_a_path(clip, weights, tmp_path):
    done = upscale(clip, tmp_path / "out.mp4", "--model", weights, "--frames", "2", "--quiet")
    assert done.returncode == 0, done.stderr.decode()
    assert len(pictures(tmp_path / "out.mp4")) == 2


def test_other_weights_start_anew(clip, weights, tmp_path):
    from rvrt_cli.weights import load_weights

    output = tmp_path / "out.mp4"
    options = ("--frames", "4", "--keep-work", "--overwrite")
    assert upscale(clip, output, "--weights", weights, *options).returncode == 0
    loaded = load_weights(weights)
    other = tmp_path / "other.safetensors"
    save_weights(
        other, Weights(loaded.config, {name: value * 1.01 for name, value in loaded.tensors.items()})
    )
    done = upscale(clip, output, "--weights", other, *options)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Changed since the earlier run: model; starting anew." in done.stderr
