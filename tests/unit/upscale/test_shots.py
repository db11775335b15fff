"""Shots: hard cuts are found, motion and slow fades are not, and what is decided is not asked again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rvrt_cli.upscale.shots import LOOKBACK, CutDetector, content_score, flag_cuts, to_hsv


@dataclass
class Picture:
    rgb: np.ndarray


def film(*lengths: int, motion: int = 1, seed: int = 0) -> list[Picture]:
    """Shots of a smooth texture that moves by ``motion`` pixels a frame; each has its own tint and brightness."""
    import cv2

    rng = np.random.default_rng(seed)
    frames = []
    for shot, length in enumerate(lengths):
        texture = cv2.GaussianBlur(rng.random((72, 400, 3)).astype(np.float32), (0, 0), 4)
        texture = (texture - texture.min()) / np.ptp(texture)
        tint = np.roll(np.array([0.9, 0.5, 0.2], np.float32), shot)
        frames += [Picture(np.roll(texture, motion * i, axis=1)[:, :128] * tint) for i in range(length)]
    return frames


def cuts(frames, **state) -> list[int]:
    first = state.get("first_index", 0)
    return [first + i for i, (_, cut) in enumerate(flag_cuts(frames, CutDetector(**state), first)) if cut]


def test_cuts_are_found():
    assert cuts(film(20, 31, 12)) == [20, 51]


def test_short_inserts_are_shots_of_their_own():
    assert cuts(film(20, 3, 4, 12)) == [20, 23, 27]
    assert cuts(film(3, 20)) == [3]


def test_fast_motion_is_no_cut():
    assert cuts(film(60, motion=17)) == []


def test_a_slow_fade_is_no_cut():
    frames = film(40)
    assert cuts([Picture(p.rgb * (1 - i / 40)) for i, p in enumerate(frames)]) == []


def test_a_flash_gives_at_most_one_cut_and_shots_have_a_minimum_length():
    frames = film(40)
    frames[20] = Picture(np.ones_like(frames[20].rgb))
    assert len(cuts(frames)) <= 1


def test_decided_frames_are_not_asked_about_again():
    """A detector that begins to look there would decide otherwise, and the planner has its record."""
    frames = film(20, 31, 12, 25)
    whole = cuts(frames)
    for decided in (22, 31, 50, 53, 70):
        first = decided - LOOKBACK - 8
        known = [cut for cut in whole if first <= cut < decided]
        detector = CutDetector(first, max(cut for cut in [0, *whole] if cut < decided))
        again = flag_cuts(frames[first:], detector, first, decided=decided, cuts=known)
        assert [first + i for i, (_, cut) in enumerate(again) if cut] == [
            cut for cut in whole if cut >= first
        ]


def test_every_frame_comes_out_once():
    frames = film(3)
    assert [f for f, _ in flag_cuts(frames, CutDetector())] == frames


def test_a_new_size_counts_as_a_cut():
    assert (
        content_score(to_hsv(np.zeros((4, 4, 3), np.float32)), to_hsv(np.zeros((8, 8, 3), np.float32))) == 255
    )
