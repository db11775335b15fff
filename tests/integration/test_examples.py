"""The scripts in examples/ do what their first lines say."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rvrt_cli.media import probe, read_frames
from rvrt_cli.weights.find import shipped

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the examples are shell scripts")
needs_weights = pytest.mark.skipif(
    "light-s" not in shipped(), reason="weights/light-s.safetensors is not in this checkout"
)


def run(*command: object, path: Path, **environment: str) -> str:
    """Run an example with ``rvrt`` on the path, in ``path``; → its standard output."""
    programs = path / "programs"
    programs.mkdir(exist_ok=True)
    for name, start in (("rvrt", "-m rvrt_cli"), ("python3", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {start} "$@"\n')
        (programs / name).chmod(0o755)
    variables = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(EXAMPLES.parent),
        "RVRT_CACHE": str(path / "cache"),
        **environment,
    }
    done = subprocess.run(
        [str(word) for word in command], cwd=path, env=variables, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ffmpeg() -> str:
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Six frames of the sample clip with sound, reduced to 48x32."""
    (tmp_path / "films").mkdir()
    path = tmp_path / "films" / "one.mp4"
    clip = ["-i", str(EXAMPLES / "bunny.mp4"), "-vf", "scale=48:32", "-frames:v", "6", "-t", "0.24"]
    subprocess.run([ffmpeg(), "-v", "error", "-nostdin", *clip, str(path)], check=True)
    return path


def kinds(path: Path) -> list[str]:
    return sorted(stream.kind for stream in probe(path).streams)


def frames(path: Path) -> tuple[int, int, int]:
    """(frames, height, width) of a film."""
    with read_frames(probe(path)) as reader:
        pictures = [frame.rgb.shape for frame in reader]
    return len(pictures), *pictures[0][:2]


def test_clip_is_what_the_readme_says() -> None:
    source = probe(EXAMPLES / "bunny.mp4")
    assert source.video is not None
    assert (source.video.width, source.video.height) == (160, 90)
    assert kinds(EXAMPLES / "bunny.mp4") == ["audio", "video"]
    assert frames(EXAMPLES / "bunny.mp4") == (132, 90, 160)
    assert source.size_bytes < 300_000


def test_folder_batch(film: Path, tmp_path: Path) -> None:
    command = (EXAMPLES / "folder_batch.sh", "films", "upscaled", "--model", "bicubic")
    run(*command, path=tmp_path)
    (result,) = (tmp_path / "upscaled").glob("one.*")
    assert frames(result) == (6, 128, 192)
    made = result.stat().st_mtime_ns
    run(*command, path=tmp_path)
    assert result.stat().st_mtime_ns == made


def test_y4m_pipe(film: Path, tmp_path: Path) -> None:
    run(EXAMPLES / "y4m_pipe.sh", film, "out.mp4", "--model", "bicubic", path=tmp_path, FFMPEG=ffmpeg())
    assert frames(tmp_path / "out.mp4") == (6, 128, 192)
    assert kinds(tmp_path / "out.mp4") == ["audio", "video"]


def test_python_api(film: Path, tmp_path: Path) -> None:
    shown = run(sys.executable, EXAMPLES / "python_api.py", film, "out.mp4", "bicubic", path=tmp_path)
    assert "frames in memory: (6, 96, 128, 3) uint8" in shown
    assert "6 frames of 192x128, verified: True" in shown
    assert frames(tmp_path / "out.mp4") == (6, 128, 192)


@needs_weights
@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
def test_export_onnx(tmp_path: Path) -> None:
    shown = run(sys.executable, EXAMPLES / "export_onnx.py", "net.onnx", path=tmp_path)
    assert re.search(
        r"\(1, 6, 64, 64, 3\) -> \(1, 6, 256, 256, 3\)|\(6, 64, 64, 3\) -> \(6, 256, 256, 3\)", shown
    )


@needs_weights
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_fine_tune(film: Path, tmp_path: Path) -> None:
    small = [
        "--steps",
        "2",
        "--batch",
        "1",
        "--frames",
        "2",
        "--patch",
        "32",
        "--workers",
        "0",
        "--degradation",
        "BI",
        "--no-samples",
    ]
    run(EXAMPLES / "fine_tune.sh", "films", film, "out.mp4", *small, path=tmp_path)
    assert frames(tmp_path / "out.mp4") == (6, 128, 192)


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.sh")), ids=lambda path: path.name)
def test_shell_scripts_are_sound(script: Path) -> None:
    """Those that need other hardware are at least parsed; all stop at the first error."""
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)


@needs_weights
@pytest.mark.slow
def test_picture(tmp_path: Path) -> None:
    run("bash", EXAMPLES / "make_picture.sh", tmp_path / "picture.jpg", path=tmp_path)
    with read_frames(probe(tmp_path / "picture.jpg")) as reader:
        assert [frame.rgb.shape for frame in reader] == [(360, 1280, 3)]


def test_every_example_is_described() -> None:
    described = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.name not in ("README.md", "__pycache__"):
            assert f"`{path.name}`" in described
