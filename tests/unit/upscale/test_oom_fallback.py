"""What a run tries when memory runs out with the smallest tile and window: each loader must really load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from upscale_clips import make_clip

from rvrt_cli.inference.restorer import BicubicRestorer
from rvrt_cli.model.config import PRESETS
from rvrt_cli.model.initialise import initial_tensors
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.prepare import Prepared, prepare
from rvrt_cli.upscale.sequential import restorer_loaders
from rvrt_cli.weights import Weights, save_weights


class OnGpu(BicubicRestorer):
    """A restorer that says it runs on a GPU."""

    device = "gpu:0"

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.engine = f"PyTorch 2 on gpu:0, {precision}"


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    config = replace(PRESETS["light-s"], embed_dim=16)
    weights = tmp_path / "tiny.safetensors"
    save_weights(weights, Weights(config, initial_tensors(parameter_shapes(config), config, seed=5)))
    clip = make_clip(tmp_path / "in.mp4", 2, "16x16")
    return prepare(clip, tmp_path / "out.mp4", UpscaleOptions(weights=weights))


def loaders_of(prepared: Prepared) -> list:
    return list(restorer_loaders(prepared.options, prepared.restorer, external=prepared.external))


def test_a_gpu_has_half_precision_and_the_cpu_to_fall_back_on(prepared: Prepared) -> None:
    loaders = loaders_of(replace(prepared, restorer=OnGpu("fp32")))
    loaded = [loader() for loader in loaders]
    assert [restorer.engine.rpartition(", ")[2] for restorer in loaded] == ["fp32", "mixed", "fp32"]
    assert " on CPU" in loaded[2].engine
    assert len(loaders_of(replace(prepared, restorer=OnGpu("mixed")))) == 2


def test_the_last_loader_restores(prepared: Prepared) -> None:
    last = loaders_of(replace(prepared, restorer=OnGpu("mixed")))[-1]()
    assert last(np.zeros((2, 16, 16, 3), np.float32)).shape == (2, 64, 64, 3)


def test_what_the_user_fixed_is_kept(prepared: Prepared) -> None:
    fixed = replace(prepared.options, precision="fp32", device="gpu")
    assert len(loaders_of(replace(prepared, restorer=OnGpu("fp32"), options=fixed))) == 1


def test_a_cpu_and_a_callers_restorer_have_no_other_loader(prepared: Prepared) -> None:
    assert len(loaders_of(prepared)) == 1
    assert len(loaders_of(replace(prepared, restorer=OnGpu("fp32"), external=True))) == 1
