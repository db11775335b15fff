"""The processes of a job must start alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from doubles import FakeEngine

from rvrt_cli.errors import InputError, OutputError, RvrtError, UsageError
from rvrt_cli.train.engine import RankInfo
from rvrt_cli.train.rank_consistency import check_rank_consistency
from rvrt_cli.train.recipe import Recipe


class JoinedEngine(FakeEngine):
    """Adds up with the other one, as devices do."""

    def __init__(self, barrier: threading.Barrier, messages: list[np.ndarray]) -> None:
        super().__init__()
        self._barrier, self._messages = barrier, messages

    def reduce(self, values: np.ndarray) -> np.ndarray:
        self._messages.append(values.astype(np.float32))  # as MindSpore
        self._barrier.wait(10)
        return np.sum(self._messages, 0).astype(np.float64)


def _check(
    steps: tuple[int, int] = (5, 5),
    sequences: tuple[int, int] = (3, 3),
    recipes: tuple[Recipe, Recipe] = (Recipe(), Recipe()),
    change: Callable[[FakeEngine], None] = lambda _: None,
) -> list[RvrtError | None]:
    """What two ranks say, the second of which is changed."""
    barrier, messages = threading.Barrier(2), []
    engines = [JoinedEngine(barrier, messages) for _ in range(2)]
    change(engines[1])
    said: list[RvrtError | None] = [None, None]

    def run(rank: int) -> None:
        try:
            check_rank_consistency(
                engines[rank], RankInfo(rank, 2), recipes[rank], steps[rank], sequences[rank]
            )
        except RvrtError as error:
            said[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_ranks_that_are_alike_start() -> None:
    assert _check() == [None, None]


def _other_weight(engine: FakeEngine) -> None:
    next(iter(engine.weights.values())).flat[0] = 1e-7


@pytest.mark.parametrize(
    ("difference", "kind", "part"),
    [
        ({"steps": (0, 1000)}, OutputError, r"different steps \(0, 1000\).*share"),
        ({"sequences": (3, 4)}, InputError, r"training sequences \(3, 4\)"),
        ({"recipes": (Recipe(), replace(Recipe(), lr=1e-3))}, UsageError, "same command"),
        ({"change": _other_weight}, UsageError, "different weights"),
    ],
)
def test_a_difference_is_a_sentence_on_every_rank(difference: dict, kind: type, part: str) -> None:
    said = _check(**difference)
    assert str(said[0]) == str(said[1])
    assert all(isinstance(error, kind) for error in said)
    with pytest.raises(kind, match=part):
        raise said[0]
