"""Each option of ``rvrt upscale``: what it does, what it refuses, and that nothing partial is left behind."""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields, replace
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner
from upscale_clips import make_clip, make_shots, upscale

from rvrt_cli.cli.app import app
from rvrt_cli.cli.upscale_options import parse_time
from rvrt_cli.errors import ExitCode, InputError, OutputError, RvrtError, UsageError, WeightsError
from rvrt_cli.upscale.options import UpscaleOptions

BICUBIC = ("--model", "bicubic", "--quiet")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "in.mp4", 24, audio=True)


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    return make_shots(tmp_path_factory.mktemp("shots") / "in.mp4", 96)


def run(*arguments):
    """Run in this process; errors are raised as they reach the boundary."""
    result = CliRunner().invoke(app, ["upscale", *map(str, arguments)], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def pictures(path: Path) -> tuple[list[np.ndarray], list[float], str]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return (
            [frame.to_ndarray(format="rgb24") for frame in frames],
            [frame.time for frame in frames],
            frames[0].format.name,
        )


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def options_given(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> UpscaleOptions:
    """What the command line makes of its words, before anything is run."""
    found = []
    monkeypatch.setattr(
        "rvrt_cli.cli.upscale_run.run", lambda _in, _out, options, *_, **__: found.append(options)
    )
    run("in.mp4", "out.mp4", *arguments)
    return found[0]


def test_every_option_of_the_dataclass_is_one_of_the_command(monkeypatch):
    """Without words the command has the dataclass's defaults; each word changes its field, of its type, and no other."""
    defaults = UpscaleOptions()
    assert options_given(monkeypatch) == defaults
    words = {
        "window": 8, "overlap": 2, "tile_overlap": 8, "frames": 3, "preview": 2, "scale": 3, "height": 90, "width": 91,
        "crf": 12.5, "denoise": 7.0, "strength": 0.5, "tile": "64", "memory_limit": "6G", "codec": "h265", "preset": "slow",
        "pix_fmt": "yuv420p", "container": "mkv", "fps": "25", "compare": "side", "deinterlace": "off", "device": "cpu",
        "backend": "onnx", "precision": "fp32", "threads": 2, "segment_frames": 48, "model": "bicubic",
    }  # fmt: skip
    for name, value in words.items():
        given = options_given(monkeypatch, f"--{name.replace('_', '-')}", str(value))
        assert given == replace(defaults, **{name: value})
    assert options_given(monkeypatch, "--start", "1:02.5").start_s == 62.5
    assert options_given(monkeypatch, "--end", "1:00:02").end_s == 3602
    assert options_given(monkeypatch, "--work-dir", "w").work_dir == Path("w")
    assert options_given(monkeypatch, "--weights", "w.pth").weights == Path("w.pth")
    for name in ("deblur", "lossless", "overwrite", "keep_work"):
        assert options_given(monkeypatch, f"--{name.replace('_', '-')}") == replace(defaults, **{name: True})
    for name in ("shots", "resume"):
        assert options_given(monkeypatch, f"--no-{name}") == replace(defaults, **{name: False})
    tried = {
        "start_s",
        "end_s",
        "work_dir",
        "weights",
        "deblur",
        "lossless",
        "overwrite",
        "keep_work",
        "shots",
        "resume",
    }
    assert {field.name for field in fields(UpscaleOptions)} == {*words, *tried}


def test_a_video(clip, tmp_path):
    out = tmp_path / "out.mp4"
    result = run(clip, out, "--model", "bicubic")
    frames, times, pix_fmt = pictures(out)
    assert len(frames) == 24
    assert frames[0].shape == (128, 192, 3)
    assert times == pictures(clip)[1]
    assert pix_fmt == "yuv420p"
    assert left_over(tmp_path) == ["out.mp4"]
    assert "24 frames, 192x128" in result.stderr
    assert "verified" in result.stderr
    assert result.stdout == ""
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (["--scale", "2"], (64, 96)),
        (["--scale", "3"], (96, 144)),
        (["--height", "100"], (100, 150)),
        (["--width", "96"], (64, 96)),
    ],
)
def test_sizes(clip, tmp_path, arguments, size):
    run(clip, tmp_path / "out.mp4", *BICUBIC, *arguments, "--frames", "2")
    assert pictures(tmp_path / "out.mp4")[0][0].shape[:2] == size


