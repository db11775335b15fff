"""The size at which models are compared: that of the networks, or a smaller one that the caller wants."""

from __future__ import annotations

from collections.abc import Sequence

from rvrt_cli.errors import UsageError
from rvrt_cli.evaluate.models import ModelSpec
from rvrt_cli.inference.restorer import BicubicRestorer, Restorer


def settle_scale(specs: Sequence[ModelSpec], restorers: Sequence[Restorer], wanted: int | None) -> int:
    """How many times smaller than the ground truth low quality is. Bicubic, which has no scale of its own, is set to it.

    ``wanted`` None: the scale that the networks have in common, 4 where there are none. A model of a larger scale than
    ``wanted`` is compared after its pictures are reduced, as ``rvrt upscale --scale`` does it.
    Errors: :class:`UsageError` for models of different scales, of a smaller scale than ``wanted``, or with a noise map.
    """
    for spec, restorer in zip(specs, restorers, strict=True):
        if restorer.channels != 3:
            raise UsageError(
                f"{spec.label} needs a noise map; evaluation supports models that take RGB alone."
            )
    networks = [
        (spec, restorer)
        for spec, restorer in zip(specs, restorers, strict=True)
        if not isinstance(restorer, BicubicRestorer)
    ]
    scale = wanted or (networks[0][1].scale if networks else 4)
    for spec, restorer in networks:
        if wanted is None and restorer.scale != scale:
            raise UsageError(
                f"{networks[0][0].label} enlarges {scale} times, but {spec.label} {restorer.scale} times; "
                "compare models of one scale, or give --scale."
            )
        if restorer.scale < scale:
            raise UsageError(
                f"{spec.label} enlarges {restorer.scale} times, less than --scale {scale}; give a smaller one."
            )
    for restorer in restorers:
        if isinstance(restorer, BicubicRestorer):
            restorer.scale = scale
    return scale
