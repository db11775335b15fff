"""Rendering a segment is a pure function: any order, any process, after anything else, the same bytes."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_films import SIZE, TemporalMean, films, make_film

from rvrt_cli.errors import NonFiniteError
from rvrt_cli.inference.open_stream import open_stream
from rvrt_cli.inference.restorer import IdentityRestorer
from rvrt_cli.inference.tiles import TilePlan
from rvrt_cli.upscale.events import ignore_event
from rvrt_cli.upscale.executors import RenderJob, Stretch
from rvrt_cli.upscale.executors.local import LocalExecutor
from rvrt_cli.upscale.finish import Finish
from rvrt_cli.upscale.frame_source import frames_in_memory
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.oom_fallback import OomFallback
from rvrt_cli.upscale.planner import PlanSettings
from rvrt_cli.upscale.render import render
from rvrt_cli.upscale.segments import PlannerState, Segment


class Hashing:
    """A segment's file whose content is only its check sum."""

    def __init__(self, index):
        self.digest, self.index = hashlib.sha256(), index

    def write(self, frame, picture, alpha):
        self.digest.update(np.int64([frame.index, frame.pts]).tobytes() + picture.tobytes())

    def close(self):
        return f"{self.index}", self.digest.hexdigest()

    def abort(self):
        """Nothing to drop."""


def run(film, config, stretches=(Stretch(PlannerState()),), finished=None):
    """{segment: its file} of a local run, and the state behind each."""
    files, states = {}, []

    def take(segment, file, after):
        files[segment] = file
        states.append(after)
        if finished is not None:
            finished(len(files))

    job = RenderJob(
        source=frames_in_memory(lambda first: iter(film[first:]), len(film)),
        settings=config,
        fallback=OomFallback([TemporalMean], config.level),
        finish=Finish(*SIZE),
        open_file=Hashing,
        finished=take,
        stretches=tuple(stretches),
    )
    LocalExecutor(job, ignore_event).run()
    return files, states


def stream_of(segment):
    return open_stream(
        TemporalMean(), *SIZE, window=segment.window, lookahead=segment.overlap, tile=TilePlan(None)
    )


def render_alone(segment, film, stream=None):
    frames = film[segment.start - segment.lead :]
    return render(segment, frames, stream or stream_of(segment), Finish(*SIZE), Hashing(segment.index))


@settings(max_examples=25, deadline=None)
@given(films(), st.integers(1, 13), st.sampled_from([(4, 2), (8, 4)]), st.randoms(use_true_random=False))
def test_segments_in_any_order_are_those_of_one_run(description, length, window, rng: random.Random):
    film = make_film(*description)
    files, _ = run(film, PlanSettings(length, Level(window[0]), window[1]))
    segments = list(files)
    rng.shuffle(segments)
    stream = stream_of(segments[0])  # one for all: nothing of a segment stays in it
    for segment in segments:
        assert render_alone(segment, film, stream) == files[segment]


@settings(max_examples=25, deadline=None)
@given(films(), st.integers(1, 13), st.sampled_from([(4, 2), (8, 4)]), st.data())
def test_any_gaps_are_filled_with_the_bytes_of_one_run(description, length, window, data):
    """Kills and damage leave any set of finished segments; what is planned between them is what was planned before."""
    film = make_film(*description)
    config = PlanSettings(length, Level(window[0]), window[1])
    files, states = run(film, config)
    kept = sorted(data.draw(st.sets(st.integers(0, len(files) - 1))))
    segments = list(files)
    stretches, state = [], PlannerState()
    for index in kept:
        if index != state.index:
            stretches.append(Stretch(state, segments[index].start))
        state = states[index]
    again, _ = run(film, config, [*stretches, Stretch(state)])
    assert again == {s: file for s, file in files.items() if s.index not in kept}


def _render_pickled(job: bytes) -> list:
    film, segments = pickle.loads(job)
    return [render_alone(Segment.from_json(values), film) for values in segments]


def test_segments_in_other_processes_are_those_of_one_run():
    film = make_film([0.1] * 9 + [0.1 if i % 2 else 0.6 for i in range(9)] + [0.6] * 25, {0}, [3, 7])
    files, _ = run(film, PlanSettings(7, Level(8), 4))
    values = [segment.to_json() for segment in files]
    jobs = [pickle.dumps((film, part)) for part in (values[1::2], values[0::2])]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        odd, even = pool.map(_render_pickled, jobs)
    found = {file.name: file for file in (*odd, *even)}
    assert list(files.values()) == [found[str(segment.index)] for segment in files]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tile", [TilePlan(None), TilePlan(32, 16)])
def test_one_bad_pixel_is_an_error(value, tile):
    """Codes of tiles have no NaN: it must be seen before they are put together."""

    class Bad(IdentityRestorer):
        def __call__(self, lq):
            out = super().__call__(lq)
            out[-1, 0, 0, 1] = value
            return out

    stream = open_stream(Bad(), 40, 48, window=8, lookahead=4, tile=tile)
    film = make_film([0.2] * 12, {0}, [1])
    files, _ = run(film, PlanSettings(12, Level(8), 4))
    (segment,) = files
    big = [type(f)(f.index, f.pts, None, np.full((40, 48, 3), 0.5, np.float32)) for f in film]
    with pytest.raises(NonFiniteError, match="try --precision fp32"):
        render(segment, big, stream, Finish(40, 48), Hashing(0))
