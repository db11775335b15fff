"""The plan of a run: counts that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rvrt_cli.model.config import PRESETS
from rvrt_cli.train.plan import activation_floats_per_px, plan_training
from rvrt_cli.train.recipe import Recipe, Stage


def test_steps_pixels_and_shares() -> None:
    recipe = Recipe(stages=(Stage(10, 4, 7, 64), Stage(5, 2, 6, 128)), ema=0.0)
    plan = plan_training(PRESETS["light-s"], recipe, 100)
    assert plan.steps == 15
    assert plan.steps_per_epoch == 25
    assert [(part.frames, part.lq_px) for part in plan.stages] == [(14, 16), (6, 32)]
    pixels = 4 * 14 * 16 * 16
    assert plan.stages[0].step_flops == pytest.approx(3 * plan.forward_flops_per_px * pixels)
    state_mib = plan.parameters * 4 * 4 / 2**20
    shared = plan_training(PRESETS["light-s"], recipe, 100, world=2).stages[0].memory_mib
    assert (shared - state_mib) * 2 == pytest.approx(plan.stages[0].memory_mib - state_mib)


def test_recomputation_saves_memory_and_costs_a_forward_pass() -> None:
    recipe = Recipe()
    plain, again = (
        plan_training(PRESETS["light"], replace(recipe, recompute=flag), 1).stages[0]
        for flag in (False, True)
    )
    assert again.memory_mib < 0.5 * plain.memory_mib
    assert again.step_flops == pytest.approx(plain.step_flops * 4 / 3)


def test_the_published_network_has_its_published_size() -> None:
    assert plan_training(PRESETS["rvrt"], Recipe(), 1).parameters == 10_782_295
    # What PyTorch kept in a measurement on clips of ten frames was 53,068 and 108,656 numbers per pixel.
    assert 53_068 < activation_floats_per_px(PRESETS["light"]) < 1.5 * 53_068
    assert 108_656 < activation_floats_per_px(PRESETS["rvrt"]) < 1.5 * 108_656
    # light-s: 5,970; with recomputation 2,185 and, one stage at a time, at most 1,700.
    assert 5_970 < activation_floats_per_px(PRESETS["light-s"]) < 1.2 * 5_970
    assert 2_185 < activation_floats_per_px(PRESETS["light-s"], recompute=True) < 1.2 * (2_185 + 1_700)
