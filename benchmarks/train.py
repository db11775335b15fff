"""Seconds per training step of both backends: the whole of ``rvrt train`` beside the bare model step.

Run: ``python benchmarks/train.py --data FOLDER``. Prints a row for the data and one for a 720p video, which costs most to
read, as a Markdown table or, with ``--json``, as one JSON object each. "Bare" is forward, loss and backward of the network on one batch that is already there;
"rvrt train" adds decoding, synthetic motion, degradation (in worker processes), clipping, Adam, the moving average and
the log. Each of the two is measured in its own process; the first steps (compilation, caches) are left out. ``..._s`` are
seconds of the clock; ``..._cpu_s`` what the training process itself computed, which stays comparable on a machine that is
busy with something else, and ``cpu_ratio`` what ``rvrt train`` computes over the bare step. Memory is the largest of the
device, or of the training process on CPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rows import Row, print_rows


def bare_step(backend: str, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of forward, loss and backward, by the clock and of the processor; peak memory."""
    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.train.create_engine import create_engine
    from rvrt_cli.train.engine import RankInfo
    from rvrt_cli.train.recipe import Recipe, Stage

    config = PRESETS[options.model]
    recipe = Recipe(stages=(Stage(1, options.batch, options.frames, options.patch),), ema=0.0)
    engine: Any = create_engine(backend, config, recipe, None, options.device, options.threads, RankInfo())
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
    return {"step_s": float(clock), "cpu_s": float(cpu), "memory_mib": engine.peak_memory_mib()}


def whole_run(backend: str, options: argparse.Namespace) -> dict[str, float]:
    """Medians over the rows of a real run's log: seconds, samples per second, data wait, peak memory."""
    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.train.batches import default_workers, parse_source
    from rvrt_cli.train.events import Stepped
    from rvrt_cli.train.loop import run_training
    from rvrt_cli.train.recipe import Recipe, Stage
    from rvrt_cli.train.settings import RunSettings

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
            device=options.device, threads=options.threads, workers=options.workers or default_workers(1), log_interval=1,
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


def make_video(path: Path, seconds: int = 10) -> None:
    """A 720p H.264 film whose picture moves by a few pixels a frame."""
    import av
    import cv2

    coarse = np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (1600, 720), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for index in range(24 * seconds):
            left = index % 320
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:, left : left + 1280]), "rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def measure(part: str, backend: str, data: list[str]) -> dict[str, float]:
    """Run one part in a process of its own. Raises RuntimeError where it fails; its own error is on stderr."""
    sources = [argument for source in data for argument in ("--on", source)]
    command = [sys.executable, __file__, *sys.argv[1:], "--backend", backend, "--part", part, *sources]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{part} failed with exit code {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure_all(options: argparse.Namespace) -> Iterator[Row]:
    """A row for each backend and kind of data; one with ``error`` where a part fails."""
    size = f"{options.batch} x {options.frames} x {options.patch}²"
    with tempfile.TemporaryDirectory() as folder:
        data = {"as given": options.data}
        if not options.no_video:
            make_video(Path(folder) / "film.mp4")
            data["720p video"] = [str(Path(folder) / "film.mp4")]
        for backend in options.backend or ("torch", "mindspore"):
            for name, sources in data.items():
                row = {"backend": backend, "model": options.model, "clips": size, "data": name}
                try:
                    if name == "as given":
                        bare = measure("bare", backend, sources)
                    yield row | compare(bare, measure("whole", backend, sources))
                except RuntimeError as error:
                    yield row | {"error": str(error)}
                    break  # the backend does not work; the other one may


def compare(bare: dict[str, float], whole: dict[str, float]) -> Row:
    """The figures of one row."""
    return {
        "bare_s": bare["step_s"],
        "train_s": whole["step_s"],
        "ratio": whole["step_s"] / bare["step_s"],
        "bare_cpu_s": bare["cpu_s"],
        "train_cpu_s": whole["cpu_s"],
        "cpu_ratio": whole["cpu_s"] / bare["cpu_s"],
        "samples_per_s": whole["samples_per_s"],
        "data_wait": whole["data_wait"],
        "bare_mib": bare["memory_mib"],
        "train_mib": whole["memory_mib"],
    }


def main() -> int:
    """Measure and print; → 1 where a backend failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", required=True, metavar="[KIND=]DIR[:WEIGHT]")
    parser.add_argument("--model", default="light-s")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--patch", type=int, default=128, help="GT pixels")
    parser.add_argument("--device", default="auto", help="as rvrt train --device")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--workers", type=int, default=0, help="data processes; 0 for the default of rvrt train"
    )
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--skip", type=int, default=5, help="first steps that are not counted")
    parser.add_argument(
        "--backend", action="append", choices=("torch", "mindspore"), help="may be repeated; default: both"
    )
    parser.add_argument("--no-video", action="store_true", help="leave the row of the video out")
    parser.add_argument("--json", action="store_true", help="print one JSON object per row, not a table")
    parser.add_argument("--part", choices=("bare", "whole"), help=argparse.SUPPRESS)
    parser.add_argument("--on", action="append", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        options.data = options.on or options.data
        backend = options.backend[-1]
        result = bare_step(backend, options) if options.part == "bare" else whole_run(backend, options)
        print(json.dumps(result))
        return 0
    return print_rows(measure_all(options), options.json)


if __name__ == "__main__":
    sys.exit(main())
