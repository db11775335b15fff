"""The processes of a job must start alike: from one step, one set of weights and options, and the same data."""

from __future__ import annotations

import zlib

from rvrt_cli.errors import InputError, OutputError, UsageError
from rvrt_cli.train.checkpoint import EngineState
from rvrt_cli.train.engine import Engine, RankInfo, gather
from rvrt_cli.train.recipe import Recipe


def check_rank_consistency(
    engine: Engine, rank_info: RankInfo, recipe: Recipe, step: int, sequences: int
) -> None:
    """Compare what all ranks start from; every rank calls it.

    Errors, the same on every rank: :class:`OutputError` for different steps, :class:`UsageError` for different weights or
    recipes, :class:`InputError` for different numbers of training ``sequences``.
    """
    if rank_info.world == 1:
        return
    checksum = _checksum(engine.state(), recipe)
    # Halves of 16 bits: they pass through float32 as they are.
    found = gather(engine, rank_info, [step, sequences, checksum >> 16, checksum & 0xFFFF])
    steps, counts = (sorted({int(value) for value in column}) for column in found[:, :2].T)
    if len(steps) > 1:
        raise OutputError(
            f"The processes of this job would start after different steps ({_listed(steps)}); "
            "--out must be one folder that all machines share."
        )
    if len({tuple(row) for row in found[:, 2:]}) > 1:
        raise UsageError(
            "The processes of this job would start from different weights or options; give all machines the same command, "
            "the same --init file and the same version of rvrt."
        )
    if len(counts) > 1:
        raise InputError(
            f"The processes of this job found different numbers of training sequences ({_listed(counts)}); "
            "give all machines the same data."
        )


def _checksum(state: EngineState, recipe: Recipe) -> int:
    value = zlib.crc32(recipe.to_json().encode())
    for tensors in (state.weights, state.ema, state.adam_m, state.adam_v):
        for name in sorted(tensors):
            value = zlib.crc32(tensors[name].tobytes(), value)
    return value


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values))
