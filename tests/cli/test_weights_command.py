"""``rvrt weights``: each sub-command's success, bad input, exit code, and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "weights"))

import weight_writers as w
from file_server import FileServer, serve

from rvrt_cli.cli import app as cli
from rvrt_cli.errors import ExitCode
from rvrt_cli.model.config import PRESETS
from rvrt_cli.weights import find, load_weights
from rvrt_cli.weights.cache import MIRROR_VARIABLE
from rvrt_cli.weights.names import MINDSPORE, PYTORCH

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, no proxies, and the published presets made narrow."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    monkeypatch.setenv("RVRT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(PRESETS, "light", w.small("light", MINDSPORE))
    monkeypatch.setitem(PRESETS, "rvrt", w.small("rvrt", PYTORCH))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process, through its error boundary; → (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rvrt", "weights", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return w.write(tmp_path / "rvrt_light_37.91.ckpt", w.ckpt(w.random_tensors(PRESETS["light"], MINDSPORE)))


@pytest.fixture
def server(checkpoint: Path) -> Iterator[FileServer]:
    with serve(checkpoint.read_bytes()) as server:
        yield server


def test_list(run: Run, server: FileServer, cache: Path) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert f"Cache: {cache}." in out
    assert all(
        name in out
        for name in ("rvrt-reds", "denoise-davis", "light-mindspore", "CC BY-NC 4.0", "not fetched")
    )
    assert run("fetch", "light", "--mirror", server.url, "--quiet")[0] == 0
    code, out, _ = run("list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["light-mindspore"]["state"] == "cached"
    assert Path(rows["light-mindspore"]["path"]).is_file()
    assert rows["rvrt-reds"]["path"] is None
    assert rows["rvrt-reds"]["url"].endswith("001_RVRT_videosr_bi_REDS_30frames.pth")


def test_fetch_prints_the_licence_before_the_first_fetch_only(
    run: Run, server: FileServer, checkpoint: Path, cache: Path
) -> None:
    code, out, err = run("fetch", "light", "--mirror", server.url)
    assert (code, out) == (0, "")
    assert err.index("CC BY-NC 4.0") < err.index("light-mindspore: fetched")
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in err
    code, out, err = run("fetch", "light", "light-mindspore", "--json")
    assert code == 0
    assert "already here, unchanged" in err
    assert "CC BY-NC" not in err
    (result,) = json.loads(out)
    assert result["new"] is False
    assert Path(result["path"]) == cache / "rvrt_light_37.91.ckpt"


def test_shipped_weights_need_no_fetch(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(find, "shipped", lambda: {"light-s": tmp_path / "light-s.safetensors"})
    assert run("fetch", "light-s", "--json") == (0, "[]\n", "light-s: ships with rvrt, nothing to fetch.\n")


def test_the_official_licence(run: Run, tmp_path: Path) -> None:
    source = w.write(tmp_path / "mine.pth", w.pth_zip(w.random_tensors(PRESETS["rvrt"], PYTORCH)))
    code, _, err = run("fetch", "rvrt", "--from", source)
    assert code == 0
    assert "Creative Commons Attribution-NonCommercial 4.0 International" in err
    assert "https://creativecommons.org/licenses/by-nc/4.0/legalcode" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nope"], ExitCode.WEIGHTS, "No published weights are called 'nope'"),
        (["rvrt", "light", "--from", "x"], ExitCode.USAGE, "name exactly one"),
        (["rvrt", "--from", "x", "--mirror", "http://x"], ExitCode.USAGE, "exclude each other"),
        (["rvrt", "--from", "missing.pth"], ExitCode.WEIGHTS, "does not exist"),
        (["rvrt", "--mirror", "ftp://example.org"], ExitCode.NETWORK, "no http:// or https:// address"),
    ],
)
def test_fetch_bad_input(run: Run, cache: Path, arguments: list[str], code: ExitCode, message: str) -> None:
    found, out, err = run("fetch", *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert not [path for path in cache.glob("*") if path.suffix != ".lock"]


def test_fetch_404(run: Run, server: FileServer, cache: Path) -> None:
    server.statuses = [404]
    code, _, err = run("fetch", "light", "--mirror", server.url)
    assert code == ExitCode.NETWORK
    assert "HTTP 404" in err.splitlines()[-1]
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_a_killed_fetch_continues_where_it_was(server: FileServer, checkpoint: Path, cache: Path) -> None:
    """A real process, killed in the middle of a download; the next one asks for the rest only."""
    script = (
        "import sys\nfrom dataclasses import replace\nfrom rvrt_cli.model.config import PRESETS\n"
        "PRESETS['light'] = replace(PRESETS['light'], embed_dim=12)\n"
        f"sys.argv = ['rvrt', 'weights', 'fetch', 'light', '--mirror', {server.url!r}]\n"
        "from rvrt_cli.cli.app import main\nmain()\n"
    )
    server.stall_after = 50_000
    first = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    part = cache / "rvrt_light_37.91.ckpt.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size == 50_000):
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    server.go_on.set()
    server.stall_after = None
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "light-mindspore: fetched" in second.stderr
    assert [headers.get("Range") for _, headers in server.requests] == [None, "bytes=50000-"]
    assert (cache / "rvrt_light_37.91.ckpt").read_bytes() == checkpoint.read_bytes()


def test_the_bar_on_a_terminal(run: Run, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from rvrt_cli.cli import weights as command

    seen = []
    original = command._progress

    @contextmanager
    def watched(label: str, quiet: bool) -> Iterator[Callable[[int, int | None], None] | None]:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        with original(label, quiet) as show:
            assert show is not None

            def both(done: int, total: int | None) -> None:
                seen.append((done, total))
                show(done, total)

            yield both

    monkeypatch.setattr(command, "_progress", watched)
    assert run("fetch", "light", "--mirror", server.url)[0] == 0
    assert seen[-1] == (len(server.data), len(server.data))


def test_info(run: Run, checkpoint: Path) -> None:
    code, out, _ = run("info", checkpoint)
    assert code == 0
    assert "MindSpore checkpoint, MindSpore names" in out
    code, out, _ = run("info", checkpoint, "--json")
    info = json.loads(out)
    assert info["preset"] == "light"
    assert info["config"]["embed_dim"] == 12
    assert info["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert info["parameters"] == load_weights(checkpoint).parameter_count


def test_info_shows_a_files_metadata_as_plain_text(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    from rvrt_cli.weights import save_weights

    weights = replace(load_weights(checkpoint), metadata={"title": "[red]\x1b[2Jboo"})
    save_weights(tmp_path / "a.safetensors", weights)
    out = run("info", tmp_path / "a.safetensors")[1]
    assert "[red]\N{REPLACEMENT CHARACTER}[2Jboo" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("target", "message"),
    [("nope", "No weights are called"), ("nope.pth", "does not exist"), ("light", "run `rvrt")],
)
def test_info_bad_input(run: Run, target: str, message: str) -> None:
    code, out, err = run("info", target)
    assert (code, out) == (ExitCode.WEIGHTS, "")
    assert message in err


def test_convert(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "light.safetensors"
    code, out, _ = run("convert", checkpoint, output, "--json")
    assert code == 0
    converted, original = load_weights(output), load_weights(checkpoint)
    assert json.loads(out)["sha256"] == converted.sha256
    assert converted.config == original.config
    for name, array in original.tensors.items():
        np.testing.assert_array_equal(converted.tensors[name], array)
    assert original.sha256 in converted.metadata["converted_from"]
    assert converted.metadata["licence"].startswith("Apache-2.0 (MindEditing)")
    code, _, err = run("convert", checkpoint, output)
    assert code == ExitCode.OUTPUT
    assert "--force" in err
    assert run("convert", checkpoint, output, "--force", "--dtype", "fp16")[0] == 0
    assert output.stat().st_size < 0.6 * checkpoint.stat().st_size


@pytest.mark.parametrize(
    ("output", "options", "code"),
    [
        ("out.pth", [], ExitCode.USAGE),
        ("out.safetensors", ["--dtype", "int3"], ExitCode.USAGE),
        ("missing/out.safetensors", [], ExitCode.OUTPUT),
    ],
)
def test_convert_bad_input(
    run: Run, checkpoint: Path, tmp_path: Path, output: str, options: list[str], code: ExitCode
) -> None:
    before = set(tmp_path.rglob("*"))
    assert run("convert", checkpoint, tmp_path / output, *options)[0] == code
    assert set(tmp_path.rglob("*")) == before


def in_a_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """An export chooses a backend for the whole process, so it gets one of its own; the preset is narrowed there too."""
    script = (
        "import sys\nfrom dataclasses import replace\nfrom rvrt_cli.model.config import PRESETS\n"
        "PRESETS['light'] = replace(PRESETS['light'], embed_dim=12)\nfrom rvrt_cli.cli.app import main\nmain()\n"
    )
    command = [sys.executable, "-c", script, "weights", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_export_onnx(checkpoint: Path, tmp_path: Path, precision: str) -> None:
    pytest.importorskip("spox")
    runtime = pytest.importorskip("onnxruntime")
    output = tmp_path / "light.onnx"
    size = ("--frames", 2, "--height", 16, "--width", 24, "--precision", precision)
    done = in_a_process(checkpoint, output, *size, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["output"] == [1, 2, 64, 96, 3]
    session = runtime.InferenceSession(output.read_bytes(), providers=["CPUExecutionProvider"])
    (sr,) = session.run(None, {session.get_inputs()[0].name: np.full(result["input"], 0.5, np.float32)})
    assert list(sr.shape) == result["output"]
    again = in_a_process(checkpoint, output, *size)
    assert again.returncode == ExitCode.OUTPUT
    assert "--force" in again.stderr


@pytest.mark.slow
def test_export_mindir(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("mindspore")
    output = tmp_path / "light.mindir"
    done = in_a_process(checkpoint, output, "--frames", 2, "--height", 16, "--width", 16)
    assert done.returncode == 0, done.stderr
    assert output.stat().st_size > 100_000


@pytest.mark.parametrize(
    ("output", "options", "code", "message"),
    [
        ("a.pb", [], ExitCode.USAGE, "must end in .onnx or .mindir"),
        ("a.onnx", ["--precision", "int8"], ExitCode.USAGE, "--precision int8 is not possible"),
        ("a.mindir", ["--precision", "fp16"], ExitCode.USAGE, "--precision fp16 is not possible"),
        ("missing/a.onnx", [], ExitCode.OUTPUT, "does not exist"),
        ("a.onnx", ["--frames", "0"], ExitCode.USAGE, "greater than or equal to 1"),
    ],
)
def test_export_bad_input(
    run: Run, checkpoint: Path, tmp_path: Path, output: str, options: list[str], code: ExitCode, message: str
) -> None:
    before = set(tmp_path.rglob("*"))
    found, _, err = run("export", checkpoint, tmp_path / output, "--height", 16, "--width", 16, *options)
    assert found == code
    assert message in err
    assert set(tmp_path.rglob("*")) == before


def test_export_without_spox(
    monkeypatch: pytest.MonkeyPatch, run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "spox", None)
    code, _, err = run("export", checkpoint, tmp_path / "net.onnx", "--height", "16", "--width", "16")
    assert code == ExitCode.DEVICE
    assert "pip install spox onnx" in err
    assert not (tmp_path / "net.onnx").exists()
