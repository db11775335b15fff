"""Seconds per training step of both backends: the whole of ``rvrt train`` beside the bare model step.

Run: ``python benchmarks/train.py --data FOLDER``. Prints one Markdown table. "Bare" is forward, loss and backward of
the network on one batch that is already there; "rvrt train" adds decoding, synthetic motion, degradation (in a worker
process), clipping, Adam, the moving average and the log. Each row is measured in its own process; the first steps
(compilation, caches) are left out. Seconds are the clock's; "CPU" is what the training process itself computed, which
stays comparable on a machine that is busy with something else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def bare_step(backend: str, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of forward, loss and backward, by the clock and of the processor."""
    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.train.engine import Place, create_engine
    from rvrt_cli.train.recipe import Recipe, Stage

    config = PRESETS[options.model]
    recipe = Recipe(stages=(Stage(1, options.batch, options.frames, options.patch),), ema=0.0)
    engine: Any = create_engine(backend, config, recipe, None, "cpu", options.threads, Place())
    rng = np.random.default_rng(0)
    lq_px = options.patch // config.upscale
    lq = rng.integers(0, 256, (options.batch, options.frames, lq_px, lq_px, 3), dtype=np.uint8)
    gt = lq.repeat(config.upscale, 2).repeat(config.upscale, 3)

    if backend == "torch":

        def step() -> None:
            for parameter in engine._parameters.values():
                parameter.grad = None
            engine._backward(lq, gt, 1.0)

    else:
        import mindspore as ms

        graph = engine._make_gradients(False)
        pictures = [ms.Tensor(x.astype(np.float32) / 255) for x in (lq, gt)]

        def step() -> None:
            graph(*pictures, ms.Tensor(1.0, ms.float32))[0].asnumpy()

    times = []
    for _ in range(options.steps):
        began = time.perf_counter(), time.process_time()
        step()
        times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    clock, cpu = np.median(times[options.skip :], axis=0)
    return {"step_s": float(clock), "cpu_s": float(cpu)}


def whole_run(backend: str, options: argparse.Namespace) -> dict[str, float]:
    """Medians over the rows of a real run's log: seconds, samples per second, data wait, peak memory."""
    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.train.batches import parse_source
    from rvrt_cli.train.loop import RunSettings, Stepped, run_training
    from rvrt_cli.train.recipe import Recipe, Stage

    rows = []
    cpu = []

    def report(event: object) -> None:
        if isinstance(event, Stepped) and event.row is not None:
            rows.append(event.row)
            cpu.append(time.process_time())

    recipe = Recipe(
        stages=(Stage(options.steps, options.batch, options.frames, options.patch),),
        lr=1e-3,
        warmup=10,
        clip_grad=1.0,
    )
    with tempfile.TemporaryDirectory() as out:
        settings = RunSettings(
            Path(out), options.model, tuple(parse_source(text) for text in options.data), backend=backend,
            device="cpu", threads=options.threads, workers=1, log_interval=1,
        )  # fmt: skip
        run_training(settings, PRESETS[options.model], recipe, None, report)
    rows = rows[options.skip :]
    total = sum(row.step_s for row in rows)
    return {
        "step_s": float(np.median([row.step_s for row in rows])),
        "cpu_s": float(np.median(np.diff(cpu)[options.skip :])),
        "samples_per_s": options.batch * len(rows) / total,
        "data_wait": sum(row.data_wait * row.step_s for row in rows) / total,
        "memory_mib": rows[-1].memory_mib,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", required=True, metavar="DIR[:WEIGHT]")
    parser.add_argument("--model", default="light-s")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--patch", type=int, default=128, help="GT pixels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--skip", type=int, default=5, help="first steps that are not counted")
    parser.add_argument(
        "--backend", action="append", choices=("torch", "mindspore"), help="may be repeated; default: both"
    )
    parser.add_argument("--part", choices=("bare", "whole"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        backend = options.backend[-1]
        result = bare_step(backend, options) if options.part == "bare" else whole_run(backend, options)
        print(json.dumps(result))
        return
    lines = [
        f"{options.model}, batch {options.batch}, {options.frames} frames of {options.patch}×{options.patch}, {options.threads} thread(s)",
        "",
        "| backend | bare step | `rvrt train` | bare, CPU | `rvrt train`, CPU | over bare, CPU | samples/s | data wait | peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for backend in options.backend or ("torch", "mindspore"):
        results = {}
        for part in ("bare", "whole"):
            command = [sys.executable, __file__, *sys.argv[1:], "--backend", backend, "--part", part]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results[part] = json.loads(done.stdout.strip().splitlines()[-1])
        bare, whole = results["bare"], results["whole"]
        lines.append(
            f"| {backend} | {bare['step_s']:.3f} s | {whole['step_s']:.3f} s | {bare['cpu_s']:.3f} s | {whole['cpu_s']:.3f} s "
            f"| {whole['cpu_s'] / bare['cpu_s'] - 1:+.0%} | {whole['samples_per_s']:.2f} | {whole['data_wait']:.1%} | {whole['memory_mib']:.0f} MiB |"
        )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