@pytest.mark.parametrize(
    ("arguments", "count", "first"),
    [
        (["--start", "0.5"], 12, 12),
        (["--end", "0.25"], 6, 0),
        (["--frames", "5"], 5, 0),
        (["--start", "0:00.25", "--end", "0.5"], 6, 6),
    ],
)
def test_ranges(clip, tmp_path, arguments, count, first):
    out = tmp_path / "out.mkv"
    run(clip, out, *BICUBIC, "--codec", "ffv1", *arguments)
    whole = tmp_path / "whole.mkv"
    run(clip, whole, *BICUBIC, "--codec", "ffv1")
    frames, times, _ = pictures(out)
    assert len(frames) == count
    assert times[0] == pytest.approx(0, abs=1e-3)
    for mine, theirs in zip(frames, pictures(whole)[0][first:], strict=False):
        np.testing.assert_array_equal(mine, theirs)


def test_windows_tiles_and_shots_do_not_change_bicubic(shots, tmp_path):
    run(shots, tmp_path / "a.mkv", *BICUBIC, "--codec", "ffv1")
    run(
        shots,
        tmp_path / "b.mkv",
        *BICUBIC,
        "--codec",
        "ffv1",
        "--window",
        "6",
        "--overlap",
        "2",
        "--tile",
        "32",
        "--tile-overlap",
        "8",
        "--no-shots",
        "--memory-limit",
        "2G",
        "--threads",
        "1",
        "--segment-frames",
        "7",
    )
    for a, b in zip(pictures(tmp_path / "a.mkv")[0], pictures(tmp_path / "b.mkv")[0], strict=True):
        # A tie in rounding may fall to the other side.
        assert np.abs(a.astype(int) - b).max() <= 2


def test_strength_zero_is_bicubic(clip, tmp_path):
    run(clip, tmp_path / "out.mkv", *BICUBIC, "--codec", "ffv1", "--frames", "2", "--strength", "0")
    run(clip, tmp_path / "ref.mkv", *BICUBIC, "--codec", "ffv1", "--frames", "2")
    np.testing.assert_array_equal(pictures(tmp_path / "out.mkv")[0][1], pictures(tmp_path / "ref.mkv")[0][1])


@pytest.mark.parametrize(("how", "width"), [("side", 384), ("split", 192)])
def test_compare(clip, tmp_path, how, width):
    run(clip, tmp_path / "out.mp4", *BICUBIC, "--compare", how, "--frames", "3")
    frames, _, _ = pictures(tmp_path / "out.mp4")
    assert frames[0].shape == (128, width, 3)


def test_preview(shots, tmp_path):
    out = tmp_path / "out.mp4"
    result = run(shots, out, "--model", "bicubic", "--preview", "2")
    frames, times, _ = pictures(out)
    assert len(frames) == 96
    assert np.all(np.diff(times) > 0)
    assert "The preview has no sound" not in result.stderr, "neither has the film"


def test_preview_of_short_pieces(tmp_path):
    film = make_clip(tmp_path / "long.mp4", 240, "32x32", audio=True)
    out = tmp_path / "out.mp4"
    result = run(film, out, "--model", "bicubic", "--preview", "3")
    assert "The preview has no sound" in result.stderr
    frames, times, _ = pictures(out)
    assert len(frames) == 3 * 48
    np.testing.assert_allclose(np.diff(times), 1 / 24, atol=1e-3)
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("moment", ["0", "0.5", "0:00.98"])
def test_one_frame(clip, tmp_path, moment):
    import cv2

    out = tmp_path / "out.png"
    run(clip, out, *BICUBIC, "--frame", moment)
    run(clip, tmp_path / "all" / "%d.png", *BICUBIC)
    index = int(float(moment.split(":")[-1]) * 24)
    whole = cv2.imread(str(tmp_path / "all" / f"{index + 1}.png"))
    np.testing.assert_array_equal(cv2.imread(str(out)), whole)
    assert left_over(tmp_path) == ["all", "out.png"]


def test_one_frame_tells_what_it_does_and_no_speed(clip, tmp_path):
    result = run(clip, tmp_path / "out.png", "--model", "bicubic", "--frame", "0.5")
    assert "in.mp4: 1 frame, 48x32 -> 192x128" in result.stderr
    assert "Model bicubic" in result.stderr
    (facts,) = [line for line in result.stderr.splitlines() if line.startswith("1 frame in ")]
    assert "fps" not in facts
    assert "shot" not in facts


def test_verbose_tells_how_memory_was_planned(clip, tmp_path):
    result = run(clip, tmp_path / "out.mp4", "--model", "bicubic", "--verbose", "--memory-limit", "2G")
    assert re.search(
        r"Memory: about \d+ MiB planned, limit 2048 MiB; segments of 240 frames\.", result.stderr
    )


