"""Where results go: names of pictures, shared work directories, batches, names with a percent sign, what must not be replaced."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from threading import Event

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner
from upscale_clips import make_clip, run_ffmpeg, upscale

from rvrt_cli.cli.app import app
from rvrt_cli.errors import DiskFullError, ExitCode, OutputError, PartialError, UsageError
from rvrt_cli.upscale.events import ignore_event
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.run import prepare, run_prepared

BICUBIC = ("--model", "bicubic", "--threads", "1")
RNG = np.random.default_rng(3)


def run(*arguments):
    """Run in this process; errors are raised as they reach the boundary."""
    result = CliRunner().invoke(app, ["upscale", *map(str, arguments), *BICUBIC], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_pictures(folder: Path, *file_names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in file_names:
        cv2.imwrite(str(folder / name), RNG.integers(0, 256, (16, 16, 3), np.uint8))
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "in.mp4", 24, "32x16")


def leave_work(output: Path, work: Path, lines: int) -> None:
    """Make of a finished run's kept ``work`` that of a run killed after ``lines - 1`` segments."""
    journal = work / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:lines]))
    if output.exists():
        output.unlink()


# Pictures


def test_one_picture_becomes_one_picture(tmp_path):
    write_pictures(tmp_path, "pic.png")
    run(tmp_path / "pic.png", tmp_path / "out.png")
    assert names(tmp_path) == ["out.png", "pic.png"]
    assert cv2.imread(str(tmp_path / "out.png")).shape == (64, 64, 3)
    with pytest.raises(OutputError, match="already holds"):
        run(tmp_path / "pic.png", tmp_path / "out.png")
    with pytest.raises(OutputError, match="input"):
        run(tmp_path / "pic.png", tmp_path / "pic.png", "--overwrite")


def test_a_film_does_not_fit_into_one_picture(clip, tmp_path):
    with pytest.raises(OutputError, match="--frame TIME"):
        run(clip, tmp_path / "out.png")
    run(clip, tmp_path / "out.png", "--frames", "1")
    assert names(tmp_path) == ["out.png"]


def test_numbers_of_a_sequence_are_kept_and_gaps_are_named(tmp_path):
    frames = write_pictures(tmp_path / "in", "0101.png", "0102.png", "0105.png", "0106.png")
    result = run(frames, tmp_path / "out" / "up_%06d.png")
    assert names(tmp_path / "out") == [f"up_000{n}.png" for n in (101, 102, 105, 106)]
    assert "2 of the numbers 101 to 106 have no picture (the first is 103)" in result.stderr
    run(frames, tmp_path / "part" / "%d.png", "--start", "0.083")  # 24 pictures a second: from the third on
    assert names(tmp_path / "part") == ["105.png", "106.png"]


def test_names_of_a_folder_are_kept(tmp_path):
    frames = write_pictures(tmp_path / "in", "cat.png", "dog 50%.jpg")
    run(frames, tmp_path / "out")
    assert names(tmp_path / "out") == ["cat.png", "dog 50%.png"]
    write_pictures(tmp_path / "out", "old.png")
    assert "out holds 1 other image, which stay there" in run(frames, tmp_path / "out", "--overwrite").stderr
    write_pictures(frames, "cat.jpg")
    with pytest.raises(OutputError, match=r"two pictures would become .*cat\.png"):
        run(frames, tmp_path / "other")


def test_the_input_is_never_replaced(tmp_path):
    frames = write_pictures(tmp_path / "in", "001.png", "002.png")
    before = (frames / "001.png").read_bytes()
    for target in (frames / "%03d.png", frames / "%d.png", frames):
        with pytest.raises(OutputError, match="input"):
            run(frames / "%03d.png", target, "--overwrite")
    assert (frames / "001.png").read_bytes() == before
    run(frames / "%03d.png", frames / "up_%03d.png")
    assert names(frames) == ["001.png", "002.png", "up_001.png", "up_002.png"]


