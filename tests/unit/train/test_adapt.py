"""Weights of one scale as the beginning of a network for another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rvrt_cli.errors import WeightsError
from rvrt_cli.model.config import PRESETS, ModelConfig
from rvrt_cli.model.initialise import initial_tensors
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.train.adapt import adapt_tensors, can_adapt

X4 = replace(PRESETS["light-s"], embed_dim=8, num_heads=2, align_heads=2)


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    initial = initial_tensors(parameter_shapes(X4), X4, 0)
    return {
        name: value + rng.normal(0, 0.1, value.shape).astype(np.float32) for name, value in initial.items()
    }


def responses(kernel: np.ndarray, picture: np.ndarray, stride: int) -> np.ndarray:
    """A convolution without padding, written out."""
    k = kernel.shape[2]
    rows, columns = ((size - k) // stride + 1 for size in picture.shape[:2])
    patches = [
        [picture[stride * y : stride * y + k, stride * x : stride * x + k] for x in range(columns)]
        for y in range(rows)
    ]
    return np.einsum("yxhwi,oihw->yxo", np.array(patches), kernel)


@pytest.mark.parametrize(("scale", "block"), [(2, 2), (3, 1)])
def test_features_begin_as_those_of_the_averaged_input(
    tensors: dict[str, np.ndarray], scale: int, block: int
) -> None:
    config = replace(X4, upscale=scale)
    adapted = adapt_tensors(tensors, X4, config)
    assert {name: value.shape for name, value in adapted.items()} == parameter_shapes(config)
    picture = np.random.default_rng(0).random((5 * block, 6 * block, 3))
    average = picture.reshape(5, block, 6, block, 3).mean((1, 3))
    np.testing.assert_allclose(
        responses(adapted["shallow.conv.weight"], picture, block),
        responses(tensors["shallow.conv.weight"], average, 1),
        atol=1e-6,
    )
    assert not adapted["upsampler.last.weight"].any()
    assert not adapted["upsampler.last.bias"].any()
    kept = [name for name in tensors if name != "shallow.conv.weight" and "upsampler" not in name]
    assert all(adapted[name] is tensors[name] for name in kept)


def test_back_to_the_larger_scale(tensors: dict[str, np.ndarray]) -> None:
    x2 = replace(X4, upscale=2)
    back = adapt_tensors(adapt_tensors(tensors, X4, x2), x2, X4)
    np.testing.assert_allclose(back["shallow.conv.weight"], tensors["shallow.conv.weight"], rtol=1e-5)


@pytest.mark.parametrize(
    "target",
    [
        X4,
        PRESETS["light-s-x2"],
        PRESETS["light"],
        replace(X4, upscale=2, in_channels=4),
        replace(X4, upscale=1),
    ],
)
def test_only_the_scale_may_differ(target: ModelConfig) -> None:
    assert not can_adapt(X4, target)


def test_an_upsampler_of_two_stages_is_not_for_x3() -> None:
    """It enlarges features four times: for x4, and for x2 from half the size."""
    assert replace(PRESETS["light"], upscale=2).enlargement == 4
    with pytest.raises(WeightsError, match="full upsampler"):
        replace(PRESETS["light"], upscale=3)
