"""Films of the worst kinds for a planner: cuts, strobes, uneven times, lengths that fit nothing; and a model that shows every difference."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from rvrt_cli.media.frame import Frame

SIZE = (16, 16)


class TemporalMean:
    """A restorer whose pictures depend on all frames of a call, so that any difference in what it is given shows."""

    scale, channels, name, engine, fingerprint = 1, 3, "mean", "test", "mean"
    device, precision = "cpu", "fp32"

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        weights = np.arange(1, len(lq) + 1, dtype=np.float32)[:, None, None, None]
        return 0.5 * lq + 0.5 * (lq * weights).mean(axis=0, keepdims=True) / weights.mean()

    def close(self) -> None:
        """Nothing to free."""


def make_film(levels: list[float], key_frames: set[int], gaps: list[int]) -> list[Frame]:
    """Pictures of these brightnesses (a jump is a cut, or a strobe), with noise, at uneven times."""
    rng = np.random.default_rng(len(levels))
    texture = rng.random((*SIZE, 3), np.float32) * 0.1
    frames, pts = [], 0
    for index, level in enumerate(levels):
        pts += gaps[index % len(gaps)]
        picture = np.clip(np.roll(texture, index, axis=1) + np.float32(level), 0, 1)
        frames.append(Frame(index, pts, None, picture, None, False, index in key_frames or index == 0))
    return frames


@st.composite
def films(draw: st.DrawFn) -> tuple[list[float], set[int], list[int]]:
    """Arguments of :func:`make_film` for a film of steady and of flickering pieces."""
    pieces = draw(
        st.lists(
            st.tuples(st.sampled_from([0.0, 0.3, 0.6, 0.9]), st.integers(1, 17), st.booleans()),
            min_size=1,
            max_size=5,
        )
    )
    levels: list[float] = []
    for level, length, flickers in pieces:
        levels += [
            level + (0.45 if flickers and i % 2 else 0) - (0.4 if level > 0.5 else 0) for i in range(length)
        ]
    keys = draw(st.sets(st.integers(0, len(levels)), max_size=6))
    return levels, keys, draw(st.lists(st.integers(1, 50), min_size=1, max_size=3))
