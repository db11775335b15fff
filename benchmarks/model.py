"""Seconds per window, output frames per second and peak memory of each preset on each engine, side by side, with ratios.

``python benchmarks/model.py [--presets light-s light] [--engines openvino torch] [--precisions fp32] [--frames 6] [--size 64]``

Every row runs in a process of its own below this one, so that peak memory is its own and a backend is chosen once. The
processes of one preset stay alive and take turns: round by round each runs one window, and the minimum over rounds counts,
so that other programs on the machine disturb all of them alike. ``cpu`` is the processor time of a window divided by the
threads: what it would take on idle cores. ``ratio`` is a row's time over the fastest row's of its preset. ``chain`` is the
usual fast single-image upscaler, 16 convolutions of 64 channels and a pixel shuffle; it takes turns with the first preset,
and ``times_chain`` is a row's time over the chain's on the same engine. Weights are random; they do not change the speed.
Graphs and programs go to a cache of this run alone, so that none of another version is measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CHAIN = "chain"
PRESETS = ("light-s", "light", "rvrt", "deblur", "denoise", CHAIN)
DEFAULT_PRESETS = ("light-s", CHAIN, "light", "rvrt")
ENGINES = ("openvino", "onnxruntime", "torch", "mindspore")
PRECISIONS = ("fp32", "mixed")
CHAIN_CONVS, CHAIN_WIDTH = 16, 64


class Runner(NamedTuple):
    """What one process measures."""

    preset: str
    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.preset} on {self.engine} in {self.precision}"


def main() -> int:
    """Start the workers, let them take turns, print the table; → 1 where one of them failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=list(DEFAULT_PRESETS), choices=PRESETS)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="no new round of a preset begins after this time"
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=300.0,
        metavar="S",
        help="a window that takes longer, compiling included, has failed",
    )
    parser.add_argument("--quick", action="store_true", help="light-s and the chain in fp32, two rounds")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per row instead of the table"
    )
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(Runner(*options.worker), options)
        return 0
    if options.quick:
        options.presets, options.precisions, options.rounds = ["light-s", CHAIN], ["fp32"], 2
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="rvrt-benchmark-") as cache:
        os.environ["RVRT_CACHE"] = cache
        for group in groups(options):
            rows += measure(group, options)
    add_ratios(rows)
    report(rows, options.json)
    return 1 if any("error" in row for row in rows) else 0


def groups(options: argparse.Namespace) -> list[list[Runner]]:
    """The processes that take turns: those of one preset, so that not all of them are in memory at once."""
    networks = [preset for preset in options.presets if preset != CHAIN]
    together = [[preset] for preset in networks] or [[]]
    if CHAIN in options.presets:
        together[0].append(CHAIN)
    found = []
    for presets in together:
        runners = itertools.product(presets, options.engines, options.precisions)
        found.append([runner for each in runners if exists(runner := Runner(*each))])
    return found


def exists(runner: Runner) -> bool:
    """The chain is measured in float32, and MindSpore runs networks only."""
    return runner.preset != CHAIN or (runner.engine != "mindspore" and runner.precision == "fp32")