def test_images_of_a_rotated_video_stand_upright(clip, tmp_path):
    import cv2
    from upscale_clips import run_ffmpeg

    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "90", "-i", clip, "-c", "copy", turned)
    run(turned, tmp_path / "turned.png", *BICUBIC, "--frame", "0")
    run(turned, tmp_path / "images" / "%d.png", *BICUBIC, "--frames", "1")
    run(clip, tmp_path / "plain.png", *BICUBIC, "--frame", "0")
    expected = np.rot90(cv2.imread(str(tmp_path / "plain.png")))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "turned.png")), expected)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "images" / "1.png")), expected)
    run(turned, tmp_path / "small.png", *BICUBIC, "--frame", "0", "--height", "96")
    assert cv2.imread(str(tmp_path / "small.png")).shape == (96, 64, 3)


def test_a_frame_after_the_end(clip, tmp_path):
    for time in ("60", "1.5"):  # seconds after the end, and just after it
        with pytest.raises(InputError, match=rf"ends before {time} s; give --frame an earlier time"):
            run(clip, tmp_path / "out.png", *BICUBIC, "--frame", time)
    assert left_over(tmp_path) == []


def test_images_in_and_out(clip, tmp_path):
    run(clip, tmp_path / "frames" / "%05d.png", *BICUBIC, "--frames", "5")
    assert left_over(tmp_path) == ["frames"]
    assert left_over(tmp_path / "frames") == [f"{i:05}.png" for i in range(1, 6)]
    run(tmp_path / "frames", tmp_path / "again.mp4", *BICUBIC, "--fps", "12")
    frames, times, _ = pictures(tmp_path / "again.mp4")
    assert len(frames) == 5
    assert frames[0].shape == (512, 768, 3)
    assert times[1] == pytest.approx(1 / 12)
    run(tmp_path / "frames" / "%05d.png", tmp_path / "images", *BICUBIC, "--scale", "2", "--pix-fmt", "rgb48")
    assert len(left_over(tmp_path / "images")) == 5
    import cv2

    image = cv2.imread(str(next((tmp_path / "images").iterdir())), cv2.IMREAD_UNCHANGED)
    assert image.dtype == np.uint16
    assert image.shape == (256, 384, 3)


