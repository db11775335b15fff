"""Text subtitles as lists of lines: reading, cutting, joining what is shown at the same time."""

from __future__ import annotations

import itertools

import pytest

from rvrt_cli.media.subtitles import Cue, as_text, cut, joined, read_cues


@pytest.mark.parametrize(
    ("cues", "shown"),
    [
        ([Cue(100, 900, "LONG"), Cue(200, 400, "short")], [(100, 200, "LONG"), (200, 400, "LONG\nshort"), (400, 900, "LONG")]),
        ([Cue(0, 10, "a"), Cue(10, 20, "b")], [(0, 10, "a"), (10, 20, "b")]),
        ([Cue(0, 10, "a"), Cue(5, 15, "b"), Cue(8, 9, "c")], [(0, 5, "a"), (5, 8, "a\nb"), (8, 9, "a\nb\nc"), (9, 10, "a\nb"), (10, 15, "b")]),
        ([Cue(0, 10, "a"), Cue(0, 10, "a")], [(0, 10, "a")]),  # layers of one text
        ([Cue(5, 10, "late"), Cue(0, 6, "early")], [(0, 5, "early"), (5, 6, "early\nlate"), (6, 10, "late")]),
        ([Cue(3, 3, "never")], []),
        ([Cue(0, 5, "x"), Cue(5, 9, "x")], [(0, 5, "x"), (5, 9, "x")]),
        ([], []),
    ],
)  # fmt: skip
def test_lines_at_the_same_time_are_joined(cues: list[Cue], shown: list[tuple[int, int, str]]) -> None:
    assert [(c.begin, c.end, c.text) for c in joined(cues)] == shown


def test_every_line_stays_as_long_as_it_was() -> None:
    cues = [Cue(37 * n % 500, 37 * n % 500 + 13 * n % 90 + 1, f"line{n}.") for n in range(60)]
    parts = joined(cues)
    assert all(a.end <= b.begin for a, b in itertools.pairwise(parts))
    for cue in cues:
        assert sum(p.end - p.begin for p in parts if cue.text in p.text.split("\n")) == cue.end - cue.begin


def test_a_range_cuts_lines() -> None:
    cues = [Cue(0, 1000, "across"), Cue(1000, 2000, "in"), Cue(1900, 5000, "out"), Cue(6000, 7000, "after")]
    assert [(c.begin, c.end) for c in cut(cues, 500, 2500)] == [(500, 1000), (1000, 2000), (1900, 2500)]


def test_text_comes_back_as_it_was_written() -> None:
    cues = [Cue(1, 3_723_004, "two\nlines"), Cue(5, 6, ""), Cue(7, 9, "12\n\nafter a gap")]
    assert read_cues(as_text(cues)) == cues
    assert read_cues(as_text(cues).replace("\n", "\r\n")) == cues
    assert as_text([Cue(-5, 5, "x")]).startswith("1\n00:00:00,000 -->")
    assert read_cues("") == read_cues("no subtitles") == []
