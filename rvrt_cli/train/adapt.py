"""Weights of one scale as the beginning of a network for another: ``rvrt train --init light-s --model light-s-x2``."""

from __future__ import annotations

import numpy as np

from rvrt_cli.model.config import ModelConfig
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.train.checkpoint import Tensors

FIRST, LAST = "shallow.conv.weight", "upsampler.last"


def can_adapt(source: ModelConfig, target: ModelConfig) -> bool:
    """Whether two networks that enlarge differ in nothing but the scale."""
    scales = {source.upscale, target.upscale}
    alike = {**vars(source), "upscale": None} == {**vars(target), "upscale": None}
    return alike and len(scales) == 2 and 1 not in scales


def adapt_tensors(tensors: Tensors, source: ModelConfig, target: ModelConfig) -> Tensors:
    """The tensors of a network ``source`` for a network ``target`` of another scale (see :func:`can_adapt`).

    The first convolution is spread over the pixels that the target joins to one, so that all features begin as those of
    the source for the input reduced by averaging. The last one begins with zeros, as in a new network: what is missing
    from the enlarged input is something else at another scale. All other tensors are taken over.
    """
    shapes = parameter_shapes(target)
    result = dict(tensors)
    result[FIRST] = _spread(tensors[FIRST], source.reduction, target.reduction)
    for part in ("weight", "bias"):
        result[f"{LAST}.{part}"] = np.zeros(shapes[f"{LAST}.{part}"], np.float32)
    return {name: result[name] for name in shapes}


def _spread(kernel: np.ndarray, joined: int, wanted: int) -> np.ndarray:
    """``(o, i, 3·joined, 3·joined)`` → ``(o, i, 3·wanted, 3·wanted)`` with the same answer to evenly coloured blocks."""
    o, i, k, _ = kernel.shape
    coarse = kernel.reshape(o, i, k // joined, joined, k // joined, joined).sum((3, 5))
    fine = coarse.repeat(wanted, 2).repeat(wanted, 3) / wanted**2
    return fine.astype(np.float32)
