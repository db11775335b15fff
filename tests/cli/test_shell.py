"""Between the shell and the run: names of any kind, closed streams, signals at any moment, links, hidden files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from typer.testing import CliRunner
from upscale_clips import REPOSITORY, make_clip

from rvrt_cli.cli.app import app
from rvrt_cli.cli.stopping import ending_signals
from rvrt_cli.errors import ExitCode, OutputError, PartialError
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.prepare import work_folder

BICUBIC = ("--model", "bicubic", "--threads", "1")
SCRIPT = "import sys; from rvrt_cli.__main__ import main; sys.argv[0] = 'rvrt'; main()"
"""What an installed ``rvrt`` consists of."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def run(*arguments: object) -> None:
    """Run in this process; errors are raised as they reach the boundary."""
    result = CliRunner().invoke(app, ["upscale", *BICUBIC, *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output


def frames_of(path: Path) -> int:
    with av.open(f"file:{path}") as container:
        return sum(1 for _ in container.decode(video=0))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "in.mp4", 4, "32x16", audio=True)


# Names


@pytest.mark.parametrize(
    "name",
    [
        "Film: Part 2.mkv",
        "pipe:1.mp4",
        "file:x.mkv",
        "concat:a|b.mp4",
        "data:,x.mkv",
        "12:30/o.mkv",
        "http:/x.mp4",
        "-o.mkv",
        "100%.mkv",
        "a\nb.mp4",
    ],
)
def test_relative_names_are_files_whatever_they_look_like(
    name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As input, as output, and as the folder of the work."""
    monkeypatch.chdir(tmp_path)
    source = Path("in:" + name)
    for path in (source, Path(name)):
        path.parent.mkdir(exist_ok=True)
    shutil.copy(clip, source)
    run("--work-dir", "a:b", "--", source, name)
    assert frames_of(Path(name)) == 4
    assert not Path("a:b").exists(), "the work is done and gone"


@pytest.mark.parametrize("length", [245, 246, 255])
@pytest.mark.parametrize("letter", ["n", "ü"])
def test_long_names(length: int, letter: str, clip: Path, tmp_path: Path) -> None:
    stem = "x" * ((length - 4) % len(letter.encode())) + letter * ((length - 4) // len(letter.encode()))
    output = tmp_path / f"{stem}.mkv"
    assert len(os.fsencode(output.name)) == length
    run(clip, output, "--keep-work")
    run(clip, output, "--work-dir", tmp_path / "work", "--overwrite")
    assert frames_of(output) == 4
    beside, *others = [path for path in tmp_path.iterdir() if path.suffix == ".rvrt-work"]
    assert not others
    assert (beside / "journal.jsonl").exists()
    assert len(os.fsencode(beside.name)) <= 255


def test_long_names_that_differ_at_their_end_share_no_work(tmp_path: Path) -> None:
    outputs = [tmp_path / f"{'n' * 245}{part}.mkv" for part in ("1", "2")]
    assert len({work_folder(output, UpscaleOptions(), None) for output in outputs}) == 2
    elsewhere = UpscaleOptions(work_dir=tmp_path / "w")
    assert len({work_folder(output, elsewhere, None) for output in outputs}) == 2


def test_a_name_that_no_file_system_takes_is_one_sentence(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"could not be written: File name too long"):
        run(clip, tmp_path / f"{'n' * 252}.mkv")


def test_long_names_of_pictures_and_in_a_folder(clip: Path, tmp_path: Path) -> None:
    picture = tmp_path / f"{'p' * 251}.png"
    run(clip, picture, "--frames", "1")
    assert names(tmp_path) == [picture.name]
    films = tmp_path / "films"
    films.mkdir()
    for name in (f"{'a' * 252}.ts", "b.ts"):  # .ts becomes .mkv, which is one longer
        make_clip(films / name, 24, "64x48")
    with pytest.raises(PartialError, match="1 of 2 videos failed: aaaa"):
        run(films, tmp_path / "out")
    assert names(tmp_path / "out") == ["b.mkv"]


# Hidden files


def test_hidden_files_of_a_folder_are_no_films(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(clip, folder / "clip.mp4")
    shutil.copy(clip, folder / ".clip.mp4")
    (folder / "._clip.mp4").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        " + bytes(4000))
    run(folder, tmp_path / "out")
    assert names(tmp_path / "out") == ["clip.mp4"]
    run(folder / ".clip.mp4", tmp_path / "named.mp4")  # who names it means it
    assert (tmp_path / "named.mp4").exists()


# Links


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_written_through(there: bool, clip: Path, tmp_path: Path) -> None:
    """Also one whose file is on its way only: a link to another disk stays a link to another disk."""
    real, link = tmp_path / "disk" / "real.mkv", tmp_path / "out.mkv"
    real.parent.mkdir()
    if there:
        real.write_bytes(b"old")
    link.symlink_to(Path("disk", "real.mkv"))
    run(clip, link, "--overwrite") if there else run(clip, link)
    assert link.is_symlink()
    assert not real.is_symlink()
    assert frames_of(real) == 4
    assert names(tmp_path / "disk") == ["real.mkv"]
    assert names(tmp_path) == ["disk", "out.mkv"]


def test_links_of_pictures_are_written_through(clip: Path, tmp_path: Path) -> None:
    real = tmp_path / "disk" / "real.png"
    real.parent.mkdir()
    for name in ("one.png", "00001.png"):
        real.write_bytes(b"old")
        (tmp_path / name).symlink_to(real)
        output = name if name == "one.png" else "%05d.png"
        run(clip, tmp_path / output, "--frames", "1", "--overwrite")
        assert (tmp_path / name).is_symlink()
        assert real.read_bytes().startswith(b"\x89PNG")
    assert names(tmp_path / "disk") == ["real.png"]


def test_links_to_the_input_and_to_themselves_are_refused(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "to-input.mp4").symlink_to(clip)
    with pytest.raises(OutputError, match="the output is the input"):
        run(clip, tmp_path / "to-input.mp4", "--overwrite")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    with pytest.raises(OutputError, match="could not be written: Too many levels of symbolic links"):
        run(clip, tmp_path / "loop.mp4")
    (tmp_path / "nowhere.mp4").symlink_to(tmp_path / "missing" / "o.mp4")
    with pytest.raises(OutputError, match=r"missing does not exist; create it first"):
        run(clip, tmp_path / "nowhere.mp4")


# Streams


def test_closed_streams_change_nothing_but_what_is_read(clip: Path, tmp_path: Path) -> None:
    """As cron jobs, services and ``>&-`` start it: the film is the same, and no message is written into it."""
    run(clip, tmp_path / "expected.mkv")
    expected = (tmp_path / "expected.mkv").read_bytes()
    for number, redirections in enumerate(("<&- >&- 2>&-", ">&- </dev/null")):
        output = tmp_path / f"{number}.mkv"
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" -c "$1" upscale "$2" "$3" --model bicubic --threads 1 {redirections}', sys.executable,
             SCRIPT, str(clip), str(output)],
            capture_output=True, env=ENVIRONMENT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert output.read_bytes() == expected


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("upscale", "{clip}", "-"), ExitCode.OUTPUT),
        (("upscale", "missing.mp4", "o.mp4"), ExitCode.INPUT),
        (("weights", "list"), ExitCode.OK),
    ],
)
def test_other_commands_with_closed_streams(
    arguments: tuple[str, ...], code: int, clip: Path, tmp_path: Path
) -> None:
    words = [word.format(clip=clip) for word in arguments]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "-c", SCRIPT, *words],
        capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if arguments[-1] == "-":
        assert done.stderr == "rvrt: standard output is closed; redirect it to a program or a file.\n"


def test_who_stops_reading_messages_does_not_end_the_run(clip: Path, tmp_path: Path) -> None:
    out, into = os.pipe()
    os.close(out)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "upscale", str(clip), str(tmp_path / "o.mkv"), *BICUBIC, "--verbose"],
        stdin=subprocess.DEVNULL, stderr=into, env=ENVIRONMENT,
    )  # fmt: skip
    os.close(into)
    assert done.returncode == 0
    assert frames_of(tmp_path / "o.mkv") == 4


# Signals


@pytest.mark.parametrize("after_s", [0.0, 0.06, 0.15, 0.4])
def test_ctrl_c_while_the_program_starts(after_s: float, clip: Path, tmp_path: Path) -> None:
    """From the first line of the program on; what comes before it is Python's own."""
    code = "import sys; sys.stdout.write('here'); sys.stdout.flush(); " + SCRIPT
    process = subprocess.Popen(
        [sys.executable, "-c", "import rvrt_cli.__main__; " + code, "upscale", str(clip), str(tmp_path / "o.mkv"), *BICUBIC],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.read(4) == b"here"
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if process.returncode == 0:  # it was faster
        assert (tmp_path / "o.mkv").exists()
        return
    assert process.returncode == ExitCode.INTERRUPTED, said
    assert said.decode().splitlines()[-1].lower().startswith("rvrt: interrupted"), said
    assert b"Traceback" not in said
    assert not (tmp_path / "o.mkv").exists()


def test_a_terminal_that_goes_away_means_stop_unless_nohup(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert ending_signals() == (signal.SIGTERM,)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert ending_signals() == (signal.SIGTERM, signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_whose_input_pauses(number: int, tmp_path: Path) -> None:
    """At once and with nothing left behind: what came through a pipe cannot be read again."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "upscale", "-", str(tmp_path / "o.mkv"), *BICUBIC, "--segment-frames", "2"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    with process.stdin, process.stderr:
        picture = b"FRAME\n" + bytes(32 * 16 * 3 // 2)
        process.stdin.write(b"YUV4MPEG2 W32 H16 F24:1 C420jpeg\n" + 3 * picture + picture[:100])
        process.stdin.flush()
        while b"Model" not in (line := process.stderr.readline()):  # the run has begun
            assert line, process.wait()
        process.send_signal(number)
        assert process.wait(20) == ExitCode.INTERRUPTED
        said = process.stderr.read().decode()
    assert said.endswith(
        "rvrt: Interrupted; frames from standard input cannot be read again, so nothing is kept.\n"
    )
    assert names(tmp_path) == []


def test_nohup_keeps_a_run_alive(clip: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", SCRIPT, "upscale", str(clip), str(tmp_path / "o.mkv"), *BICUBIC],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert frames_of(tmp_path / "o.mkv") == 4