def test_existing_images_are_kept(clip, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "00001.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="already holds images"):
        run(clip, folder / "%05d.png", *BICUBIC, "--frames", "2")
    run(clip, folder / "%05d.png", *BICUBIC, "--frames", "2", "--overwrite")
    assert left_over(folder) == ["00001.png", "00002.png"]


def test_y4m_through_pipes(clip, tmp_path):
    out = upscale(clip, "-", "--model", "bicubic", "--frames", "3")
    assert out.returncode == 0, out.stderr.decode()
    assert out.stdout.startswith(b"YUV4MPEG2 W192 H128")
    assert out.stdout.count(b"FRAME") == 3
    assert b"192x128" in out.stderr
    back = upscale("-", tmp_path / "out.mkv", *BICUBIC, stdin=out.stdout)
    assert back.returncode == 0, back.stderr.decode()
    assert pictures(tmp_path / "out.mkv")[0][0].shape == (512, 768, 3)
    assert left_over(tmp_path) == ["out.mkv"]


def test_json(clip, tmp_path):
    result = run(clip, tmp_path / "out.mp4", "--model", "bicubic", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[0]["event"] in ("notice", "started")
    assert events[-1]["event"] == "report"
    assert events[-1]["frames"] == 24
    assert events[-1]["verified"] is True


def test_json_ends_with_the_error(tmp_path):
    done = upscale(tmp_path / "missing.mp4", tmp_path / "out.mp4", "--json")
    event = json.loads(done.stdout.splitlines()[-1])
    assert event["event"] == "error"
    assert event["exit_code"] == done.returncode == ExitCode.INPUT
    assert "missing.mp4" in event["message"]


@pytest.mark.parametrize(("option", "needed"), [("--deblur", "deblur"), ("--denoise=10", "denoise")])
def test_missing_weights_say_how_to_get_them(clip, tmp_path, option, needed, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match="rvrt weights fetch") as caught:
        run(clip, tmp_path / "out.mp4", *BICUBIC, option)
    assert needed in str(caught.value)


def test_estimate_of_a_folder_is_refused(clip):
    with pytest.raises(UsageError, match="one video"):
        run(clip.parent, "--model", "bicubic", "--estimate")


def test_estimate_writes_nothing(shots, tmp_path):
    before = left_over(shots.parent)
    result = run(shots, "--model", "bicubic", "--estimate")
    assert left_over(shots.parent) == before
    assert "4 shots" in result.stdout
    assert "Memory   about" in result.stdout
    assert "Disk     about" in result.stdout
    assert "Time     about" in result.stdout
    assert "in.mp4: mp4, h264 yuv420p, 48x32" in result.stdout, "not all of FFmpeg's names for the container"
    plan = json.loads(run(shots, tmp_path / "out.mkv", "--model", "bicubic", "--dry-run", "--json").stdout)
    assert plan["frames"] == 96
    assert plan["shots"] == 4
    assert plan["output_width"] == 192
    assert left_over(tmp_path) == []


def test_an_estimate_of_one_frame(tmp_path):
    film = make_clip(tmp_path / "in.mp4", 1, "32x16")
    assert "1 frame," in run(film, "--model", "bicubic", "--estimate").stdout


def test_work_dir_and_keep_work(clip, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    run(clip, tmp_path / "out.mp4", *BICUBIC, "--work-dir", work, "--keep-work", "--segment-frames", "10")
    (kept,) = work.iterdir()
    assert re.fullmatch(r"out\.mp4\.[0-9a-f]{8}\.rvrt-work", kept.name)
    assert left_over(kept) == [
        "000000.mkv",
        "000001.mkv",
        "000002.mkv",
        "journal.jsonl",
        "lock",
    ]
    result = run(
        clip,
        tmp_path / "out.mp4",
        "--model",
        "bicubic",
        "--work-dir",
        work,
        "--overwrite",
        "--segment-frames",
        "10",
    )
    assert "Continuing an earlier run after frame 24" in result.stderr
    assert left_over(work) == []


def test_a_work_dir_that_the_run_made_goes_at_its_end(clip, tmp_path):
    run(clip, tmp_path / "out.mp4", *BICUBIC, "--work-dir", tmp_path / "made" / "for-it")
    assert not (tmp_path / "made").exists()
    (tmp_path / "mine").mkdir()
    run(clip, tmp_path / "out.mp4", *BICUBIC, "--overwrite", "--work-dir", tmp_path / "mine")
    assert left_over(tmp_path / "mine") == []


def test_a_long_check_of_finished_segments_is_announced(clip, tmp_path, monkeypatch):
    out = tmp_path / "out.mp4"
    assert "Checking" not in run(clip, out, *BICUBIC, "--keep-work").stderr
    monkeypatch.setattr("rvrt_cli.upscale.run.ANNOUNCED_BYTES", 10)
    result = run(clip, out, "--model", "bicubic", "--overwrite")
    assert f"GB of finished segments in {out}.rvrt-work ..." in result.stderr


def test_no_resume(clip, tmp_path):
    run(clip, tmp_path / "out.mp4", *BICUBIC, "--keep-work")
    result = run(clip, tmp_path / "out.mp4", "--model", "bicubic", "--overwrite", "--no-resume")
    assert "Continuing" not in result.stderr


def test_an_existing_output_is_kept_unless_told(clip, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"mine")
    with pytest.raises(OutputError, match="--overwrite"):
        run(clip, out, *BICUBIC)
    assert out.read_bytes() == b"mine"
    run(clip, out, *BICUBIC, "--overwrite")
    assert len(pictures(out)[0]) == 24


@pytest.mark.parametrize(
    ("arguments", "codec"),
    [
        (["--codec", "h265", "--crf", "28", "--preset", "ultrafast"], "hevc"),
        (["--codec", "ffv1"], "ffv1"),
        (["--lossless"], "h264"),
        (["--pix-fmt", "yuv444p"], "h264"),
        (["--container", "mkv"], "h264"),
    ],
)
def test_encoding(clip, tmp_path, arguments, codec):
    out = tmp_path / "out.mkv"
    run(clip, out, *BICUBIC, "--frames", "4", *arguments)
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.name == codec
        if "yuv444p" in arguments:
            assert container.streams.video[0].pix_fmt == "yuv444p"


def test_a_batch(clip, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clip.read_bytes())
    (folder / "b.mp4").write_bytes(clip.read_bytes())
    (folder / "c.mp4").write_bytes(b"garbage")
    (folder / "notes.txt").write_text("no video")
    with pytest.raises(RvrtError, match=r"1 of 3 videos failed: c\.mp4") as caught:
        run(folder, out, "--model", "bicubic")
    assert caught.value.exit_code == ExitCode.PARTIAL
    assert left_over(out) == ["a.mp4", "b.mp4"]
    (folder / "c.mp4").unlink()
    before = (out / "a.mp4").stat().st_mtime_ns
    result = run(folder, out, "--model", "bicubic")
    assert "a.mp4 exists and is skipped" in result.stderr
    assert (out / "a.mp4").stat().st_mtime_ns == before
    run(folder, out, *BICUBIC, "--container", "mkv")
    assert left_over(out) == ["a.mkv", "a.mp4", "b.mkv", "b.mp4"]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["missing.mp4", "out.mp4"], InputError, "missing.mp4"),
        (["{clip}"], UsageError, "OUT is missing"),
        (["{clip}", "nowhere/out.mp4"], OutputError, "nowhere"),
        (["{clip}", "out.xyz"], OutputError, "xyz"),
        (["{clip}", "out"], OutputError, "suffix"),
        (["{clip}", "{clip}", "--overwrite"], OutputError, "input"),
        (["{clip}", "out.jpg"], OutputError, "PNG"),
        (["{clip}", "out.mp4", "--scale", "7"], UsageError, "--scale"),
        (["{clip}", "out.mp4", "--light", "--model", "rvrt"], UsageError, "--light"),
        (["{clip}", "out.mp4", "--quiet", "--verbose"], UsageError, "--quiet"),
        (["{clip}", "-", "--json"], UsageError, "--json"),
        (["{clip}", "-", "--codec", "h264"], UsageError, "--codec"),
        (["{clip}", "%d.png", "--crf", "3"], UsageError, "--crf"),
        (["{clip}", "out.mp4", "--start", "soon"], UsageError, "--start"),
        (["{clip}", "out.mp4", "--start", "50"], InputError, "."),
        (["{clip}", "out.mp4", "--fps", "zero"], UsageError, "--fps"),
        (["{clip}", "out.png", "--frame", "1", "--start", "1"], UsageError, "--frame"),
        (["{clip}", "out.mp4", "--frame", "1"], OutputError, "PNG"),
        (
            ["{clip}", "out.mp4", "--weights", "missing.safetensors", "--model", "light-s"],
            WeightsError,
            "missing.safetensors",
        ),
    ],
)
def test_bad_input(clip, tmp_path, monkeypatch, arguments, error, says):
    monkeypatch.chdir(tmp_path)
    arguments = [argument.format(clip=clip) for argument in arguments]
    model = [] if "--model" in arguments else ["--model", "bicubic"]
    if "--light" in arguments:
        model = []
    with pytest.raises(error, match=says) as caught:
        run(*arguments, *model)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert left_over(tmp_path) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(clip, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permissions"):
        run(clip, tmp_path / "out.mp4", *BICUBIC)


def test_the_boundary_prints_one_sentence(tmp_path):
    done = upscale(tmp_path / "missing.mp4", tmp_path / "out.mp4")
    assert done.returncode == ExitCode.INPUT
    assert done.stdout == b""
    assert done.stderr.startswith(b"rvrt: ")
    assert done.stderr.count(b"\n") == 1


def test_debug_shows_a_traceback(tmp_path):
    done = upscale(tmp_path / "missing.mp4", tmp_path / "out.mp4", "--debug")
    assert b"Traceback" in done.stderr


def test_times():
    assert parse_time("--start", "12.5") == 12.5
    assert parse_time("--start", "1:02.5") == 62.5
    assert parse_time("--start", "1:00:02") == 3602
    assert parse_time("--start", None) is None
    for bad in ("", "1:2:3:4", "1:75", "-5", "nan", "1:-1"):
        with pytest.raises(UsageError, match="--start"):
            parse_time("--start", bad)


def test_paragraphs_of_the_help_flow():
    text = CliRunner().invoke(app, ["upscale", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    assert "what exists is skipped), an image sequence (frames/%05d.png or a folder of images)" in text
    assert text.count("\n   rvrt upscale in.m") == 4, "the examples keep their lines"


def test_every_option_is_in_the_help():
    text = CliRunner().invoke(app, ["upscale", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    for option in [
        "light",
        "model",
        "weights",
        "scale",
        "height",
        "width",
        "denoise",
        "deblur",
        "strength",
        "compare",
        "deinterlace",
        "codec",
        "crf",
        "preset",
        "pix-fmt",
        "lossless",
        "container",
        "fps",
        "start",
        "end",
        "frames",
        "preview",
        "frame",
        "estimate",
        "dry-run",
        "window",
        "overlap",
        "tile",
        "tile-overlap",
        "memory-limit",
        "shots",
        "device",
        "backend",
        "precision",
        "threads",
        "resume",
        "overwrite",
        "work-dir",
        "keep-work",
        "segment-frames",
        "json",
        "quiet",
        "verbose",
        "debug",
    ]:
        assert f"--{option}" in text