def test_overwrite_leaves_no_older_pictures(clip, tmp_path):
    folder = tmp_path / "frames"
    run(clip, folder / "f%03d.png", "--frames", "6")
    (folder / "mine.png").write_bytes(b"not of the sequence")
    run(clip, folder / "f%03d.png", "--frames", "2", "--overwrite")
    assert names(folder) == ["f001.png", "f002.png", "mine.png"]


def test_a_changed_pattern_starts_anew(clip, tmp_path):
    folder = tmp_path / "fr"
    run(clip, folder / "%05d.png", "--segment-frames", "8", "--keep-work")
    for path in folder.iterdir():
        path.unlink()
    leave_work(folder / "none", tmp_path / "fr.rvrt-work", 2)
    result = run(clip, folder / "img%d.png", "--segment-frames", "8")
    assert "Changed since the earlier run: names; starting anew." in result.stderr
    assert names(folder) == sorted(f"img{n}.png" for n in range(1, 25))


@pytest.mark.parametrize("output", ["%03d.png", "./%03d.png", "../%03d.png"])
def test_pictures_into_a_folder_without_a_name(clip, tmp_path, monkeypatch, output):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    run(clip, Path(output), "--frames", "2")
    assert sorted(path.name for path in (inside / output).resolve().parent.glob("*.png")) == [
        "001.png",
        "002.png",
    ]
    assert not list(tmp_path.rglob("*.rvrt-work*"))


def test_pictures_continue(clip, tmp_path):
    folder = tmp_path / "fr"
    run(clip, folder / "%05d.png", "--segment-frames", "8", "--keep-work")
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    leave_work(folder / "none", tmp_path / "fr.rvrt-work", 2)
    result = run(clip, folder / "%05d.png", "--segment-frames", "8")
    assert "Continuing an earlier run after frame 8." in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


@pytest.mark.parametrize("output", ["%03d.png", ""])
def test_a_run_killed_while_pictures_are_put_into_place_continues(tmp_path, monkeypatch, output):
    """The same command finds its own first pictures there, which are no reason to refuse; another run's are."""
    source, folder = write_pictures(tmp_path / "in", "001.png", "002.png", "003.png"), tmp_path / "out"
    run(source, tmp_path / "whole")
    real, placed = os.replace, []

    def killed(old, new):
        if Path(new).parent == folder and Path(new).suffix == ".png":
            if placed:
                raise KeyboardInterrupt
            placed.append(new)
        real(old, new)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run_prepared(prepare(source, folder / output, UpscaleOptions(model="bicubic")), ignore_event, Event())
    monkeypatch.undo()
    assert names(folder) == [".002.png.part", ".rvrt-unfinished", "001.png"]
    write_pictures(folder, "009.png")
    with pytest.raises(OutputError, match=r"holds images \(009\.png\)"):
        run(source, folder / output)
    (folder / "009.png").unlink()
    run(source, folder / output)
    assert names(folder) == names(source)
    assert [p.read_bytes() for p in sorted(folder.iterdir())] == [
        p.read_bytes() for p in sorted((tmp_path / "whole").iterdir())
    ]


def test_a_disk_that_fills_up_while_pictures_are_put_into_place(tmp_path, monkeypatch):
    """What came newly is taken away again, so that the folder holds what it held, and the same command continues."""
    source, folder = write_pictures(tmp_path / "in", "001.png", "002.png", "003.png"), tmp_path / "out"
    folder.mkdir()
    (folder / "001.png").write_bytes(b"older")
    real = os.replace

    def full(old, new):
        if Path(new) == folder / "003.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(old, new)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DiskFullError):
        run(source, folder / "%03d.png", "--overwrite")
    monkeypatch.undo()
    assert names(folder) == ["001.png"]
    run(source, folder / "%03d.png", "--overwrite")
    assert names(folder) == names(source)
    other = tmp_path / "other"
    monkeypatch.setattr(os, "replace", lambda old, new: full(old, folder / "003.png"))
    with pytest.raises(DiskFullError):
        run(source, other / "%03d.png")
    assert not other.exists()


