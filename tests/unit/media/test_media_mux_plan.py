"""What is wished for a stream before ffmpeg was asked, and what becomes of streams that do not fit together."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from media_helpers import made_up_source

from rvrt_cli.media import Chapter, EncodeOptions, Stream, StreamPlan, mux_plan, plan_mux, resolve_encoding


def stream(kind: str, codec: str, index: int = 1, **metadata: str) -> Stream:
    return Stream(index, kind, codec, Fraction(1, 1000), 0.0, 1.0, None, frozenset(), tuple(metadata.items()))  # type: ignore[arg-type]


CHAPTERS = (Chapter(0.0, 1.0, "One"),)


@pytest.mark.parametrize(
    ("container", "found", "chapters", "action"),
    [
        ("mp4", stream("subtitle", "hdmv_pgs_subtitle"), (), "copy"),  # ffmpeg says whether that goes
        ("mp4", stream("data", "text"), CHAPTERS, "drop"),  # the titles; the muxer writes its own
        ("mp4", stream("data", "gpmd"), CHAPTERS, "copy"),
        ("mov", stream("data", "gpmd"), (), "copy"),
        ("mp4", stream("data", "mebx"), CHAPTERS, "drop"),  # ffmpeg would describe it by another box's name
        ("mp4", stream("data", "tmcd", timecode="01:00:00:00"), CHAPTERS, "drop"),  # made anew from the tag
        ("mkv", stream("data", "gpmd"), (), "drop"),
        ("webm", stream("attachment", "ttf"), (), "drop"),
        ("mkv", stream("attachment", "ttf"), (), "copy"),
    ],
)
def test_what_is_wished_for_a_stream(
    container: str, found: Stream, chapters: tuple[Chapter, ...], action: str
) -> None:
    source = replace(made_up_source(), streams=(found,), chapters=chapters)
    settings = resolve_encoding(source, EncodeOptions(), Path(f"o.{container}"), 256, 192)
    assert mux_plan._wish(found, source, settings).action == action


def test_one_stream_that_does_not_fit_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for all streams ffmpeg refuses; asked for one after the other it refuses the second only."""
    streams = (stream("video", "h264", 0), stream("audio", "aac"), stream("subtitle", "dvb", 2))
    source = replace(made_up_source(), streams=streams)
    settings = resolve_encoding(source, EncodeOptions(), Path("o.mp4"), 256, 192)

    def accepted(source: object, container: str, plans: list[StreamPlan]) -> bool:
        return all(plan.kind == "audio" for plan in plans)

    monkeypatch.setattr(mux_plan, "_accepted", accepted)
    plan = plan_mux(source, settings)
    assert [s.action for s in plan.streams] == ["upscale", "copy", "drop"]
    assert len(plan.warnings) == 1
    assert "subtitle stream 2 (dvb) is left out" in plan.warnings[0]
