"""Batches are the same whatever the number of workers and devices, and errors in workers arrive as sentences."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from doubles import NoiseSource
from upscale_clips import make_clip

from rvrt_cli.data.clips import VideoSource
from rvrt_cli.errors import InputError, UsageError
from rvrt_cli.imaging.resize import imresize_u8
from rvrt_cli.train.batches import (
    BatchMaker,
    BatchStream,
    SourceSpec,
    default_workers,
    parse_source,
    split_weight,
)
from rvrt_cli.train.recipe import Recipe, Stage

RECIPE = Recipe(stages=(Stage(4, 4, 2, 32), Stage(2, 2, 4, 32)), seed=5)


def _all(workers: int, start: int = 0) -> list[tuple[int, bytes, bytes]]:
    with BatchStream(BatchMaker(NoiseSource(), RECIPE), start, RECIPE.steps, workers) as stream:
        return [(batch.step, batch.lq.tobytes(), batch.gt.tobytes()) for batch in stream]


def test_workers_do_not_change_the_batches() -> None:
    alone = _all(0)
    assert [step for step, _, _ in alone] == list(range(6))
    assert _all(2) == alone


def test_a_resumed_stream_goes_on_where_it_was() -> None:
    assert _all(0, start=3) == _all(0)[3:]


def test_devices_share_the_batch_of_one() -> None:
    whole = BatchMaker(NoiseSource(), RECIPE)(1)
    shares = [BatchMaker(NoiseSource(), RECIPE, rank=rank, world=2)(1) for rank in range(2)]
    assert np.array_equal(np.concatenate([share.gt for share in shares]), whole.gt)
    assert np.array_equal(np.concatenate([share.lq for share in shares]), whole.lq)


def test_shapes_follow_the_stage_and_lq_is_the_reduced_gt() -> None:
    batch = BatchMaker(NoiseSource(), RECIPE)(5)
    assert batch.gt.shape == (2, 4, 32, 32, 3)
    assert batch.lq.shape == (2, 4, 8, 8, 3)
    assert np.array_equal(batch.lq, imresize_u8(batch.gt, 0.25))


def test_steps_seeds_and_clips_differ() -> None:
    maker = BatchMaker(NoiseSource(), RECIPE)
    other = BatchMaker(NoiseSource(), Recipe(stages=RECIPE.stages, seed=6))
    clips = [maker(0).gt[0], maker(0).gt[1], maker(1).gt[0], other(0).gt[0]]
    assert len({clip.tobytes() for clip in clips}) == 4


def test_seven_frames_are_mirrored_to_fourteen() -> None:
    recipe = Recipe(stages=(Stage(1, 1, 7, 16),))
    batch = BatchMaker(NoiseSource(), recipe)(0)
    assert batch.gt.shape[1] == batch.lq.shape[1] == 14
    assert np.array_equal(batch.gt[:, 7:], batch.gt[:, 6::-1])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_ends_the_stream_with_its_sentence(workers: int) -> None:
    maker = BatchMaker(NoiseSource(broken=True), RECIPE)
    with (
        BatchStream(maker, 0, 6, workers) as stream,
        pytest.raises(InputError, match=r"noise\.png is damaged"),
    ):
        next(iter(stream))


def test_a_dead_worker_is_an_error_and_no_hang() -> None:
    maker = BatchMaker(NoiseSource(exits=True), RECIPE)
    with (
        BatchStream(maker, 0, 6, 1) as stream,
        pytest.raises(InputError, match=r"worker died \(exit code 7\)"),
    ):
        next(iter(stream))


def test_workers_do_not_change_clips_of_videos_that_suffer_like_real_ones(tmp_path: Path) -> None:
    recipe = Recipe(stages=(Stage(4, 2, 4, 48),), degradation="real")
    maker = BatchMaker(VideoSource([make_clip(tmp_path / "film.mp4", 60, "96x64")]), recipe)
    with BatchStream(maker, 0, 4, 0) as alone, BatchStream(maker, 0, 4, 2) as shared:
        for one, other in zip(alone, shared, strict=True):
            assert np.array_equal(one.lq, other.lq)
            assert np.array_equal(one.gt, other.gt)


LARGE = replace(RECIPE, stages=(Stage(40, 2, 2, 256),))
"""Batches of 393 KB: more than a pipe holds, so that a worker is nearly always in the middle of a message."""


def test_a_worker_killed_in_the_middle_of_a_message_is_an_error_and_no_hang() -> None:
    with BatchStream(BatchMaker(NoiseSource(), LARGE), 0, 40, 1) as stream:
        batches = iter(stream)
        next(batches)
        time.sleep(0.2)  # the next message is on its way
        stream._workers[0][0].kill()
        with pytest.raises(InputError, match=r"worker died \(exit code -9\)"):
            list(batches)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_workers_leave_stop_signals_to_the_training_process() -> None:
    with BatchStream(BatchMaker(NoiseSource(), LARGE), 0, 40, 1) as stream:
        pid = stream._workers[0][0].pid
        os.kill(pid, signal.SIGTERM)  # most likely before the worker's first line runs
        batches = iter(stream)
        next(batches)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        assert len(list(batches)) == 39


def test_origins_name_the_clips_of_a_batch() -> None:
    maker = BatchMaker(NoiseSource(), replace(RECIPE, augment=False))
    assert maker.origins(1) == [f"noise {clip[0, 0, 0, 0]}" for clip in maker(1).gt]


def test_sources_are_read() -> None:
    assert parse_source("films:2.5") == SourceSpec("films", 2.5)
    assert parse_source("films") == SourceSpec("films", 1.0)
    assert parse_source("C:films") == SourceSpec("C:films", 1.0)
    assert parse_source("photos=shots:3") == SourceSpec("shots", 3.0, "photos")
    assert parse_source("holiday=2024") == SourceSpec("holiday=2024")
    assert split_weight("vimeo90k:2", "--dataset") == ("vimeo90k", 2.0)
    with pytest.raises(UsageError, match=r"--data.*above 0"):
        parse_source("films:0")


def test_workers_take_the_cores_that_devices_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, devices, workers in ((2, 1, 1), (2, 2, 1), (16, 1, 8), (16, 4, 3), (64, 8, 7)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert default_workers(devices) == workers
