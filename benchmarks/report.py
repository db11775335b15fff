"""One command, one report: runs the other benchmarks one after the other and writes Markdown and JSON.

Run: ``python benchmarks/report.py --out DIR [--only model upscale] [--data DIR]``. The report holds the machine, the versions, the
commit, the load while each part ran, each part's command, and what it printed. Parts run in their own processes, so that
one backend's memory and threads do not touch another's figures; one that fails is in the report with its error.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PARTS = ("model", "upscale", "preprocess", "train", "quality")
"""The benchmarks, in the order in which they run; each is a script beside this one."""

PACKAGES = (
    "numpy",
    "mindspore",
    "torch",
    "openvino",
    "onnxruntime",
    "spox",
    "onnx",
    "av",
    "opencv-python-headless",
    "imageio-ffmpeg",
)


@dataclass(frozen=True)
class Part:
    """What became of one benchmark. ``output``: its standard output, Markdown; ``tables``: the tables in it, as rows of cells.

    ``load``: the machine's 1-minute load before and after; above the number of cores, other work disturbed the timings.
    """

    name: str
    command: str
    seconds: float
    exit_code: int
    load: tuple[float, float]
    output: str
    error: str
    tables: list[list[dict[str, str]]]


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system, Python, package versions and commit."""
    from importlib.metadata import PackageNotFoundError, version

    import psutil

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str:
    """The checkout's commit, with "+ changes" when tracked files differ from it."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=HERE, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + (" + changes" if dirty else "")


def run_part(name: str, arguments: list[str], timeout_s: float) -> Part:
    """Run one benchmark to its end, or until ``timeout_s``."""
    script = HERE / f"{name}.py"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, str(script), *arguments]
    before, began = _load(), time.monotonic()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        code, output, error = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        code, output, error = 124, "", f"stopped after {timeout_s:.0f} s"
    output = as_markdown(output)
    shown = " ".join(["python", f"benchmarks/{name}.py", *arguments])
    return Part(
        name,
        shown,
        round(time.monotonic() - began, 1),
        code,
        (before, _load()),
        output,
        error[-4000:] if code else "",
        tables(output),
    )


def as_markdown(output: str) -> str:
    """A part's output; where it is JSON objects, one a line, a table of them."""
    lines = output.strip().splitlines()
    if not lines or not all(line.startswith("{") for line in lines):
        return output
    rows = [json.loads(line) for line in lines]
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [
        [f"{row[name]:.4g}" if isinstance(row.get(name), float) else str(row.get(name, "")) for name in names]
        for row in rows
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in [names, ["---"] * len(names), *cells])


def tables(markdown_text: str) -> list[list[dict[str, str]]]:
    """The Markdown tables in a text: for each its rows, column name → cell."""
    found: list[list[dict[str, str]]] = []
    names: list[str] = []
    for line in markdown_text.splitlines():
        if not line.lstrip().startswith("|"):
            names = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not names:
            names = cells
            found.append([])
        elif not all(set(cell) <= set("-: ") for cell in cells):
            found[-1].append(dict(zip(names, cells, strict=False)))
    return found


def _load() -> float:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0


def markdown(facts: dict[str, Any], parts: list[Part]) -> str:
    """The report as Markdown."""
    versions = ", ".join(f"{name} {found}" for name, found in facts["versions"].items())
    lines = [
        "# Benchmarks",
        "",
        f"Commit {facts['commit']}, {facts['date']}. {facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}, "
        f"Python {facts['python']}. {versions}.",
        "",
    ]
    for part in parts:
        lines += [
            f"## {part.name}",
            "",
            f"`{part.command}`: {part.seconds:.0f} s, load {part.load[0]:g} before and {part.load[1]:g} after.",
            "",
        ]
        if part.exit_code:
            lines += [f"Failed with exit code {part.exit_code}:", "", "```", part.error.strip(), "```", ""]
        if part.output.strip():
            lines += [part.output.strip(), ""]
    return "\n".join(lines)


def part_arguments(name: str, data: Path | None, models: list[str]) -> list[str] | None:
    """The arguments of a part; None when it cannot run without ``data``."""
    if name == "model":
        return ["--json"]
    photos = data / "photos" if data is not None and (data / "photos").is_dir() else None
    if name == "quality":
        return None if data is None else ["--data", str(data), "--model", *models]
    if name == "train":
        return None if data is None else ["--data", str(photos or data)]
    if name == "preprocess" and photos is not None:
        return ["--photos", str(photos)]
    return []


def main() -> int:
    """→ 0, or 1 when a part failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--out", type=Path, default=Path("benchmark-report"), help="folder for report.md and report.json"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with davis_mini, vimeo90k_mini and photos (or full sets), for quality and train",
    )
    parser.add_argument("--model", nargs="+", default=["light-s"], help="models of the quality table")
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="S", help="for each part")
    arguments = parser.parse_args()
    facts, parts = machine(), []
    for name in arguments.only:
        if not (HERE / f"{name}.py").is_file():
            parts.append(
                Part(name, "", 0.0, 1, (_load(), _load()), "", f"benchmarks/{name}.py does not exist", [])
            )
            continue
        part = part_arguments(name, arguments.data, arguments.model)
        if part is None:
            print(f"{name}: left out, because it needs --data", file=sys.stderr)
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        parts.append(run_part(name, part, arguments.timeout))
        arguments.out.mkdir(
            parents=True, exist_ok=True
        )  # after each part: hours of figures must survive a stop
        (arguments.out / "report.md").write_text(markdown(facts, parts), encoding="utf-8")
        report = {"machine": facts, "parts": [asdict(done) for done in parts]}
        (arguments.out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    failed = [part.name for part in parts if part.exit_code]
    print(f"{arguments.out}/report.md and report.json" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
