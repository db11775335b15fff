"""The wheel and the sdist hold what an installation needs, and the metadata says what the code says."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import rvrt_cli
from rvrt_cli.cli import app

REPOSITORY = Path(__file__).resolve().parents[2]


def source_files() -> list[str]:
    """What the sdist holds, by pyproject.toml; so the tests need no git and run in an unpacked sdist too."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"sdist\]\ninclude = \[(.*)\]", text)
    assert found
    patterns = [pattern.lstrip("/") for pattern in re.findall(r'"([^"]+)"', found[1])]
    paths = [path for pattern in patterns for path in REPOSITORY.glob(pattern)]
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return [
        file.relative_to(REPOSITORY).as_posix()
        for file in files
        if file.is_file() and file.suffix != ".pyc" and file.parent.name[:2] not in ("__", ".m", ".r", ".p")
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built without a network by the installed build backend."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed; .ci/run builds the wheel in any case")
    tree = tmp_path_factory.mktemp("tree")
    for name in source_files():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tree / name)
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=tree,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return out


def shipped_names() -> set[str]:
    return {path.name for path in (REPOSITORY / "weights").iterdir() if path.is_file()}


def test_wheel_holds_the_weights_and_the_code(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for name in shipped_names():
            assert archive.read(f"rvrt_cli/_shipped/{name}") == (REPOSITORY / "weights" / name).read_bytes()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
        entry = archive.read(next(name for name in names if name.endswith("/entry_points.txt"))).decode()
    assert {"rvrt_cli/py.typed", "rvrt_cli/__main__.py", "rvrt_cli/cli/app.py"} <= names
    assert {f"rvrt_cli/evaluate/report_page/{n}" for n in ("template.html", "page.css", "page.js")} <= names
    assert not [
        name for name in names if name.startswith(("tests/", "examples/", "docs/")) or "__pycache__" in name
    ]
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert f"\nVersion: {rvrt_cli.__version__}\n" in metadata
    assert "rvrt = rvrt_cli.__main__:main" in entry


def test_sdist_holds_what_the_tests_need(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {f"weights/{name}" for name in shipped_names()} <= names
    assert {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "examples/bunny.mp4",
        "tests/conftest.py",
        ".ci/run",
    } <= names


def test_every_package_of_the_wheel_is_a_package() -> None:
    """A folder without ``__init__.py`` imports from a checkout by accident and is easily left out of tools' views."""
    folders = {path.parent for path in (REPOSITORY / "rvrt_cli").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports when it runs, wherever in it; what only type checkers see is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"rvrt_cli"}


HOMES = {
    ("typer", "rich"): ("cli/",),
    ("av", "imageio_ffmpeg"): ("media/",),
    ("torch", "mindspore", "openvino", "onnxruntime", "onnx", "spox"): (
        "backend/", "inference/", "train/engine_", "train/graphs_", "system/hardware.py"
    ),
}  # fmt: skip
"""What CONTRIBUTING.md says of who may know which packages."""


@pytest.mark.parametrize("packages", HOMES, ids=lambda packages: packages[0])
def test_packages_are_known_where_they_belong(packages: tuple[str, ...]) -> None:
    root = REPOSITORY / "rvrt_cli"
    strangers = [
        name
        for path in sorted(root.rglob("*.py"))
        if imported(path) & set(packages)
        and not (name := path.relative_to(root).as_posix()).startswith(HOMES[packages])
    ]
    assert strangers == []


def test_every_import_is_a_declared_dependency() -> None:
    """The wheel is tried with the packages of the test environment, which would hide one that pyproject.toml forgets."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    base = text.split("\ndependencies = [")[1].split("\n]")[0]
    declared = set(re.findall(r'^ *"([A-Za-z0-9_-]+)', base, flags=re.M))
    packages = {"cv2": "opencv-python-headless", "imageio_ffmpeg": "imageio-ffmpeg"}
    # These are asked for before they are imported, and an error says what to install.
    optional = {"torch", "onnxruntime", "tensorboard"}
    found = {name for path in (REPOSITORY / "rvrt_cli").rglob("*.py") for name in imported(path)}
    assert {packages.get(name, name) for name in found - optional} - declared == set()
    assert {"numpy", "av", "openvino"} <= found  # the search finds something


def test_pins_that_cost_a_day_each() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'"mindspore==2\.8\.0; python_version < \'3\.13\'', text)
    assert "\"numpy>=1.26,<2; python_version < '3.13'\"" in text
    assert "\"opencv-python-headless>=4.9,<4.12; python_version < '3.13'\"" in text
    base = text.split("[project.optional-dependencies]")[0]
    assert '"onnxruntime' not in base
    assert '"torch' not in base
    assert "scenedetect" not in text


def test_python_interface_is_found_at_the_top() -> None:
    from rvrt_cli import api

    assert rvrt_cli.upscale_video is api.upscale_video
    assert rvrt_cli.upscale_frames is api.upscale_frames
    assert rvrt_cli.load_model is api.load_model
    with pytest.raises(AttributeError, match="no attribute 'upscale_film'"):
        rvrt_cli.upscale_film  # noqa: B018 - the look-up itself is what fails


TYPED = """
import numpy as np
from rvrt_cli import light_model, load_model, upscale_frames, upscale_video
from rvrt_cli.errors import RvrtError
from rvrt_cli.upscale.events import Event, Progress, Report

def show(event: Event) -> None:
    if isinstance(event, Progress):
        print(round(event.fps, 1))

try:
    report: Report = upscale_video("in.mp4", "out.mkv", model=light_model(), on_event=show, crf=18, tile="off")
    with load_model("light-s") as model:
        sr = upscale_frames(np.zeros((6, 32, 48, 3), np.uint8), model=model, window=6)
    print(report.frames, sr.shape)
except RvrtError as error:
    raise SystemExit(int(error.exit_code)) from error
"""
MISTYPED = """
from rvrt_cli import upscale_film, upscale_video
upscale_video("in.mp4", "out.mp4", scal=2)
upscale_video("in.mp4", "out.mp4", crf="18")
"""


@pytest.mark.slow
def test_a_strict_type_checker_reads_the_interface(tmp_path: Path) -> None:
    """What a program of one's own sees of the types that py.typed promises: no complaint, and mistakes found."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")

    def check(program: str) -> list[str]:
        path = tmp_path / "program.py"
        path.write_text(program)
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path), str(path)],
            capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "MYPYPATH": str(REPOSITORY)}, timeout=280,
        )  # fmt: skip
        return re.findall(r"^program\.py:\d+: error: .*\[([\w-]+)\]$", done.stdout, flags=re.M) + (
            [done.stderr] if done.stderr else []
        )

    assert check(TYPED) == []
    assert check(MISTYPED) == ["attr-defined", "call-arg", "arg-type"]


def test_python_m_runs_the_same_command() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import runpy, sys; sys.argv = ['rvrt', '-h']; runpy.run_module('rvrt_cli', run_name='__main__')",
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=REPOSITORY,
        timeout=120,
    )
    assert "upscale" in done.stdout
    assert app.main.__module__ == "rvrt_cli.cli.app"
