"""``kill -9`` at any moment, then the same command: the final file is byte for byte that of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from random_films import TemporalMean
from upscale_clips import REPOSITORY, command, make_shots, run_ffmpeg, upscale

from rvrt_cli.errors import OutOfMemoryError_
from rvrt_cli.inference.open_stream import open_stream
from rvrt_cli.inference.restorer import BicubicRestorer
from rvrt_cli.inference.tiles import TilePlan
from rvrt_cli.media import probe, read_frames
from rvrt_cli.upscale.frame_source import open_frame_source
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.planner import End, PlanSettings, detector_for, plan_segments
from rvrt_cli.upscale.prepare import prepare
from rvrt_cli.upscale.render import FinishedFile, render
from rvrt_cli.upscale.run import upscale as run
from rvrt_cli.upscale.segments import PlannerState, Segment
from rvrt_cli.upscale.writers import VideoFile

FRAMES = 96
OPTIONS = ("--model", "bicubic", "--segment-frames", "8", "--window", "8")
KILLS = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_shots(tmp_path_factory.mktemp("clip") / "in.mp4", FRAMES, "64x48")


@pytest.fixture(scope="module")
def whole(clip, tmp_path_factory) -> bytes:
    output = tmp_path_factory.mktemp("whole") / "out.mp4"
    done = upscale(clip, output, *OPTIONS)
    assert done.returncode == 0, done.stderr.decode()
    return output.read_bytes()


def start(*arguments) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command(*arguments), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def journal_lines(output: Path) -> int:
    journal = output.with_name(output.name + ".rvrt-work") / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def leave_interrupted(clip: Path, output: Path) -> None:
    """What a run killed after three segments leaves, made without a race: a whole run's work, its journal cut short."""
    done = upscale(clip, output, *OPTIONS, "--keep-work")
    assert done.returncode == 0, done.stderr.decode()
    output.unlink()
    journal = output.with_name(output.name + ".rvrt-work") / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:4]))


def content(output: Path) -> dict[str, bytes]:
    """The bytes of a file, or of each file in a folder; nothing where there is neither."""
    if output.is_dir():
        return {path.name: path.read_bytes() for path in output.iterdir() if not path.name.startswith(".")}
    return {output.name: output.read_bytes()} if output.exists() else {}


def remove(output: Path) -> None:
    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)


def kill_and_continue(
    clip: Path, target: Path, output: Path, options: tuple[str, ...], kills: int, whole: dict[str, bytes]
) -> None:
    """Kill runs that write ``target`` (a file or pattern; ``output``: what appears) at random moments; the last one ends."""
    rng = random.Random(11)
    killed = 0
    for _ in range(5 * kills):
        if killed == kills:
            break
        process = start(clip, target, *options, "--overwrite")
        # Wait until this run has done something new, then a random moment more: kills fall on every phase of a segment.
        before = journal_lines(output)
        deadline = time.monotonic() + 60
        while process.poll() is None and journal_lines(output) <= before and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode != -signal.SIGKILL:
            # An idle machine finished the film before the kill: begin another one.
            assert process.returncode == 0
            assert content(output) == whole
            remove(output)
            continue
        killed += 1
    assert killed == kills
    done = upscale(clip, target, *options, "--overwrite")
    assert done.returncode == 0, done.stderr.decode()
    assert content(output) == whole


def test_killed_at_random_moments_ends_in_the_same_bytes(clip, whole, tmp_path):
    output = tmp_path / "out.mp4"
    kill_and_continue(clip, output, output, OPTIONS, KILLS, {"out.mp4": whole})
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("frames/%04d.png", ()),
        pytest.param(
            "tiled.mkv",
            ("--codec", "ffv1", "--tile", "32", "--tile-overlap", "8"),
            marks=pytest.mark.slow,
        ),
        pytest.param("woven.mkv", ("--codec", "h265", "--deinterlace", "on"), marks=pytest.mark.slow),
    ],
)
def test_killed_runs_of_other_kinds(clip, tmp_path, name, options):
    """Pictures, tiles and a deinterlacer, which has a memory of its own, continue as exactly."""
    target = tmp_path / name
    output = target.parent if "%" in name else target
    assert upscale(clip, target, *OPTIONS, *options).returncode == 0
    whole = content(output)
    remove(output)
    kill_and_continue(clip, target, output, (*OPTIONS, *options), 3, whole)
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.fixture(scope="module")
def see_through(tmp_path_factory) -> Path:
    """A clip with transparency that moves."""
    path = tmp_path_factory.mktemp("alpha") / "in.mkv"
    graph = (
        "testsrc2=size=64x48:rate=24,format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='mod(4*X+8*N,256)'"
    )
    run_ffmpeg("-f", "lavfi", "-i", graph, "-frames:v", "32", "-pix_fmt", "yuva420p", "-c:v", "ffv1", path)
    return path