def test_pixel_formats_of_pictures(clip, tmp_path):
    run(clip, tmp_path / "a.png", "--frames", "1", "--pix-fmt", "yuv420p10le")
    assert cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    with pytest.raises(UsageError, match="banana"):
        run(clip, tmp_path / "b.png", "--frames", "1", "--pix-fmt", "banana")
    assert names(tmp_path) == ["a.png"]


def test_a_wrong_picture_late_in_a_sequence_names_what_is_kept(tmp_path):
    frames = write_pictures(tmp_path / "in", *(f"{n:03}.png" for n in range(1, 41)))
    cv2.imwrite(str(frames / "040.png"), np.zeros((8, 8, 3), np.uint8))
    done = upscale(frames, tmp_path / "out.mp4", *BICUBIC, "--segment-frames", "8", "--window", "8")
    assert done.returncode == ExitCode.INPUT
    text = done.stderr.decode()
    assert "040.png is 8x8" in text
    assert "finished and kept in" in text
    assert "out.mp4.rvrt-work" in text


# Work directories


def test_a_shared_work_dir_keeps_films_apart(clip, tmp_path):
    work = tmp_path / "work"
    for name in "ab":
        (tmp_path / name).mkdir()
        run(clip, tmp_path / name / "out.mkv", "--work-dir", work, "--keep-work", "--segment-frames", "8")
    assert len(names(work)) == 2
    for folder in work.iterdir():
        leave_work(tmp_path / "a" / "out.mkv", folder, 3)
    result = run(clip, tmp_path / "a" / "out.mkv", "--work-dir", work, "--segment-frames", "8")
    assert "Continuing an earlier run after frame 16." in result.stderr
    assert len(names(work)) == 1


def test_work_moved_to_another_disk_continues(clip, tmp_path):
    output, work = tmp_path / "out.mkv", tmp_path / "big"
    work.mkdir()
    run(clip, output, "--keep-work", "--segment-frames", "8")
    leave_work(output, tmp_path / "out.mkv.rvrt-work", 3)
    (tmp_path / "out.mkv.rvrt-work").rename(work / "out.mkv.rvrt-work")
    result = run(clip, output, "--work-dir", work, "--segment-frames", "8")
    assert "Continuing an earlier run after frame 16." in result.stderr
    assert names(work) == []


def test_another_memory_limit_and_threads_keep_what_is_done(clip, tmp_path):
    output, options = tmp_path / "out.mkv", ("--segment-frames", "8", "--codec", "ffv1")
    run(clip, output, *options, "--keep-work")
    whole = output.read_bytes()
    leave_work(output, tmp_path / "out.mkv.rvrt-work", 2)
    done = upscale(
        clip, output, *options, "--model", "bicubic", "--threads", "2", "--memory-limit", "100M", "--json"
    )
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["frames_resumed"] == 8
    assert report["window"] == 8, "the rest is made with shorter windows"
    assert len(output.read_bytes()) == len(whole)


def test_an_output_that_appears_meanwhile_is_kept(clip, tmp_path, monkeypatch):
    from rvrt_cli.upscale import run as run_module

    output = tmp_path / "out.mp4"
    real = run_module.render_stretches

    def meanwhile(*arguments, **options):
        result = real(*arguments, **options)
        output.write_bytes(b"mine")
        return result

    monkeypatch.setattr(run_module, "render_stretches", meanwhile)
    with pytest.raises(OutputError, match="appeared"):
        run(clip, output)
    assert output.read_bytes() == b"mine"
    monkeypatch.undo()
    output.unlink()
    assert "Continuing" in run(clip, output).stderr


def test_a_run_killed_when_the_film_was_in_place_is_finished(clip, tmp_path):
    """Its journal says that the output was being made: the film that lies there is made again and found to be the same."""
    output, work = tmp_path / "out.mp4", tmp_path / "out.mp4.rvrt-work"
    run(clip, output, "--keep-work")
    whole = output.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        run(clip, output)
    journal = work / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    shutil.copytree(work, tmp_path / "kept")
    run(clip, output)
    assert output.read_bytes() == whole
    assert not work.exists()
    for arguments, message, content in [
        ((), "appeared", b"mine"),
        (("--strength", "0.5"), "exists", whole),
    ]:
        shutil.copytree(tmp_path / "kept", work, dirs_exist_ok=True)
        output.write_bytes(content)
        with pytest.raises(OutputError, match=message):
            run(clip, output, *arguments)
        assert output.read_bytes() == content


