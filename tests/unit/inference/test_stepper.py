"""Step by step is the whole network: the same pictures; and what windows, context and tiles do to them.

MindSpore's steps are compared with those of the other engines in ``tests/parity/test_sizes.py``: its whole graph takes a minute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rvrt_cli.errors import NonFiniteError, OutOfMemoryError_
from rvrt_cli.inference.open_stream import open_stream
from rvrt_cli.inference.programs import PREPARE, RECONSTRUCT, step_programs
from rvrt_cli.inference.restorer import BicubicRestorer, IdentityRestorer, SequentialRestorer
from rvrt_cli.inference.stepper import Stepper
from rvrt_cli.inference.tiles import TilePlan
from rvrt_cli.model.config import PRESETS

CASES = {
    "openvino": ("light-s", "three-passes", "rvrt"),
    "onnxruntime": ("light-s", "denoise"),
    "torch": ("light-s", "backward-only", "three-passes", "light", "rvrt", "denoise"),
}


@pytest.mark.parametrize("engine", CASES)
def test_steps_are_the_whole_network(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
        "RVRT_CACHE": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("step_cases.py")), engine, *CASES[engine]],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for line in done.stdout.splitlines():
        row = json.loads(line)
        # OpenVINO is compared with ONNX Runtime's whole graph, and small differences move RVRT's sampling points.
        assert row["exact"] < (5e-4 if engine == "openvino" else 1e-5), row
        assert 0 < row["half"] < 3e-3, row


class Counting:
    """An engine for one channel of one pixel whose features say which steps were run, in place of a network.

    Shallow features are the frames themselves. A pass adds up frames: its result is the clip's frames plus the last one of the
    neighbour's result, so that every picture tells how far each pass has looked.
    """

    def __init__(self, config: Any) -> None:
        self.programs = step_programs(config, 8, 8)
        self.ran: list[str] = []

    def run(self, program: str, inputs: Sequence[Any]) -> list[Any]:
        self.ran.append(program)
        assert len(inputs) == len(self.programs[program].inputs)
        if program == PREPARE:
            clip, previous = inputs
            return [clip[0, :, 0, 0, 0].astype(float), (previous[0, -1, 0, 0, 0], clip[0, 0, 0, 0, 0])]
        if program == RECONSTRUCT:
            stages = inputs[1:]
            return [np.repeat(stages[-1][None, :, None, None, None], 3, 4)]
        gate, state, key, *rest = inputs
        index = self.programs[program].index
        stages, link = rest[: index + 1], rest[index + 1]
        if gate and index < 2:
            # The flows belong to the link between the two clips.
            assert link[1] == (stages[0][0] + 2 if index == 0 else stages[0][0] - 2)
        before = gate.item() * (state[0] if index % 2 == 0 else state[-1])
        assert not gate or index or key[0] == stages[-1][0] + 2
        result = stages[-1] + before
        return [result, *([("refined", index)] if len(self.programs[program].results) > 1 else [])]

    def numbers(self, value: Any) -> np.ndarray:
        return value


def pictures(stepper: Stepper, frames: Sequence[int], wanted: Sequence[bool] | None = None) -> list[float]:
    out = []
    for i, number in enumerate(frames):
        frame = np.full((8, 8, 3), number, np.float32)
        out += [float(p[0, 0, 0]) for p in stepper.push(frame, wanted is None or wanted[i])]
    return out + [float(p[0, 0, 0]) for p in stepper.finish()]


LIGHT_S = PRESETS["light-s"]
FOUR = replace(LIGHT_S, passes=4)


@pytest.mark.parametrize("config", [replace(LIGHT_S, passes=1), LIGHT_S, replace(LIGHT_S, passes=3), FOUR])
@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_one_window_sees_every_frame(config: Any, count: int) -> None:
    """Any window that holds the run gives what one of twice its length gives; an odd last frame counts once."""
    frames = list(range(1, count + 1))
    results = [pictures(Stepper(Counting(config), config, window, 0), frames) for window in (count + 1, 64)]
    assert results[0] == results[1]
    assert len(results[0]) == count


def test_a_backward_pass_looks_ahead_and_a_forward_pass_carries_on() -> None:
    config = replace(LIGHT_S, passes=1)
    frames = list(range(1, 13))
    seen = pictures(Stepper(Counting(config), config, 4, 2), frames)
    # Windows 1 to 4 (looking at 5 and 6), 5 to 8 (at 9 and 10), then the rest at once.
    assert seen == [
        1 + 3 + 5,
        2 + 3 + 5,
        3 + 5,
        4 + 5,
        5 + 7 + 9,
        6 + 7 + 9,
        7 + 9,
        8 + 9,
        9 + 11,
        10 + 11,
        11,
        12,
    ]


def test_the_first_picture_waits_for_a_short_window() -> None:
    stepper = Stepper(Counting(LIGHT_S), LIGHT_S, 24, 4)
    made = [len(list(stepper.push(np.full((8, 8, 3), i, np.float32), True))) for i in range(36)]
    assert [i + 1 for i, count in enumerate(made) if count] == [8 + 4, 8 + 24 + 4]
    assert sum(made) == 8 + 24


@pytest.mark.parametrize("config", [LIGHT_S, FOUR])
def test_a_stream_is_as_new_after_its_end(config: Any) -> None:
    frames = list(range(1, 18))
    stepper = Stepper(Counting(config), config, 4, 2)
    first = pictures(stepper, frames)
    pictures(stepper, [7, 8, 9])
    assert pictures(stepper, frames) == first
    assert len(first) == 17


@pytest.mark.parametrize("config", [LIGHT_S, FOUR])
def test_context_frames_are_seen_but_no_pictures_are_made_of_them(config: Any) -> None:
    frames = list(range(1, 21))
    wanted = [4 <= i < 14 for i in range(20)]
    engine = Counting(config)
    whole = pictures(Stepper(Counting(config), config, 4, 4), frames)
    assert pictures(Stepper(engine, config, 4, 4), frames, wanted) == whole[4:14]
    assert engine.ran.count(RECONSTRUCT) == 5


def test_what_nobody_wants_is_not_computed() -> None:
    engine = Counting(LIGHT_S)
    pictures(Stepper(engine, LIGHT_S, 4, 2), range(1, 11), [i < 8 for i in range(10)])
    # Of the last clip, which is context only, flows, features and the backward pass.
    assert (engine.ran.count(PREPARE), engine.ran.count("pass1")) == (5, 4)


def test_shallow_features_are_computed_once() -> None:
    engine = Counting(LIGHT_S)
    pictures(Stepper(engine, LIGHT_S, 4, 2), range(1, 25))
    assert engine.ran.count(PREPARE) == engine.ran.count("pass1") == 12
    assert engine.ran.count("pass0") == 12 + 5


@pytest.mark.parametrize("config", [LIGHT_S, FOUR])
def test_what_is_dropped_between_windows_is_computed_again(config: Any) -> None:
    """Tiles hold little while they wait; the pictures are the same."""
    frames = list(range(1, 25))
    frugal = Stepper(Counting(config), config, 4, 2, frugal=True)
    assert pictures(frugal, frames) == pictures(Stepper(Counting(config), config, 4, 2), frames)
    assert frugal._engine.ran.count(PREPARE) == 12 + 5


LQ = np.random.default_rng(0).random((7, 40, 56, 3), np.float32)


def streamed(restorer: Any, lq: np.ndarray = LQ, wanted: Any = None, **options: Any) -> np.ndarray:
    settings = {"window": 4, "lookahead": 2, "tile": TilePlan(None)} | options
    stream = open_stream(restorer, *lq.shape[1:3], **settings)
    out = []
    for i, frame in enumerate(lq):
        out += [p.copy() for p in stream.push(frame, wanted is None or wanted[i])]
    out += [p.copy() for p in stream.finish()]
    stream.close()
    return np.stack(out)


def test_a_restorer_of_single_frames_answers_at_once() -> None:
    stream = open_stream(BicubicRestorer(), 40, 56, window=4, lookahead=2, tile=TilePlan(None))
    assert list(stream.push(LQ[0], wanted=False)) == []
    (picture,) = stream.push(LQ[1])
    np.testing.assert_array_equal(picture, BicubicRestorer()(LQ[1:2])[0])
    assert list(stream.finish()) == []


@pytest.mark.parametrize("tile", [TilePlan(32, 8), TilePlan(32, 0), TilePlan(40, 16)])
def test_tiles_are_put_together(tile: TilePlan) -> None:
    np.testing.assert_allclose(streamed(IdentityRestorer(), tile=tile), LQ, atol=2e-5)
    seen = streamed(IdentityRestorer(), wanted=[i in (2, 5) for i in range(7)], tile=tile)
    np.testing.assert_allclose(seen, LQ[[2, 5]], atol=2e-5)


def test_tiles_do_not_change_what_looks_less_far_than_their_overlap() -> None:
    lq = LQ / 2 + 0.25  # nothing overshoots what codes can hold
    np.testing.assert_allclose(
        streamed(BicubicRestorer(), lq, tile=TilePlan(32, 16)), BicubicRestorer()(lq), atol=4e-5
    )


class Whole:
    """A caller's own restorer, which knows sequences only: each picture says how many frames it was made among."""

    scale, channels, name, engine, fingerprint = 1, 3, "whole", "test", "0"

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        return lq * 0 + len(lq)

    def close(self) -> None:
        """Nothing."""