@pytest.mark.parametrize(
    ("source", "name", "options"),
    [
        ("see_through", "alpha.webm", ()),
        ("clip", "preview.mp4", ("--preview", "3", "--compare", "split")),
        pytest.param("see_through", "alpha/%d.png", (), marks=pytest.mark.slow),
        pytest.param("clip", "range.mkv", ("--start", "0.5", "--frames", "40"), marks=pytest.mark.slow),
        pytest.param("clip", "light.mp4", ("--model", "light-s", "--frames", "32"), marks=pytest.mark.slow),
        pytest.param(
            "clip",
            "light.mkv",
            ("--model", "light-s", "--frames", "32", "--tile", "32", "--tile-overlap", "8"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_runs_of_every_kind_continue_after_each_segment(request, tmp_path, source, name, options):
    """What a kill leaves, made without a race: a whole run's work, its journal cut after one, two ... segments."""
    target = tmp_path / name
    output = target.parent if "%" in name else target
    arguments = (request.getfixturevalue(source), target, *OPTIONS, *options)
    done = upscale(*arguments, "--keep-work")
    assert done.returncode == 0, done.stderr.decode()
    whole = content(output)
    work = output.with_name(output.name + ".rvrt-work")
    kept = tmp_path / "kept"
    work.rename(kept)
    written = (kept / "journal.jsonl").read_bytes().splitlines(keepends=True)
    lines = [line for line in written if b'"kind":"run"' in line or b'"kind":"segment"' in line]
    # The first and the last are the usual suspects; each further one takes seconds.
    for segments in {1, len(lines) - 2}:
        remove(output)
        shutil.copytree(kept, work)
        (work / "journal.jsonl").write_bytes(b"".join(lines[: 1 + segments]))
        done = upscale(*arguments)
        assert done.returncode == 0, done.stderr.decode()
        assert f"Continuing an earlier run after frame {8 * segments}." in done.stderr.decode()
        assert content(output) == whole


def test_a_second_run_says_that_it_continues(clip, whole, tmp_path):
    """Also after the film was touched: what it holds counts, not when it was written."""
    output, film = tmp_path / "out.mp4", tmp_path / "in.mp4"
    shutil.copyfile(clip, film)
    leave_interrupted(film, output)
    os.utime(film, (1, 1))
    done = upscale(film, output, *OPTIONS)
    assert done.returncode == 0
    assert b"Continuing an earlier run after frame 24." in done.stderr
    assert output.read_bytes() == whole


def test_a_changed_option_starts_anew_with_a_message(clip, whole, tmp_path):
    output = tmp_path / "out.mp4"
    leave_interrupted(clip, output)
    done = upscale(clip, output, *OPTIONS, "--crf", "30")
    assert done.returncode == 0
    kept = tmp_path / "out.mp4.kept-1.rvrt-work"
    assert b"Changed since the earlier run: encoder, options.crf; starting anew." in done.stderr
    assert f"The work of the earlier run is kept in {kept}.".encode() in done.stderr
    fresh = tmp_path / "fresh.mp4"
    assert upscale(clip, fresh, *OPTIONS, "--crf", "30").returncode == 0
    assert output.read_bytes() == fresh.read_bytes()
    # Renamed back, the old work is continued by the old command.
    kept.rename(tmp_path / "out.mp4.rvrt-work")
    done = upscale(clip, output, *OPTIONS, "--overwrite")
    assert b"Continuing an earlier run after frame 24." in done.stderr
    assert output.read_bytes() == whole


def records(output: Path) -> list[dict]:
    """The journal's segments, in the order in which they were finished."""
    journal = output.with_name(output.name + ".rvrt-work") / "journal.jsonl"
    lines = [json.loads(line.split(b" ", 1)[1]) for line in journal.read_bytes().splitlines()]
    return [line for line in lines if line["kind"] == "segment"]


def test_damage_costs_the_damaged_segments_only(clip, whole, tmp_path):
    output = tmp_path / "out.mp4"
    assert upscale(clip, output, *OPTIONS, "--keep-work").returncode == 0
    output.unlink()
    work = tmp_path / "out.mp4.rvrt-work"
    (work / "000004.mkv").unlink()
    (work / "000007.mkv").write_bytes(b"damaged")
    before = {path.name: path.stat().st_mtime_ns for path in work.glob("*.mkv")}
    done = upscale(clip, output, *OPTIONS, "--keep-work")
    assert done.returncode == 0, done.stderr.decode()
    text = done.stderr.decode()
    assert "Segment 4 of the earlier run is damaged and is made again." in text
    assert "Segment 7 of the earlier run is damaged and is made again." in text
    assert "Continuing an earlier run of which 80 frames are finished." in text
    assert output.read_bytes() == whole
    after = {path.name: path.stat().st_mtime_ns for path in work.glob("*.mkv")}
    changed = {name for name, time_ns in after.items() if before.get(name) != time_ns}
    assert changed == {"000004.mkv", "000007.mkv"}


HARD = {
    "strobe": (
        "testsrc2=size=64x48:rate=25,geq=lum='lum(X,Y)*0.5+20+110*(between(N,10,16)*not(mod(N,2))+gt(N,16))':cb=128:cr=128",
        ("ffv1",),
    ),
    "uneven": ("testsrc2=size=64x48:rate=25,select='not(mod(n,3)*mod(n,5))'", ("libx264", "-g", "12")),
    "one-key-frame": ("testsrc2=size=64x48:rate=25", ("libx264", "-g", "500")),
}
"""Films on which continuing went wrong, or could."""


@pytest.fixture(scope="module", params=list(HARD))
def hard(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hard") / "in.mkv"
    graph, codec = HARD[request.param]
    run_ffmpeg(
        "-f", "lavfi", "-i", graph, "-frames:v", "48", "-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-c:v", *codec, path,
    )  # fmt: skip
    return path


def test_hard_films_continue_after_every_segment(hard, tmp_path):
    """In one process, from what a kill leaves; no finished segment is made again, and the film is sought where it can be."""
    output, kept = tmp_path / "out.mkv", tmp_path / "kept"
    options = UpscaleOptions(
        model="bicubic",
        codec="ffv1",
        segment_frames=7,
        window=8,
        overlap=4,
        threads=1,
        overwrite=True,
        keep_work=True,
    )
    run(hard, output, options)
    whole, work = output.read_bytes(), tmp_path / "out.mkv.rvrt-work"
    work.rename(kept)
    lines = (kept / "journal.jsonl").read_bytes().splitlines(keepends=True)
    segments = [line for line in lines if b'"kind":"segment"' in line]
    for finished in (2, 3, len(segments)):  # after frames 14, in the strobe, 21, behind it, and all
        shutil.copytree(kept, work)
        (work / "journal.jsonl").write_bytes(b"".join(lines[: 1 + finished]))
        before = {path.name: path.stat().st_mtime_ns for path in work.glob("*.mkv")}
        said: list = []
        run(hard, output, options, on_event=said.append)
        assert output.read_bytes() == whole
        messages = [getattr(event, "message", "") for event in said]
        assert not any("damaged" in message or "sought" in message for message in messages), messages
        assert records(output)[:finished] == [
            json.loads(line.split(b" ", 1)[1]) for line in segments[:finished]
        ]
        untouched = [f"{index:06d}.mkv" for index in range(finished)]
        assert all((work / name).stat().st_mtime_ns == before[name] for name in untouched)
        shutil.rmtree(work)


def test_ctrl_c_finishes_the_segment_and_says_how_to_continue(tmp_path):
    # A film long enough that it cannot end before the signal arrives, however busy the machine is.
    film = make_shots(tmp_path / "in.mp4", 960, "64x48")
    output = tmp_path / "out.mp4"
    process = start(film, output, *OPTIONS)
    while process.poll() is None and journal_lines(output) < 3:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    text = stderr.decode()
    assert process.returncode == 130, text
    assert "when the current segment is finished; press Ctrl+C again" in text
    assert "Run the same command again to continue." in text
    assert "Traceback" not in text
    assert not output.exists()
    finished = journal_lines(output) - 1
    assert f"{8 * finished} frames are finished" in text


class RunsOut(BicubicRestorer):
    """A restorer whose memory runs out once, after some pictures, above a number of pixels; its pictures say how large they are."""

    fingerprint = "runs out"

    def __init__(self, after: int | None) -> None:
        self.after, self.calls = after, 0

    def __call__(self, lq):
        self.calls += 1
        if self.after is not None and self.calls > self.after and lq.shape[1] * lq.shape[2] > 32 * 32:
            raise OutOfMemoryError_("too much")
        return np.clip(super().__call__(lq) + lq.shape[2] / 500, 0, 1)


@pytest.mark.parametrize("damaged", [(), (1,), (3,), (1, 2, 3, 5)])
def test_what_memory_allowed_a_segment_is_what_it_is_made_with_again(tmp_path, damaged):
    """Memory ran out in segment 3; a later run has enough, and makes each missing segment as it was."""
    film = make_shots(tmp_path / "in.mp4", 48, "64x48")
    output = tmp_path / "out.mkv"
    options = UpscaleOptions(
        codec="ffv1", segment_frames=8, window=8, overlap=4, threads=1, overwrite=True, keep_work=True
    )
    run(film, output, options, restorer=RunsOut(28))
    whole, work = output.read_bytes(), tmp_path / "out.mkv.rvrt-work"
    assert [record["segment"]["tile_px"] for record in records(output)] == [None] * 3 + [32] * 3
    journal = work / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"kind":"run"' in line or b'"kind":"segment"' in line]
    journal.write_bytes(b"".join(kept if damaged else kept[:5]))
    for index in damaged:
        (work / f"{index:06d}.mkv").write_bytes(b"damaged")
    run(film, output, options, restorer=RunsOut(None))
    assert output.read_bytes() == whole


def test_a_line_of_the_journal_is_enough_to_make_its_file(clip, tmp_path):
    """In any order, from the film sought to each segment, with the encoder: the file of the run, to the byte."""
    output = tmp_path / "out.mp4"
    options = UpscaleOptions(
        segment_frames=15, window=8, overlap=4, threads=1, overwrite=True, keep_work=True
    )
    run(clip, output, options, restorer=TemporalMean())
    prepared = prepare(clip, output, options, TemporalMean())
    (tmp_path / "elsewhere").mkdir()
    for values in reversed(records(output)):
        segment = Segment.from_json(values["segment"])
        first, seek = segment.start - segment.lead, segment.seek
        stream = open_stream(
            prepared.restorer,
            48,
            64,
            window=segment.window,
            lookahead=segment.overlap,
            tile=TilePlan(segment.tile_px, segment.tile_overlap_px),
        )
        file = VideoFile(tmp_path / "elsewhere", segment.index, prepared.settings)
        key = (seek.index, seek.pts) if seek else None
        with read_frames(prepared.source, key_frame=key, skip_frames=first) as frames:
            made = render(segment, frames, stream, prepared.finish, file)
        assert made == FinishedFile(**values["file"])


@pytest.mark.parametrize("codec", [("-c:v", "wmv2", "-g", "12"), ("-c:v", "mpeg4", "-g", "12", "-bf", "2")])
def test_frames_behind_any_segment_are_those_of_a_reading_from_the_start(tmp_path, codec):
    """In WMV a sought frame has a duration that it has not from the start: then the film is decoded from its start."""
    path = tmp_path / ("in.wmv" if "wmv2" in codec else "in.avi")
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", "60", *codec, path)
    film = open_frame_source(probe(path), UpscaleOptions())

    def described(frames):
        return [(f.index, f.pts, f.duration, f.rgb.tobytes()) for f in frames]

    with film.open(PlannerState(), print) as frames:
        read = list(frames)
    whole, said = described(read), []
    steps = plan_segments(read, PlanSettings(10, Level(8), 4), detector_for(PlannerState(), set()))
    for state in [step.after for step in steps if isinstance(step, End)]:
        with film.open(state, said.append) as frames:
            assert described(frames) == whole[state.first :]
    assert bool(said) == ("wmv2" in codec)
