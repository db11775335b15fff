"""One command, one report: runs the other benchmarks one after the other and writes Markdown and JSON.

Run: ``python benchmarks/report.py --out DIR [--only model upscale] [--data DIR] [--quick]``. The report holds the machine, the
versions, the commit, the load while each part ran, each part's command, and what it printed. Parts run in their own
processes, so that one backend's memory and threads do not touch another's figures; one that fails, or is stopped after
``--timeout``, is in the report with its error and what it had printed until then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rows import Row, markdown_table

HERE = Path(__file__).resolve().parent
PARTS = ("model", "upscale", "preprocess", "train", "quality")
"""The benchmarks, in the order in which they run; each is a script beside this one."""

QUICK: dict[str, tuple[str, ...]] = {
    "model": ("--quick",),
    "upscale": ("--frames", "16", "--sizes", "160x120", "--seam-frames", "0", "--memory-frames", "16", "32"),
    "preprocess": ("--seconds", "0.2"),
    "train": ("--steps", "4", "--skip", "1", "--batch", "1", "--frames", "2", "--patch", "64", "--no-video"),
    "quality": ("--frames", "4"),
}
"""A look at each part in a minute or so, for --quick."""

TIMEOUT_S, QUICK_TIMEOUT_S = 1800.0, 600.0
ERROR_CHARACTERS = 4000
STOPPED = 124

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
    """What became of one benchmark. ``rows``: the figures that it printed; ``error``: the end of its standard error, kept where
    it succeeded too.

    ``load``: the machine's 1-minute load before and after; above the number of cores, other work disturbed the timings.
    """

    name: str
    command: str
    seconds: float
    exit_code: int
    load: tuple[float, float]
    rows: list[Row]
    error: str


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
    arguments = [*arguments, "--json"]
    before, began = _load(), time.monotonic()
    # Files, not pipes: what a part printed before it was stopped is there.
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
    ):
        process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = STOPPED
            _stop(process)
        out.seek(0)
        err.seek(0)
        output, error = out.read(), err.read()
    if code == STOPPED:
        error += f"\nstopped after {timeout_s:.0f} s"
    shown = " ".join(["python", f"benchmarks/{name}.py", *arguments])
    seconds = round(time.monotonic() - began, 1)
    return Part(name, shown, seconds, code, (before, _load()), json_rows(output), error[-ERROR_CHARACTERS:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a part with the processes that it started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def json_rows(output: str) -> list[Row]:
    """The objects of an output, one a line; what was cut off, or printed by a library, is passed over."""
    rows = []
    for text in output.splitlines():
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict):
            rows.append(found)
    return rows


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
            lines += [f"Failed with exit code {part.exit_code}:", ""]
        if part.error.strip() and part.exit_code:
            lines += ["```", part.error.strip(), "```", ""]
        if part.rows:
            lines += [markdown_table(part.rows), ""]
    return "\n".join(lines)


def part_arguments(name: str, data: Path | None, models: list[str], quick: bool) -> list[str] | None:
    """The arguments of a part; None when it cannot run without ``data``."""
    photos = data / "photos" if data is not None and (data / "photos").is_dir() else None
    arguments: list[str] = []
    if name == "quality":
        if data is None:
            return None
        arguments = ["--data", str(data), "--model", *models]
    elif name == "train":
        if data is None:
            return None
        arguments = ["--data", str(photos or data)]
    elif name == "preprocess" and photos is not None and not quick:
        arguments = ["--photos", str(photos)]
    return [*arguments, *(QUICK[name] if quick else ())]


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
    parser.add_argument("--quick", action="store_true", help="a look at each part, in minutes")
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="S",
        help=f"for each part; {TIMEOUT_S:g}, or {QUICK_TIMEOUT_S:g} with --quick, unless given",
    )
    arguments = parser.parse_args()
    timeout_s = arguments.timeout or (QUICK_TIMEOUT_S if arguments.quick else TIMEOUT_S)
    facts, parts = machine(), []
    for name in arguments.only:
        part = part_arguments(name, arguments.data, arguments.model, arguments.quick)
        if part is None:
            print(f"{name}: left out, because it needs --data", file=sys.stderr)
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        parts.append(run_part(name, part, timeout_s))
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