def measure(runners: list[Runner], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Let one process each take turns; a row of figures, or of an error, for each."""
    workers = {runner: start(runner, options) for runner in runners}
    found: dict[Runner, list[dict[str, float]]] = {runner: [] for runner in runners}
    began = time.monotonic()
    for count in range(options.rounds):
        if count and time.monotonic() - began > options.seconds:
            break
        for runner, worker in workers.items():
            if (row := ask(worker, options.limit)) is not None:
                found[runner].append(row)
    for worker in workers.values():
        worker.communicate()  # closes its stdin, which ends it
    return [summary(runner, found[runner], options) for runner in runners]


def start(runner: Runner, options: argparse.Namespace) -> subprocess.Popen[str]:
    """A worker that runs one window for each line it is sent."""
    command = [
        sys.executable, __file__, "--worker", *runner, "--frames", str(options.frames), "--size", str(options.size),
        "--threads", str(options.threads),
    ]  # fmt: skip
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ask(worker, options.limit)  # compiles and warms up before the next worker starts
    return worker


def ask(worker: subprocess.Popen[str], limit_s: float) -> dict[str, float] | None:
    """One window's figures, or None when the worker has ended; after ``limit_s`` it is made to."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    killer = threading.Timer(limit_s, worker.kill)
    killer.daemon = True
    killer.start()
    try:
        worker.stdin.write("run\n")
        worker.stdin.flush()
        while line := worker.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
    except BrokenPipeError:
        pass
    finally:
        killer.cancel()
    return None


def work(runner: Runner, options: argparse.Namespace) -> None:
    """Run one window per line of stdin and print its figures as JSON."""
    from rvrt_cli.system.memory import peak_rss_mib

    before = peak_rss_mib()
    infer = chain(runner.engine, options) if runner.preset == CHAIN else network(runner, options)
    shape = (options.frames, options.size, options.size, 4 if runner.preset == "denoise" else 3)
    lq = np.random.default_rng(0).random(shape, dtype=np.float32)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        infer(lq)
        row = {
            "wall_s": time.perf_counter() - wall, "cpu_s": (time.process_time() - cpu) / options.threads,
            "peak_mib": peak_rss_mib(), "before_mib": before,
        }  # fmt: skip
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


def network(runner: Runner, options: argparse.Namespace) -> Callable[[np.ndarray], np.ndarray]:
    """A preset with random weights on one engine."""
    from rvrt_cli.inference.device import choose
    from rvrt_cli.inference.model_restorer import ModelRestorer
    from rvrt_cli.model.config import PRESETS as CONFIGS
    from rvrt_cli.model.initialise import initial_tensors
    from rvrt_cli.model.shapes import parameter_shapes
    from rvrt_cli.weights import Weights

    config = CONFIGS[runner.preset]
    weights = Weights(config, initial_tensors(parameter_shapes(config), config, 0))
    choice = choose("cpu", runner.engine, runner.precision)
    return ModelRestorer(weights, choice, name=runner.preset, threads=options.threads)


def chain(engine: str, options: argparse.Namespace) -> Callable[[np.ndarray], np.ndarray]:
    """The plain chain of convolutions on one engine."""
    rng = np.random.default_rng(0)
    widths = [3] + [CHAIN_WIDTH] * CHAIN_CONVS + [48]
    kernels = [rng.normal(0, 0.05, (o, i, 3, 3)).astype(np.float32) for i, o in itertools.pairwise(widths)]
    if engine == "torch":
        import torch

        torch.set_num_threads(options.threads)
        layers: list[torch.nn.Module] = []
        for kernel in kernels:
            conv = torch.nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
            conv.weight.data = torch.from_numpy(kernel)
            layers += [conv, torch.nn.LeakyReLU(0.1)]
        model = torch.nn.Sequential(*layers[:-1], torch.nn.PixelShuffle(4))

        def infer(lq: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return model(torch.from_numpy(lq).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()

        return infer
    import spox

    from rvrt_cli.backend import onnx as primitives
    from rvrt_cli.inference.cache import CachedBytes, entry_path
    from rvrt_cli.inference.graph import INPUT
    from rvrt_cli.inference.sessions import OnnxRuntimeSession, OpenVinoSession, Session

    shape = (1, options.frames, options.size, options.size, 3)
    argument = spox.argument(spox.Tensor(np.float32, shape))
    x = primitives.graph_input(argument, shape)
    for index, kernel in enumerate(kernels):
        x = primitives.conv2d(
            x, primitives.constant(kernel), primitives.constant(np.zeros(kernel.shape[0], np.float32))
        )
        if index < CHAIN_CONVS:
            x = primitives.leaky_relu(x)
    graph = spox.build({"lq": argument}, {"sr": primitives.finish(primitives.pixel_shuffle(x, 4))})
    graph.ir_version = 9
    entry = CachedBytes(entry_path("onnx", CHAIN, shape), graph.SerializeToString)
    if engine == "openvino":
        session: Session = OpenVinoSession(entry, (CHAIN, shape), threads=options.threads)
    else:
        session = OnnxRuntimeSession(entry, "cpu", threads=options.threads)
    return lambda lq: session.run({INPUT: lq[None]})[0]


def summary(runner: Runner, found: list[dict[str, float]], options: argparse.Namespace) -> dict[str, Any]:
    """One row of the table, without ratios."""
    row: dict[str, Any] = runner._asdict()
    if not found:
        sys.stderr.write(f"{runner} did not run\n")
        return row | {"error": "did not run"}
    wall, cpu = (min(figures[key] for figures in found) for key in ("wall_s", "cpu_s"))
    return row | {
        "window_s": wall, "cpu_s": cpu, "fps": options.frames / wall,
        "peak_mib": max(figures["peak_mib"] for figures in found) - found[0]["before_mib"],
    }  # fmt: skip


def add_ratios(rows: list[dict[str, Any]]) -> None:
    """``ratio`` and ``cpu_ratio`` over the fastest row of the same preset, ``times_chain`` over the chain on the same engine."""
    measured = [row for row in rows if "error" not in row]
    chains = {row["engine"]: row["cpu_s"] for row in measured if row["preset"] == CHAIN}
    for row in measured:
        same = [other for other in measured if other["preset"] == row["preset"]]
        row["ratio"] = row["window_s"] / min(other["window_s"] for other in same)
        row["cpu_ratio"] = row["cpu_s"] / min(other["cpu_s"] for other in same)
        row["times_chain"] = row["cpu_s"] / chains[row["engine"]] if row["engine"] in chains else None


def report(rows: list[dict[str, Any]], as_json: bool) -> None:
    """The rows on stdout, as JSON lines or as a table."""
    if as_json:
        for row in rows:
            sys.stdout.write(json.dumps(row) + "\n")
        return
    sys.stdout.write(
        f"{'preset':9}{'engine':13}{'':6}{'s/window':>10}{'ratio':>7}{'cpu s':>9}{'ratio':>7}{'chain':>7}{'fps':>8}{'peak MiB':>10}\n"
    )
    for row in rows:
        name = f"{row['preset']:9}{row['engine']:13}{row['precision']:6}"
        if "error" in row:
            sys.stdout.write(f"{name} {row['error']}\n")
            continue
        chain_ratio = "" if row["times_chain"] is None else f"{row['times_chain']:.2f}"
        sys.stdout.write(
            f"{name}{row['window_s']:10.3f}{row['ratio']:7.2f}{row['cpu_s']:9.3f}{row['cpu_ratio']:7.2f}{chain_ratio:>7}"
            f"{row['fps']:8.2f}{row['peak_mib']:10.0f}\n"
        )


if __name__ == "__main__":
    sys.exit(main())
