"""The recipe: stages, learning rate, and the sentences for settings that cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rvrt_cli.errors import UsageError
from rvrt_cli.model.config import PRESETS
from rvrt_cli.train.recipe import Recipe, Stage, parse_stage


def test_the_default_is_the_published_recipe() -> None:
    recipe = Recipe()
    assert recipe.stages == (Stage(steps=300_000, batch=8, frames=7, patch_gt_px=256),)
    assert recipe.frames_of(recipe.stages[0]) == 14
    assert (recipe.lr, recipe.lr_min, recipe.beta1, recipe.beta2) == (2e-4, 1e-7, 0.9, 0.99)
    assert recipe.flow_lr_at(4999) == 0
    assert recipe.flow_lr_at(5000) == 0.25 * recipe.lr_at(5000)


def test_one_cosine_spans_all_stages() -> None:
    recipe = Recipe(stages=(Stage(steps=30), Stage(steps=70)), lr=1e-3, lr_min=1e-5)
    assert recipe.lr_at(0) == pytest.approx(1e-3)
    assert recipe.lr_at(50) == pytest.approx((1e-3 + 1e-5) / 2)
    assert recipe.lr_at(100) == pytest.approx(1e-5)
    rates = [recipe.lr_at(step) for step in range(100)]
    assert rates == sorted(rates, reverse=True)


def test_the_warm_up_grows_linearly() -> None:
    recipe = Recipe(stages=(Stage(steps=1000),), lr=1e-3, warmup=10)
    plain = replace(recipe, warmup=0)
    assert [recipe.lr_at(step) / plain.lr_at(step) for step in (0, 4, 9, 10)] == pytest.approx(
        [0.1, 0.5, 1.0, 1.0]
    )


def test_stages_follow_each_other() -> None:
    recipe = Recipe(stages=(Stage(steps=3, frames=2), Stage(steps=2, frames=4)))
    assert [recipe.stage_at(step).frames for step in range(6)] == [2, 2, 2, 4, 4, 4]


def test_a_stage_is_read_from_text() -> None:
    assert parse_stage("steps=40,frames=6,patch=128", Stage(batch=3)) == Stage(40, 3, 6, 128)


@pytest.mark.parametrize("text", ["steps", "steps=x", "speed=3", "steps=4;frames=2", "steps=-1"])
def test_a_wrong_stage_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="--stage"):
        parse_stage(text, Stage())


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(stages=(Stage(3, 2, 4, 64), Stage(5, 1, 6, 64)), lr=1e-3, mirror=False)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_json(recipe.to_json().replace('"lr"', '"later_setting": 1, "lr"')) == recipe


def test_differences_are_named() -> None:
    assert Recipe(lr=1e-3).differences(Recipe()) == ["lr 0.001 instead of 0.0002"]
    short, long = Stage(3, 1, 2, 16), Stage(9, 1, 2, 16)
    assert Recipe(stages=(short,)).differences(Recipe(stages=(short, long))) == [
        "stages steps=3,frames=2,patch=16,batch=1 instead of "
        "steps=3,frames=2,patch=16,batch=1 then steps=9,frames=2,patch=16,batch=1"
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"stages": ()},
        {"stages": (Stage(frames=3),), "mirror": False},
        {"stages": (Stage(batch=0),)},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr_min": 1.0},
        {"ema": 1.0},
        {"accumulate": 0},
        {"clip_grad": float("nan")},
        {"clip_grad": -1.0},
        {"ema": float("nan")},
        {"beta1": 1.0},
        {"beta2": float("nan")},
        {"epsilon": 0.0},
        {"charbonnier_epsilon": float("inf")},
        {"flow_lr_factor": float("nan")},
        {"flow_freeze_steps": -1},
        {"precision": "fp8"},
    ],
)
def test_impossible_settings_are_refused(settings: dict) -> None:
    with pytest.raises(UsageError):
        Recipe(**settings)


def test_a_batch_must_be_shareable_and_a_patch_large_enough() -> None:
    config = PRESETS["light-s"]
    Recipe(stages=(Stage(1, 4, 2, 64),)).check(config, 2)
    with pytest.raises(UsageError, match="multiple of 3"):
        Recipe(stages=(Stage(1, 4, 2, 64),)).check(config, 3)
    for patch in (66, 4):
        with pytest.raises(UsageError, match="patch"):
            Recipe(stages=(Stage(1, 4, 2, patch),)).check(config, 1)
