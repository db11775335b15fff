"""What a run tries when memory runs out with the smallest tile and window: each loader must really load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from upscale_clips import make_clip

from rvrt_cli.inference.restorer import BicubicRestorer, DenoisingRestorer, SequentialRestorer
from rvrt_cli.inference.tiles import TilePlan
from rvrt_cli.model.config import PRESETS
from rvrt_cli.model.initialise import initial_tensors
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.oom_fallback import OomFallback
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


def test_bicubic_behind_a_network_keeps_the_networks_fallbacks(prepared: Prepared) -> None:
    """The bicubic runs on the CPU; what runs out of memory is the network before it."""
    behind = SequentialRestorer([DenoisingRestorer(OnGpu("fp32"), 10), BicubicRestorer()])
    assert (behind.device, behind.precision) == ("gpu:0", "fp32")
    assert len(loaders_of(replace(prepared, restorer=behind))) == 3
    assert SequentialRestorer([BicubicRestorer(), BicubicRestorer()]).device == "cpu"


class Closing(BicubicRestorer):
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_levels_are_smaller_tiles_then_shorter_windows_then_another_restorer() -> None:
    first, second = Closing(), Closing()
    fallback = OomFallback([lambda: first, lambda: second], Level(8, TilePlan(None)))
    levels = []
    while fallback.step_down(48, 64):
        levels.append(fallback.level)
    small = TilePlan(32, 16)
    assert levels == [
        Level(8, small),
        Level(4, small),
        Level(2, small),
        Level(8, TilePlan(None), 1),
        Level(8, small, 1),
        Level(4, small, 1),
        Level(2, small, 1),
    ]
    assert (first.closed, second.closed) == (1, 0)
    fallback.close()
    assert (first.closed, second.closed) == (1, 1)


def test_a_run_goes_on_with_the_level_it_had_come_to() -> None:
    first, second = Closing(), Closing()
    level = Level(2, TilePlan(32, 16), 1)
    fallback = OomFallback([lambda: first, lambda: second], Level(8, TilePlan(None)))
    fallback.take(level)
    assert (fallback.level, fallback.restorer) == (level, second)
    assert not fallback.step_down(48, 64)
    fallback.take(Level(8, TilePlan(32, 16)))
    assert (fallback.level, fallback.restorer) == (Level(8, TilePlan(32, 16)), first)
    assert (first.closed, second.closed) == (0, 1)


def test_a_restorer_that_the_options_rule_out_now_is_not_gone_on_with() -> None:
    """``--precision fp32`` where the earlier run came to half precision by itself."""
    planned = Level(8, TilePlan(None))
    fallback = OomFallback([Closing], planned)
    fallback.take(Level(4, TilePlan(32, 16), 1))
    assert fallback.level == planned


def test_a_restorer_that_ran_out_of_memory_is_not_gone_back_to() -> None:
    """It is closed, even where an earlier run had made the next missing segment with it."""
    first, second = Closing(), Closing()
    planned = Level(2, TilePlan(32, 16))
    fallback = OomFallback([lambda: first, lambda: second], planned)
    assert fallback.step_down(32, 32)
    level = fallback.level
    fallback.take(planned)
    assert (fallback.level, fallback.restorer) == (level, second)
