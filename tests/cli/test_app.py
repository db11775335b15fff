"""The command line as a whole: help, versions, the error boundary, terminals and shells."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from rvrt_cli import __version__
from rvrt_cli.cli import app as cli
from rvrt_cli.errors import ExitCode, InputError, RvrtError

HEAVY = {
    "numpy",
    "cv2",
    "av",
    "mindspore",
    "torch",
    "openvino",
    "onnxruntime",
    "onnx",
    "spox",
    "safetensors",
    "scipy",
    "tensorboard",
}


def rvrt(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "rvrt_cli", *arguments],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=120,
    )


def commands() -> list[str]:
    """Every command and sub-command, as words after ``rvrt``."""
    found = []
    root = typer.main.get_command(cli.app)
    for name, command in root.commands.items():
        found.append(name)
        found += [f"{name} {sub}" for sub in getattr(command, "commands", {})]
    return found


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command in this process, through its error boundary; → exit code."""
    monkeypatch.setattr(sys, "argv", ["rvrt", *arguments])
    monkeypatch.setattr(cli, "debug_enabled", False)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_help_loads_nothing_heavy() -> None:
    """``rvrt --help`` stays under 0.4 s because it imports no array, media or network package."""
    code = (
        "import sys; sys.argv = ['rvrt', '--help']\n"
        "from rvrt_cli.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('loaded:', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, encoding="utf-8"
    )
    assert done.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("command", ["", *commands()])
def test_every_command_has_help(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, *command.split(), "--help") == ExitCode.OK
    shown = capsys.readouterr().out
    assert "Usage:" in shown
    assert "--help" in shown


def test_version_names_engines_and_ffmpeg(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "--version") == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"rvrt {__version__} ")
    found = {line[:15].strip(): line[15:].strip() for line in lines[1:]}
    assert set(found) == {"OpenVINO", "ONNX Runtime", "PyTorch", "MindSpore", "ffmpeg"}
    assert found["ffmpeg"] not in ("", "unknown")
    assert "not usable" not in found["ffmpeg"]


def test_version_without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rvrt_cli.media.ffmpeg.ffmpeg_executable", lambda: "/nowhere/ffmpeg")
    assert cli.ffmpeg_version() == "not usable (FileNotFoundError)"


@pytest.mark.parametrize("arguments", [["nonsense"], ["upscale", "a", "b", "--nonsense"], ["--nonsense"]])
def test_unknown_words_are_usage_errors(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_main(monkeypatch, *arguments) == ExitCode.USAGE


@pytest.mark.parametrize("kind", [RvrtError, *RvrtError.__subclasses__()])
def test_boundary_prints_one_sentence_and_the_errors_code(
    kind: type[RvrtError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise kind("Something is wrong; do this.")

    monkeypatch.setattr(cli, "app", fail)
    assert run_main(monkeypatch) == kind.exit_code
    assert capsys.readouterr().err == "rvrt: Something is wrong; do this.\n"


def test_boundary_explains_what_nobody_expected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", lambda: 1 // 0)
    assert run_main(monkeypatch) == ExitCode.UNEXPECTED
    shown = capsys.readouterr().err
    assert "--debug" in shown
    assert "Traceback" not in shown


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise InputError("no")

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(cli, "debug_enabled", True)
    with pytest.raises(InputError):
        cli.main()


def test_interrupt_has_its_own_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupt)
    assert run_main(monkeypatch) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "rvrt: interrupted.\n"


@pytest.mark.skipif(os.name == "nt", reason="needs a shell and /dev/full")
@pytest.mark.parametrize("arguments", ["weights list", "--help", "--version"])
def test_a_reader_that_goes_away(arguments: str) -> None:
    """Rich and Typer have a way of their own, exit code 1, which here means an unexpected error."""
    command = f"{{ sleep 1; {sys.executable} -m rvrt_cli {arguments}; echo $? >&2; }} | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stderr == f"{int(ExitCode.OUTPUT)}\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["weights", "list"], ["devices"], ["--version"]])
def test_a_full_disk_behind_stdout(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rvrt_cli", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert done.returncode == ExitCode.DISK_FULL
    assert done.stderr.startswith("rvrt: the disk is full")
    assert done.stderr.count("\n") == 1


def test_terminal_that_cannot_show_a_name() -> None:
    done = rvrt("upscale", "déjà-vu-映画.mp4", "out.mp4", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == ExitCode.INPUT
    assert b"d?j?-vu-??.mp4" in done.stderr
    assert b"Traceback" not in done.stderr


def test_help_on_an_ascii_terminal_is_ascii() -> None:
    done = rvrt("upscale", "--help", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert b"--light" in done.stdout


@pytest.mark.parametrize("forced", [True, False])
def test_no_color(forced: bool) -> None:
    colours = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    shown = rvrt("--help", **colours, **({"NO_COLOR": "1"} if forced else {})).stdout.decode("utf-8")
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-7]", shown)) is not forced


@pytest.mark.parametrize(
    ("shell", "mark"),
    [("bash", "complete -o"), ("zsh", "#compdef rvrt"), ("fish", "complete --command rvrt")],
)
def test_completion_script(shell: str, mark: str) -> None:
    """What the shell is given to source; asked for in the way that the script itself asks."""
    code = "import sys; sys.argv[0] = 'rvrt'; from rvrt_cli.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "_RVRT_COMPLETE": f"source_{shell}"},
        timeout=120,
    )
    assert mark in done.stdout
    assert "_RVRT_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("shell", "environment"),
    [
        ("bash", {"COMP_WORDS": "rvrt ups", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "rvrt ups"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "rvrt ups", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_completion_of_a_command(shell: str, environment: dict[str, str]) -> None:
    code = "import sys; sys.argv[0] = 'rvrt'; from rvrt_cli.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "_RVRT_COMPLETE": f"complete_{shell}", **environment},
        timeout=120,
    )
    assert "upscale" in done.stdout
    assert "weights" not in done.stdout


def test_exit_codes_are_the_ones_in_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", readme, flags=re.M)}
    assert rows == {int(code) for code in ExitCode}
