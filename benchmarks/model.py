"""Seconds per window, output frames per second and peak memory of each preset on each engine, side by side.

``python benchmarks/model.py [--presets light-s light] [--engines openvino onnxruntime torch] [--frames 6] [--size 64]``

Every (preset, engine) pair runs in a process of its own below this one, so that peak memory is its own and a backend is
chosen once. The processes stay alive and take turns: round by round each runs one window, and the minimum over rounds
counts, so that other programs on the machine disturb all of them alike. ``cpu`` is the processor time of a window divided
by the threads: what it would take on idle cores. ``chain`` is the usual fast single-image upscaler, 16 convolutions of
64 channels and a pixel shuffle. Weights are random; they do not change the speed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PRESETS = ("light-s", "light", "rvrt", "chain")
ENGINES = ("openvino", "onnxruntime", "torch", "mindspore")
CHAIN_CONVS, CHAIN_WIDTH = 16, 64


def main() -> None:
    """Start the workers, let them take turns, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=["light-s", "light", "chain"], choices=PRESETS)
    parser.add_argument("--engines", nargs="+", default=["openvino", "onnxruntime", "torch"], choices=ENGINES)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "mixed"))
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per row instead of the table"
    )
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker[0], options.worker[1], options)
        return
    pairs = [
        (preset, engine)
        for preset in options.presets
        for engine in options.engines
        if (preset, engine) != ("chain", "mindspore")
    ]
    workers = {pair: start(pair, options) for pair in pairs}
    rows: dict[tuple[str, str], list[dict[str, float]]] = {pair: [] for pair in pairs}
    for _ in range(options.rounds):
        for pair, worker in workers.items():
            if (row := ask(worker)) is not None:
                rows[pair].append(row)
    for worker in workers.values():
        worker.communicate()  # closes its stdin, which ends it
    report([summary(pair, found, options) for pair, found in rows.items() if found], options.json)
    for pair in (pair for pair, found in rows.items() if not found):
        sys.stderr.write(f"{pair[0]} on {pair[1]} did not run\n")


def start(pair: tuple[str, str], options: argparse.Namespace) -> subprocess.Popen[str]:
    """A worker that runs one window for each line it is sent."""
    command = [
        sys.executable, __file__, "--worker", *pair, "--frames", str(options.frames), "--size", str(options.size),
        "--threads", str(options.threads), "--precision", options.precision,
    ]  # fmt: skip
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ask(worker)  # compiles and warms up before the next worker starts
    return worker


def ask(worker: subprocess.Popen[str]) -> dict[str, float] | None:
    """One window's figures, or None when the worker has ended."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write("run\n")
        worker.stdin.flush()
    except BrokenPipeError:
        return None
    while line := worker.stdout.readline():
        if line.startswith("{"):
            return json.loads(line)
    return None


def work(preset: str, engine: str, options: argparse.Namespace) -> None:
    """Run one window per line of stdin and print its figures as JSON."""
    from rvrt_cli.upscale.memory import peak_rss_mib

    before = peak_rss_mib()
    lq = np.random.default_rng(0).random((options.frames, options.size, options.size, 3), dtype=np.float32)
    infer = chain(engine, options) if preset == "chain" else network(preset, engine, options)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        infer(lq)
        row = {
            "wall_s": time.perf_counter() - wall, "cpu_s": (time.process_time() - cpu) / options.threads,
            "peak_mib": peak_rss_mib(), "before_mib": before,
        }  # fmt: skip
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


def network(preset: str, engine: str, options: argparse.Namespace) -> Callable[[np.ndarray], np.ndarray]:
    """A preset with random weights on one engine."""
    from rvrt_cli.device import choose
    from rvrt_cli.model.config import PRESETS as CONFIGS
    from rvrt_cli.model.initialise import initial_tensors
    from rvrt_cli.model.shapes import parameter_shapes
    from rvrt_cli.runtime.restorer import ModelRestorer
    from rvrt_cli.weights import Weights

    config = CONFIGS[preset]
    weights = Weights(config, initial_tensors(parameter_shapes(config), config, 0))
    return ModelRestorer(
        weights, choose("cpu", engine, options.precision), name=preset, threads=options.threads
    )


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
    from rvrt_cli.runtime.sessions import OnnxRuntimeSession, OpenVinoSession

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
    data = graph.SerializeToString()
    if engine == "openvino":
        session = OpenVinoSession(lambda: data, ("chain", *shape, data), threads=options.threads)
        return lambda lq: session.run(lq[None])
    other = OnnxRuntimeSession(data, "cpu", threads=options.threads)
    return lambda lq: other.run(lq[None])


def summary(
    pair: tuple[str, str], found: list[dict[str, float]], options: argparse.Namespace
) -> dict[str, object]:
    """One row of the table."""
    wall, cpu = (min(row[key] for row in found) for key in ("wall_s", "cpu_s"))
    return {
        "preset": pair[0], "engine": pair[1], "window_s": wall, "cpu_s": cpu, "fps": options.frames / wall,
        "peak_mib": max(row["peak_mib"] for row in found) - found[0]["before_mib"],
    }  # fmt: skip


def report(rows: list[dict[str, object]], as_json: bool) -> None:
    """The table with each engine's time over the fastest one's of the same preset."""
    if as_json:
        for row in rows:
            sys.stdout.write(json.dumps(row) + "\n")
        return
    sys.stdout.write(
        f"{'preset':9}{'engine':13}{'s/window':>10}{'ratio':>7}{'cpu s':>9}{'ratio':>7}{'fps':>8}{'peak MiB':>10}\n"
    )
    for row in rows:
        same = [other for other in rows if other["preset"] == row["preset"]]
        ratios = [row[key] / min(other[key] for other in same) for key in ("window_s", "cpu_s")]  # type: ignore[operator,type-var]
        sys.stdout.write(
            f"{row['preset']:9}{row['engine']:13}{row['window_s']:10.3f}{ratios[0]:7.2f}{row['cpu_s']:9.3f}{ratios[1]:7.2f}"
            f"{row['fps']:8.2f}{row['peak_mib']:10.0f}\n"
        )


if __name__ == "__main__":
    main()
