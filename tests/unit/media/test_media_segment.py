"""Segments: exact times, same bytes, nothing left behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_helpers import made_up_source as source

from rvrt_cli.errors import DiskFullError, OutputError
from rvrt_cli.media import (
    EncodeOptions,
    EncodeSettings,
    SegmentWriter,
    probe,
    read_frames,
    resolve_encoding,
    run_ffmpeg,
)
from rvrt_cli.media.segment import DecodeOrder, read_footer, read_packets


def settings_for(codec: str = "h264", **changes: object) -> EncodeSettings:
    preset = {"av1": "12"}.get(codec)
    return resolve_encoding(source(**changes), EncodeOptions(codec=codec, preset=preset), "o.mkv", 64, 48)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((48, 64, 3), np.float32)


def write(path: Path, settings: EncodeSettings, pictures: Iterable[np.ndarray]) -> None:
    """A whole segment with one frame per tick."""
    with SegmentWriter(path, settings) as writer:
        for pts, picture in enumerate(pictures):
            writer.write(picture, pts)
        writer.close()


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "prores", "ffv1"])
@pytest.mark.parametrize(
    "times", [[7], [-5000, -1, 0, 1, 90_000, 90_001], list(range(0, 512 * 30, 512)), [2**40, 2**40 + 3]]
)
def test_times_are_exact_for_every_codec(codec: str, times: list[int], tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "s.mkv", settings_for(codec)) as writer:
        for number, pts in enumerate(times):
            writer.write(noise(number), pts)
        info = writer.close()
    assert (info.frames, info.first_pts, info.last_pts, info.last_duration) == (
        len(times),
        times[0],
        times[-1],
        512,
    )
    assert info.size_bytes == (tmp_path / "s.mkv").stat().st_size
    with av.open(str(tmp_path / "s.mkv")) as container:
        assert sorted(p.pts or 0 for p in read_packets(container, read_footer(tmp_path / "s.mkv"))) == times


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "prores", "ffv1"])
def test_the_same_frames_give_the_same_bytes(codec: str, tmp_path: Path) -> None:
    digests = set()
    for attempt in range(2):
        with SegmentWriter(tmp_path / f"{attempt}.mkv", settings_for(codec)) as writer:
            for number in range(12):
                writer.write(noise(number), 512 * number, 512)
            digests.add(writer.close().sha256)
    assert len(digests) == 1


@pytest.fixture(scope="module")
def busy_pictures(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """The game of life and a fractal, enlarged: content on which encoders decide differently for the smallest reason."""
    folder = tmp_path_factory.mktemp("busy")
    pictures: list[np.ndarray] = []
    for film in ("life=size=80x46:mold=10:rate=24:seed=1", "mandelbrot=size=80x46:rate=24"):
        path = folder / f"{film[:4]}.mkv"
        arguments = ["-f", "lavfi", "-i", film, "-frames:v", "24", "-c:v", "ffv1", str(path)]
        run_ffmpeg(["-v", "error", *arguments], doing="making a test film")
        with read_frames(probe(path)) as frames:
            pictures += [cv2.resize(f.rgb, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) for f in frames]
    return pictures


@pytest.mark.parametrize(
    ("codec", "times", "frames"),
    [("h264", 6, 48), ("libx264rgb", 6, 48), ("h265", 2, 32), ("av1", 2, 32), ("vp9", 2, 32)],
)
def test_busy_pictures_give_the_same_bytes_every_time(
    codec: str, times: int, frames: int, busy_pictures: list[np.ndarray], tmp_path: Path
) -> None:
    """With its macroblock tree x264 makes several different files in six attempts."""
    options = EncodeOptions(codec=codec, preset={"av1": "12", "h264": "medium"}.get(codec))
    settings = resolve_encoding(source(), options, "o.mkv", 320, 184)
    digests = set()
    for _ in range(times):
        with SegmentWriter(tmp_path / "s.mkv", settings) as writer:
            for number, picture in enumerate(busy_pictures[-frames:]):
                writer.write(picture, 512 * number, 512)
            digests.add(writer.close().sha256)
    assert len(digests) == 1


@given(st.lists(st.integers(1, 10), min_size=1, max_size=60), st.sampled_from(["h264", "vp9"]))
@settings(deadline=None)
def test_decode_times_increase_and_never_pass_display_times(steps: list[int], codec: str) -> None:
    """For any B-pyramid order that two frames of delay allow."""
    display = list(np.cumsum(steps))
    order = []
    if codec == "h264":  # P, then the B in the middle, then the rest: the order x264 uses
        rest = display[1:]
        order = display[:1]
        while rest:
            group, rest = rest[:4], rest[4:]
            order += [group[-1]] + ([group[len(group) // 2 - 1]] if len(group) > 1 else [])
            order += [t for t in group if t not in order]
    else:
        order = display
    times = DecodeOrder(codec, display[0])
    found = [times.decode_time(int(t)) for t in order]
    assert found == sorted(set(found))
    assert all(d <= p for d, p in zip(found, order, strict=True))


def test_wrong_frames_are_programming_errors(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "s.mkv", settings_for()) as writer:
        with pytest.raises(ValueError, match="shape"):
            writer.write(np.zeros((10, 10, 3), np.float32), 0)
        writer.write(noise(0), 5)
        with pytest.raises(ValueError, match="does not follow"):
            writer.write(noise(1), 5)
    assert not (tmp_path / "s.mkv").exists(), "left without close(): aborted"


def test_empty_and_aborted_segments_leave_nothing(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "s.mkv", settings_for())
    with pytest.raises(OutputError, match="without frames"):
        writer.close()
    assert not (tmp_path / "s.mkv").exists()

    def failing() -> Iterator[np.ndarray]:
        yield noise(0)
        raise RuntimeError("model failed")

    with pytest.raises(RuntimeError, match="model failed"):
        write(tmp_path / "s.mkv", settings_for(), failing())
    assert not (tmp_path / "s.mkv").exists()
    with pytest.raises(OutputError, match="could not be written"):
        write(tmp_path / "missing" / "s.mkv", settings_for(), [noise(0)])


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "s.mkv").symlink_to(full)
    with pytest.raises(DiskFullError, match="disk is full"):
        write(tmp_path / "s.mkv", settings_for("ffv1"), map(noise, range(100)))
    assert full.exists()
    assert not (tmp_path / "s.mkv").is_symlink()


def test_a_disk_that_fills_up_at_the_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("rvrt_cli.media.segment.sync_file", full)
    writer = SegmentWriter(tmp_path / "s.mkv", settings_for())
    writer.write(noise(0), 0)
    with pytest.raises(DiskFullError):
        writer.close()
    assert not (tmp_path / "s.mkv").exists()


def test_an_encoder_that_refuses_is_named(tmp_path: Path) -> None:
    from dataclasses import replace

    broken = replace(settings_for(), encoder_options=(("crf", "no number"),))
    with pytest.raises(OutputError, match="encoder libx264 refused 64x48 yuv420p") as caught:
        write(tmp_path / "s.mkv", broken, [noise(0)])
    assert "\n" not in str(caught.value)


def test_colour_is_tagged_in_the_stream(tmp_path: Path) -> None:
    from rvrt_cli.media import ColorTags

    tags = ColorTags(9, 2, 9, 18, "topleft")
    for codec in ("h264", "h265", "av1", "prores"):
        with SegmentWriter(tmp_path / "s.mkv", settings_for(codec, effective_color=tags)) as writer:
            writer.write(noise(0), 0)
            writer.close()
        with av.open(str(tmp_path / "s.mkv")) as container:
            frame = next(container.decode(video=0))
        found = (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc))
        assert found == (9, 9, 18), codec
        assert int(frame.color_range) == (1 if codec == "prores" else 2) or codec == "prores"
        assert container.streams is not None


def test_rates_above_the_limit_are_hints_only() -> None:
    assert settings_for(average_rate=Fraction(100_000)).rate == 240
    assert settings_for(average_rate=None).rate == 25


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")
@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9"])
def test_encoding_leaves_the_process_at_its_ordinary_priority(codec: str, tmp_path: Path) -> None:
    # Run as root, SVT-AV1 makes the whole process real-time when it is opened; a test that spun then stood still.
    with SegmentWriter(tmp_path / "s.mkv", settings_for(codec)) as writer:
        for pts in range(3):
            writer.write(noise(pts), pts)
            policies = {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
            assert policies == {os.SCHED_OTHER}
        writer.close()
