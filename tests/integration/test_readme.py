"""The commands in README.md and docs/ are run as they stand there; every link in them leads somewhere.

A block of ``sh`` or ``python`` carries a comment in the line before it: ``<!-- run -->``, ``<!-- run: needs light-s -->`` (or torch), or
``<!-- not run: REASON -->``. Each block runs in a folder with ``in.mp4``, ``films/``, ``clips/`` and ``examples/``. A plain block
behind ``<!-- printed by it -->`` is a transcript: its lines are among those that the block before it prints, but for figures.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from rvrt_cli.system.hardware import nvidia_cards
from rvrt_cli.weights.find import shipped

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    REPOSITORY / "README.md",
    *sorted(REPOSITORY.glob("*/*.md")),
    *sorted(p for p in REPOSITORY.glob("*.md") if p.name != "README.md"),
]
FENCE = re.compile(r"(?:^<!--(?P<mark>[^\n]*?)-->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@dataclass(frozen=True)
class Block:
    """A fenced block. ``mark``: the comment before it, empty where there is none."""

    page: Path
    line: int
    language: str
    mark: str
    body: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match["language"] in ("sh", "bash", "python", "console"):
                line = text.count("\n", 0, match.start("language")) + 1
                found.append(
                    Block(page, line, match["language"], (match["mark"] or "").strip(), match["body"])
                )
    return found


def missing(block: Block) -> str:
    """Why a block cannot run here; empty when it can."""
    needs = re.findall(r"light-s|torch|mindspore|onnxruntime", block.mark.partition(":")[2])
    for need in needs:
        if need == "light-s":
            if "light-s" not in shipped():
                return "weights/light-s.safetensors is not in this checkout"
        elif importlib.util.find_spec(need) is None:
            return f"{need} is not installed"
    return ""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the blocks speak of, and ``rvrt`` and ``python`` on a path of their own."""
    import cv2
    import imageio_ffmpeg
    import numpy as np

    root = tmp_path_factory.mktemp("readme")
    folder = root / "files"
    (folder / "films").mkdir(parents=True)
    (folder / "clips" / "one").mkdir(parents=True)
    shutil.copytree(
        REPOSITORY / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__")
    )
    source = [
        "-i",
        str(REPOSITORY / "examples" / "bunny.mp4"),
        "-vf",
        "scale=48:32",
        "-frames:v",
        "6",
        "-t",
        "0.24",
    ]
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *source, str(folder / "in.mp4")],
        check=True,
    )
    shutil.copy(folder / "in.mp4", folder / "films" / "one.mp4")
    y, x = np.mgrid[:48, :64]
    for index in range(6):
        picture = 127 + 90 * np.sin((x + 2 * index) / 3) * np.cos(y / 4)
        cv2.imwrite(
            str(folder / "clips" / "one" / f"{index:08d}.png"),
            np.repeat(picture[..., None], 3, -1).astype(np.uint8),
        )
    programs = root / "programs"
    programs.mkdir()
    for name, start in (("rvrt", "-m rvrt_cli"), ("python", ""), ("python3", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {start} "$@"\n')
        program.chmod(0o755)
    return root


def run_block(block: Block, place: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block in a copy of the prepared folder."""
    shutil.copytree(place / "files", folder, dirs_exist_ok=True)
    environment = {
        **os.environ,
        "PATH": f"{place / 'programs'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "RVRT_CACHE": str(place / "cache"),
    }
    command = (
        [sys.executable, "-c", block.body]
        if block.language == "python"
        else ["bash", "-euo", "pipefail", "-c", block.body]
    )
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.parametrize("block", [block for block in blocks() if re.match(r"run\b", block.mark)], ids=str)
@pytest.mark.skipif(os.name == "nt", reason="the blocks are written for a POSIX shell")
def test_block_runs(block: Block, place: Path, tmp_path: Path) -> None:
    if reason := missing(block):
        pytest.skip(reason)
    done = run_block(block, place, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in re.findall(r"^rvrt upscale \S+ ([\w-]+\.\w+)", block.body, flags=re.M):
        assert (tmp_path / name).stat().st_size > 0
    if not nvidia_cards():  # the transcripts are of a machine without one
        printed = (done.stdout + done.stderr).splitlines()
        assert [line for line in transcript(block) if likeness(line, printed) < 0.6] == []


def transcript(block: Block) -> list[str]:
    """The lines that the page shows as printed by a block, without the "..." for what is left out."""
    behind = block.page.read_text(encoding="utf-8").partition(block.body + "```\n")[2]
    shown = re.match(r"\n<!-- printed by it -->\n```\n(.*?)^```$", behind, re.M | re.S)
    return [line for line in shown[1].splitlines() if line != "..."] if shown else []


def without_figures(line: str) -> str:
    """A line's words: figures and places differ from run to run, the lines of tables are as long as what they hold."""
    for pattern, instead in ((r"\S*/\S+", "/"), (r"\d[\d.,:%]*", "#"), ("[━─┏┓┡╇┩┳├┼┤└┴┘┃│]+", " ")):
        line = re.sub(pattern, instead, line)
    return " ".join(line.split())


def likeness(line: str, printed: list[str]) -> float:
    """How near the nearest printed line is, 1 for the same words; machines and versions may add some."""
    words = without_figures(line)
    return max((SequenceMatcher(None, words, without_figures(other)).ratio() for other in printed), default=0)


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_block_says_whether_it_is_run(block: Block) -> None:
    assert re.fullmatch(
        r"run|run: needs (light-s|torch|mindspore|onnxruntime)(, (light-s|torch|mindspore|onnxruntime))*|not run: .+",
        block.mark,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_file_tree_names_what_exists() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    tree = next(match["body"] for match in FENCE.finditer(readme) if "rvrt_cli/\n" in match["body"])
    base = REPOSITORY
    for line in tree.splitlines():
        name = line.split()[0]
        base = REPOSITORY / "rvrt_cli" if line.startswith("  ") else REPOSITORY
        assert (base / name).exists(), name
    described = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")}
    packages = {path.parent.name for path in (REPOSITORY / "rvrt_cli").glob("*/__init__.py")}
    assert packages <= described