def test_a_restorer_without_steps_is_given_windows() -> None:
    assert streamed(Whole())[:, 0, 0, 0].tolist() == [6, 6, 6, 6, 3, 3, 3]


def test_a_chain_hands_pictures_on() -> None:
    chain = SequentialRestorer([IdentityRestorer(), BicubicRestorer()])
    np.testing.assert_array_equal(streamed(chain), BicubicRestorer()(LQ))
    np.testing.assert_array_equal(
        streamed(chain, wanted=[i in (2, 3) for i in range(7)]), BicubicRestorer()(LQ[2:4])
    )


class Broken(IdentityRestorer):
    def __call__(self, lq: np.ndarray) -> np.ndarray:
        return np.where(lq > 0.99, np.float32(np.nan), lq)


@pytest.mark.parametrize("tile", [TilePlan(None), TilePlan(32, 8)])
def test_pictures_that_are_no_numbers_are_an_error(tile: TilePlan) -> None:
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        streamed(Broken(), tile=tile)


def test_out_of_memory_comes_through_tiles() -> None:
    class Full(IdentityRestorer):
        def __call__(self, lq: np.ndarray) -> np.ndarray:
            raise OutOfMemoryError_("full")

    with pytest.raises(OutOfMemoryError_):
        streamed(Full(), tile=TilePlan(32, 8))