def test_a_run_killed_while_its_work_was_removed_is_finished(clip, tmp_path, monkeypatch):
    output, work = tmp_path / "out.mp4", tmp_path / "out.mp4.rvrt-work"
    with monkeypatch.context() as patched:
        patched.setattr("rvrt_cli.upscale.journal.Journal.remove", lambda self: None)
        run(clip, output)
    for segment in work.glob("*.mkv"):
        segment.unlink()
    shutil.copytree(work, tmp_path / "kept")
    before = output.stat().st_mtime_ns
    assert "had finished" in run(clip, output).stderr
    assert output.stat().st_mtime_ns == before
    assert not work.exists()
    # Where the film was replaced since, nothing is known of what lies there.
    shutil.copytree(tmp_path / "kept", work)
    output.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        run(clip, output)
    assert output.read_bytes() == b"mine"


# Batches


def test_a_batch_of_containers_that_are_not_written(clip, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for suffix in (".avi", ".ts", ".mpg", ".wmv"):
        run_ffmpeg("-i", clip, folder / f"{suffix[1:]}{suffix}")
    run(folder, tmp_path / "out")
    assert names(tmp_path / "out") == ["avi.mkv", "mpg.mkv", "ts.mkv", "wmv.mkv"]
    plan = json.loads(run(folder / "avi.avi", "--estimate", "--json").stdout)
    assert plan["output"].endswith("avi-x4.mkv")


def test_a_usage_error_of_one_video_does_not_stop_the_batch(clip, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.mp4", "b.mov"):
        run_ffmpeg("-i", clip, "-frames:v", "3", "-c", "copy", folder / name)
    with pytest.raises(PartialError, match=r"1 of 2 videos failed: a\.mp4"):
        run(folder, tmp_path / "out", "--codec", "prores")
    assert names(tmp_path / "out") == ["b.mov"]
    (folder / "b.mov").unlink()
    with pytest.raises(PartialError, match=r"^1 of 1 video failed: a\.mp4\.$"):
        run(folder, tmp_path / "out", "--codec", "prores")


def test_two_videos_of_one_name_are_refused_before_anything_is_done(clip, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.avi", "a.mkv"):
        (folder / name).write_bytes(clip.read_bytes())
    with pytest.raises(OutputError, match=r"a\.avi and a\.mkv would both become"):
        run(folder, tmp_path / "out")
    assert names(tmp_path) == ["in"]


def test_the_output_of_a_batch_is_no_file(clip, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clip.read_bytes())
    out.write_bytes(b"mine")
    with pytest.raises(OutputError, match="folder too"):
        run(folder, out)
    assert out.read_bytes() == b"mine"


# Percent signs


@pytest.mark.parametrize("name", ["100%.mp4", "\N{LATIN SMALL LETTER U WITH DIAERESIS} %d b.MP4", "%05d.mkv"])
def test_videos_with_a_percent_sign(clip, tmp_path, name):
    source = tmp_path / name
    source.write_bytes(clip.read_bytes())
    output = tmp_path / f"x4 {name}"
    run(source, output, "--frames", "2")
    with av.open(str(output)) as container:
        assert len(list(container.decode(video=0))) == 2
    run(source, tmp_path / "100%.png", "--frame", "0")
    assert (tmp_path / "100%.png").is_file()


def test_a_picture_with_a_percent_sign(tmp_path):
    write_pictures(tmp_path, "50%.png")
    run(tmp_path / "50%.png", tmp_path / "out.png")
    assert names(tmp_path) == ["50%.png", "out.png"]
    with pytest.raises(UsageError, match="pattern"):
        run(tmp_path / "50%.png", tmp_path / "%s.png")
