"""Options that would be ignored are refused, values are checked before the run, losses are named, streams end well."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner
from upscale_clips import REPOSITORY, command, make_clip, run_ffmpeg, upscale

from rvrt_cli.cli.app import app
from rvrt_cli.errors import ExitCode, InputError, OutputError, UsageError
from rvrt_cli.upscale.options import UpscaleOptions

THREAD = ("--threads", "1")


def run(*arguments):
    """Run in this process; errors are raised as they reach the boundary."""
    model = [] if {"--model", "--light"} & set(map(str, arguments)) else ["--model", "bicubic"]
    result = CliRunner().invoke(
        app, ["upscale", *map(str, arguments), *model, *THREAD], catch_exceptions=True
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "in.mp4", 24, "32x16", audio=True)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"tile_overlap": -8}, "--tile-overlap"),
        ({"tile_overlap": 13}, "--tile-overlap"),
        ({"start_s": float("inf")}, "--start"),
        ({"end_s": float("inf")}, "--end"),
        ({"scale": 1, "deblur": True, "model": "bicubic"}, "--scale 1"),
        ({"scale": 1, "denoise": 5.0, "weights": Path("x.safetensors")}, "--scale 1"),
    ],
)
def test_values_are_checked(values, named):
    with pytest.raises(UsageError, match=named):
        UpscaleOptions(**values).check()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["out.mp4", "--fps", "30"], "--fps"),
        (["out.mp4", "--height", "1000000"], "megapixels"),
        (["out.mp4", "--start", "inf"], "--start"),
        (["%d.png", "--lossless"], "--lossless"),
        (["out.png", "--frame", "0", "--estimate"], "--frame"),
        (["out.png", "--frame", "0", "--codec", "h264"], "--codec"),
        (["out.png", "--frame", "0", "--keep-work"], "--keep-work"),
        (["-", "--segment-frames", "8"], "--segment-frames"),
        (["out.mp4", "--work-dir", "./out.mp4"], "--work-dir is OUT itself"),
        (["out.mp4", "--scale", "1", "--denoise", "5", "--light"], "--light"),
    ],
)
def test_ignored_options_are_refused(clip, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=says) as caught:
        run(clip, *arguments)
    assert str(caught.value).endswith(".")
    assert list(tmp_path.iterdir()) == []


def test_frame_to_standard_output_is_refused(clip):
    with pytest.raises(OutputError, match=r"like frame\.png"):
        run(clip, "-", "--frame", "0")


def test_a_frame_never_replaces_the_picture_it_is_made_from(tmp_path):
    picture = tmp_path / "1.png"
    cv2.imwrite(str(picture), np.full((16, 16, 3), 60, np.uint8))
    before = picture.read_bytes()
    for source in (picture, tmp_path, tmp_path / "%d.png"):
        with pytest.raises(OutputError, match="replace pictures of the input"):
            run(source, picture, "--frame", "0", "--overwrite")
    assert picture.read_bytes() == before


def test_a_frame_without_a_folder_is_refused_before_the_model_is_loaded(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("rvrt_cli.upscale.prepare.load_sequence", None)
    with pytest.raises(OutputError, match="create it first"):
        run(clip, tmp_path / "no" / "frame.png", "--frame", "0")


def test_an_output_below_a_file_is_refused(clip, tmp_path):
    """It is not a folder that could be created."""
    (tmp_path / "film.mp4").write_bytes(b"mine")
    for name, *options in (("out.mp4",), ("out.png", "--frame", "0")):
        with pytest.raises(OutputError, match=r"film\.mp4 is a file, not a folder"):
            run(clip, tmp_path / "film.mp4" / name, *options)


def test_another_name_of_the_input_is_refused(clip, tmp_path):
    film, other = tmp_path / "in.mp4", tmp_path / "other.mp4"
    film.write_bytes(clip.read_bytes())
    os.link(film, other)
    with pytest.raises(OutputError, match="the output is the input"):
        run(film, other, "--overwrite")


@pytest.mark.parametrize("names", [("", "out.mp4"), ("in.mp4", ""), ("", "")])
def test_an_empty_name_is_not_this_folder(clip, tmp_path, monkeypatch, names):
    """An unset variable of a script must not upscale every film of the folder it runs in."""
    monkeypatch.chdir(clip.parent)
    with pytest.raises(UsageError, match="is an empty name"):
        run(*names)


TOO_LONG = "x" * 300


@pytest.mark.parametrize("name", [f"{TOO_LONG}.mp4", f"{TOO_LONG}.png", TOO_LONG])
def test_an_input_that_the_system_refuses_is_a_sentence(tmp_path, name):
    with pytest.raises(InputError, match=r"cannot be read \(File name too long\)"):
        run(tmp_path / name, tmp_path / "out.mp4")


@pytest.mark.parametrize(
    "arguments", [[f"{TOO_LONG}.mp4"], [f"{TOO_LONG}/out.mp4"], [f"{TOO_LONG}.png", "--frame", "0"]]
)
def test_an_output_that_the_system_refuses_is_a_sentence(clip, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="could not be written: File name too long"):
        run(clip, *arguments)
    with pytest.raises(OutputError, match="could not be written: File name too long"):
        run(clip.parent, TOO_LONG)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_a_sentence(clip, tmp_path):
    film, folder = tmp_path / "in.mp4", tmp_path / "films"
    film.write_bytes(clip.read_bytes())
    film.chmod(0)
    folder.mkdir()
    folder.chmod(0)
    for source in (film, folder, folder / "in.mp4", folder / "%d.png"):
        with pytest.raises(InputError, match="check its permissions"):
            run(source, tmp_path / "out.mp4")
    folder.chmod(0o700)


def test_a_film_that_may_not_be_read_is_a_sentence(clip, tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules["rvrt_cli.media.probe"], "open", refuse, raising=False)
    with pytest.raises(
        InputError, match=r"in\.mp4 cannot be read \(Permission denied\); check its permissions"
    ):
        run(clip, tmp_path / "out.mp4")


@pytest.mark.parametrize("option", [[], ["--start", "1"]])
def test_a_stream_without_frames_is_called_by_its_name(tmp_path, option):
    header = b"YUV4MPEG2 W16 H16 F24:1\n"
    done = upscale("-", tmp_path / "o.mp4", "--model", "bicubic", *THREAD, *option, stdin=header)
    assert done.returncode == ExitCode.INPUT
    assert b"Standard input has no frame" in done.stderr


def test_fps_reaches_a_frame_of_an_image_sequence(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((16, 16, 3), 60 * number, np.uint8))
    run(folder, tmp_path / "a.png", "--frame", "2.5", "--fps", "1")
    assert abs(int(cv2.imread(str(tmp_path / "a.png")).mean()) - 120) <= 1


def test_preview_skips_empty_places_and_refuses_standard_input(clip, tmp_path):
    run(clip, tmp_path / "out.mp4", "--preview", "100")
    done = upscale(
        "-", tmp_path / "b.mp4", "--model", "bicubic", "--preview", "2", stdin=b"YUV4MPEG2 W16 H16 F24:1\n"
    )
    assert done.returncode == ExitCode.USAGE
    assert b"--preview" in done.stderr


def test_threads_change_no_byte(clip, tmp_path):
    for threads in ("1", "3"):
        assert (
            upscale(
                clip,
                tmp_path / f"{threads}.mkv",
                "--model",
                "bicubic",
                "--codec",
                "ffv1",
                "--threads",
                threads,
            ).returncode
            == 0
        )
    assert (tmp_path / "1.mkv").read_bytes() == (tmp_path / "3.mkv").read_bytes()


# What is lost is said before the run


def test_losses_of_pictures_are_named(tmp_path):
    film = tmp_path / "in.mkv"
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=One\n")
    subtitles = tmp_path / "s.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:00,400\nhello\n")
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=32x16:rate=24:duration=0.5", "-f", "lavfi", "-i", "sine=duration=0.5",
        "-i", subtitles, "-i", chapters, "-map", "0", "-map", "1", "-map", "2", "-map_metadata", "3",
        "-vf", "setsar=4/3", "-pix_fmt", "yuv420p", film,
    )  # fmt: skip
    text = run(film, tmp_path / "fr" / "%d.png").stderr
    assert "PNG images cannot hold the sound, subtitles and chapters of the source" in text
    assert "PNG images carry no time" in text
    assert "the source's have the aspect 4/3" in text
    assert text.index("cannot hold") < text.index("in.mkv: ")


def test_hdr_and_varying_times_of_pictures_are_named(tmp_path):
    film = tmp_path / "in.mkv"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=32x16:rate=24:duration=1", "-vf", "select=not(mod(n\\,5)*mod(n\\,3)),setparams=color_trc=smpte2084:colorspace=bt2020nc:color_primaries=bt2020",
        "-fps_mode", "vfr", "-pix_fmt", "yuv420p10le", "-c:v", "ffv1", film,
    )  # fmt: skip
    text = run(film, tmp_path / "fr" / "%d.png").stderr
    assert "not evenly spaced" in text
    assert "this is HDR" in text
    done = upscale(film, "-", "--model", "bicubic")
    assert done.returncode == ExitCode.OUTPUT
    assert done.stdout == b"", "refused before anything is written"
    assert b"variable frame rate" in done.stderr


# Comparison of films that are turned


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_comparison_of_a_turned_film_stands_upright(clip, tmp_path, suffix):
    from rvrt_cli.media import probe, read_frames

    turned, output = tmp_path / "turned.mp4", tmp_path / f"out.{suffix}"
    run_ffmpeg("-display_rotation", "90", "-i", clip, "-c", "copy", turned)
    run(turned, output, "--compare", "side", "--frames", "2", "--codec", "h264", "--crf", "1")
    run(turned, tmp_path / "plain.png", "--frame", "0")
    run(turned, tmp_path / "side.png", "--frame", "0", "--compare", "side")
    plain, side = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("plain", "side"))
    assert plain.shape == (128, 64, 3)
    assert side.shape == (128, 128, 3)
    np.testing.assert_array_equal(side[40:, 64:], plain[40:])
    source = probe(output)
    assert source.video.rotation == 0
    with read_frames(source) as frames:
        picture = next(frames).rgb[..., ::-1] * 255
    assert np.abs(picture[40:] - side[40:]).mean() < 8  # the chroma of 4:2:0


def test_the_report_names_the_size_as_it_is_written(clip, tmp_path):
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "90", "-i", clip, "-c", "copy", turned)
    text = run(turned, tmp_path / "out.mkv", "--frames", "1").stderr
    assert "-> 64x128" in text
    assert "out.mkv: 1 frame, 64x128" in text
    assert "1 frames" not in text


# Estimates


def test_an_estimate_of_an_output_that_exists(clip, tmp_path):
    output = tmp_path / "out.mp4"
    output.write_bytes(b"mine")
    result = run(clip, output, "--estimate")
    assert "B free)" in result.stdout
    assert "Measuring window 1 of 3" in result.stderr
    assert output.read_bytes() == b"mine"


def test_an_estimate_warns_of_a_small_disk(clip, monkeypatch):
    from rvrt_cli.upscale import estimate

    monkeypatch.setattr(estimate, "free_bytes", lambda _: 10)
    assert "The disk has 0.0 GB free" in run(clip, "--estimate").stdout


# Streams and interruptions


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["-"], ["out.mp4", "--json"]])
def test_a_full_disk_behind_standard_output(clip, tmp_path, arguments):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(clip, *arguments, "--model", "bicubic", *THREAD),
            stdout=full, stderr=subprocess.PIPE, env=environment(), cwd=tmp_path, check=False,
        )  # fmt: skip
    assert done.returncode == ExitCode.DISK_FULL
    assert b"The disk is full: standard output" in done.stderr
    assert b"Exception" not in done.stderr


def test_a_reader_that_leaves(clip, tmp_path):
    process = subprocess.Popen(
        command(clip, tmp_path / "out.mp4", "--model", "bicubic", "--json", *THREAD),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    text = process.stderr.read().decode()
    assert process.wait(timeout=60) == ExitCode.OUTPUT
    assert "stopped before the end" in text
    assert "Traceback" not in text
    assert "Exception" not in text


def test_ctrl_c_ends_an_estimate_with_a_sentence(tmp_path):
    film = make_clip(tmp_path / "in.mp4", 1400, "64x48")
    process = subprocess.Popen(
        command(film, "--estimate", "--model", "bicubic", *THREAD), stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
        # A shell that runs the tests in the background hands down SIGINT as ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stderr is not None
    while b"Measuring" not in (line := process.stderr.readline()):
        assert line or process.poll() is None
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, text
    assert b"rvrt: Interrupted; nothing was written." in text


def test_a_second_ctrl_c_before_the_first_segment_keeps_nothing(tmp_path):
    film, output = make_clip(tmp_path / "in.mp4", 2400, "64x48"), tmp_path / "out.mp4"
    process = subprocess.Popen(
        command(film, output, "--model", "bicubic", "--segment-frames", "2400", *THREAD),
        stderr=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    work = tmp_path / "out.mp4.rvrt-work"
    while not (work / "000000.part.mkv").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, text
    assert b"Interrupted before the first segment was finished; nothing is kept." in text
    assert not work.exists()
