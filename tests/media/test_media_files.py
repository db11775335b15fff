"""Every file of the shared media folder, and what is expected of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from media_helpers import Passed, tracks

from rvrt_cli.errors import InputError
from rvrt_cli.media import probe, read_frames


@dataclass(frozen=True)
class Works:
    """The file gives a correct output. frames: as many as ffmpeg decodes. factor: of the scaling used in the test."""

    output: str
    frames: int
    factor: float = 4
    corrupt: int = 0
    resized: int = 0
    warning: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Refused:
    """The file is refused with a sentence holding ``words``."""

    words: str


EXPECTED: dict[str, Works | Refused] = {
    "0-timescale.mp4": Refused("not one frame"),
    "2x2-green.mp4": Works("out.mp4", 1),
    "400x300-red-resize-200x150-green.mp4": Works("out.mp4", 118, 1, resized=59, note="resolution changes"),
    "ac3.mkv": Refused("only sound"),
    "annex-b.mp4": Works("out.mp4", 6, 0.25, corrupt=1, note="announces 745 frames"),
    "bear-vp9-odd-dimensions.webm": Works("out.webm", 30, 1),
    "bitmap.mp4": Works("out.mp4", 5),
    "bt709_full_range.mp4": Works("out.mp4", 30, 0.125),
    "bug1535980.webm": Works("out.webm", 60, 0.125),
    "cursed-vfr.mp4": Works("out.mp4", 63, 0.2),
    "empty-samples.webm": Refused("is empty"),
    "encrypted-clearkey.mp4": Refused("encrypted"),
    "flower.mp4": Works("out.mp4", 150, 0.125),
    "garbled.webm": Refused("not a readable video"),
    "hdr10-av1.mp4": Works("out.mp4", 127, 0.125),
    "invalid-bitstream.webm": Refused("not one frame"),
    "nasa_13013.mp4": Works("out.mp4", 390, 0.125, note=None),
    "red-46x48.mp4": Works("out.mp4", 1),
    "sample_rotate_and_reflect.mp4": Works("out.mp4", 30, 0.25),
    "sample_with_chapters.mkv": Works("out.mkv", 150, 1),
    "sample_with_srt.mkv": Works("out.mp4", 30, 0.25, warning="converted from subrip to mov_text"),
    "sar_2x1.mp4": Works("out.mp4", 150, 0.25),
    "test1.mp4": Works("out.mp4", 21, 1, note="bwdif"),
    "track-with-zero-dimensions.mp4": Works("out.mp4", 19, corrupt=1),
    "transparent.webm": Works("out.webm", 150, 0.125),
    "video_with_failing_audio.mp4": Works("out.mp4", 280, 0.25),
    "with-attached-pic.mp3": Refused("cover picture"),
}


def test_every_shared_file_has_an_expectation(shared: Path) -> None:
    assert sorted(p.name for p in (shared / "data" / "media").iterdir()) == sorted(EXPECTED)


@pytest.mark.parametrize("name", [n for n, e in EXPECTED.items() if isinstance(e, Refused)])
def test_is_refused_in_one_sentence(name: str, shared: Path) -> None:
    expectation = EXPECTED[name]
    assert isinstance(expectation, Refused)
    path = shared / "data" / "media" / name
    with pytest.raises(InputError, match=expectation.words) as caught, read_frames(probe(path)) as frames:
        next(frames)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [n for n, e in EXPECTED.items() if isinstance(e, Works)])
def test_gives_a_faithful_film(name: str, shared: Path, run_through: Callable[..., Passed]) -> None:
    expectation = EXPECTED[name]
    assert isinstance(expectation, Works)
    path = shared / "data" / "media" / name
    done = run_through(path, expectation.output, factor=expectation.factor)
    assert (len(done.pts), done.corrupt, done.resized, done.repaired) == (
        expectation.frames,
        expectation.corrupt,
        expectation.resized,
        0,
    )
    if expectation.warning is not None:
        assert any(expectation.warning in w for w in done.plan.warnings)
    else:
        assert not done.plan.warnings or name == "sample_rotate_and_reflect.mp4"
    if expectation.note is not None:
        assert any(expectation.note in n for n in done.notes), done.notes

    before, after = tracks(path), tracks(done.output)
    position = next(i for i, p in enumerate(done.plan.kept) if p.action == "upscale")
    film = after[position]
    assert film.packets == expectation.frames
    seconds = [float(p * done.source.video.time_base) for p in done.pts]
    assert film.times_s == pytest.approx(seconds, abs=1e-6 if expectation.output.endswith("mp4") else 5.1e-4)
    for place, plan in enumerate(done.plan.kept):
        if plan.action == "copy":
            source, copy = before[plan.index], after[place]
            assert (copy.kind, copy.codec, copy.packets, copy.digest) == (
                source.kind,
                source.codec,
                source.packets,
                source.digest,
            )
            assert copy.times_s[0] == pytest.approx(source.times_s[0], abs=1.1e-3)
            assert copy.times_s[-1] == pytest.approx(source.times_s[-1], abs=1.1e-3)

    # What PyAV and ffmpeg say of the result, beside what they said of the source.
    video, result = done.source.video, probe(done.output, video_stream=position).video
    assert result.sar == video.sar
    assert (result.rotation, result.flipped) == (video.rotation, video.flipped)
    assert (result.bit_depth, result.has_alpha) == (video.bit_depth, video.has_alpha)
    assert result.chroma == video.chroma
    assert (result.color.matrix, result.color.primaries, result.color.transfer) == (
        video.effective_color.matrix,
        video.effective_color.primaries,
        video.effective_color.transfer,
    )
    assert result.effective_color.range == video.effective_color.range
    again = probe(done.output)
    assert [(c.start_s, c.end_s, c.title) for c in again.chapters] == [
        (c.start_s, c.end_s, c.title) for c in done.source.chapters
    ]
    for place, plan in enumerate(done.plan.kept):
        was, is_ = done.source.streams[plan.index], again.streams[place]
        assert (was.language or "und") == (is_.language or "und")
        if done.source.format == again.format:
            assert was.disposition == is_.disposition
