"""What the pipeline costs beside the model, what it takes to start, what it keeps in memory, and whether seams show.

    python benchmarks/upscale.py [--model NAME] [--weights PATH] [--frames N] [--sizes WxH,...] [--clip FILE] [--json]

Each row is one quantity with its target, if it has one. Overhead: seconds per window of ``rvrt upscale`` from file to file
against the model alone on windows of the same shape; both are taken without what happens once (start, compilation,
assembling the file), for the run by the difference between a long and a short one. Beside it the share of time in which
the model was busy, peak memory against the plan, and ffmpeg's own scalers with the same encoder settings. Start: seconds to
``rvrt --help``, and to the moment when ``rvrt upscale`` begins to decode. Memory: peak of a long film against a short one.
Seams: PSNR between the result in windows (segments, tiles) and that of the whole clip in one call, at the boundaries.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli.inference.restorer import Restorer, load_restorer
from rvrt_cli.inference.tiles import TilePlan, plan_spans, restore_tiled
from rvrt_cli.media import EncodeOptions, Frame, ffmpeg_executable, probe, read_frames, resolve_encoding
from rvrt_cli.system.memory import MIB
from rvrt_cli.upscale.events import ignore_event
from rvrt_cli.upscale.executors import RenderJob
from rvrt_cli.upscale.executors.local import LocalExecutor
from rvrt_cli.upscale.finish import Finish
from rvrt_cli.upscale.frame_source import frames_in_memory
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.memory import encoder_bytes
from rvrt_cli.upscale.oom_fallback import OomFallback
from rvrt_cli.upscale.options import DEFAULT_OVERLAP, DEFAULT_TILE_OVERLAP_PX, DEFAULT_WINDOW, UpscaleOptions
from rvrt_cli.upscale.plan import plan_work
from rvrt_cli.upscale.planner import PlanSettings
from rvrt_cli.upscale.writers import PictureTaker

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE = REPOSITORY / "examples" / "bunny.mp4"
SIZES = ((160, 90), (480, 270))
SMALL = (64, 48)
"""Size of films whose length or first seconds matter, not their pictures."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


@dataclass(frozen=True)
class Row:
    """One figure. ``least`` and ``most``: the target, both ends included; None where there is none."""

    part: str
    case: str
    quantity: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def target(self) -> str:
        """``>= 0.8, <= 1.3``; empty without a target."""
        bounds = ((">=", self.least), ("<=", self.most))
        return ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)

    @property
    def met(self) -> bool | None:
        """Whether the value is within its target; None without one."""
        if not self.target:
            return None
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "part": self.part, "case": self.case, "quantity": self.quantity, "value": round(self.value, 4),
            "unit": self.unit, "target": self.target, "met": self.met,
        }  # fmt: skip

    def as_line(self) -> str:
        """A line of a Markdown table."""
        met = {None: "", True: "yes", False: "no"}[self.met]
        return f"| {self.part} | {self.case} | {self.quantity} | {self.value:.4g} {self.unit} | {self.target} | {met} |"


def make_source(clip: Path, folder: Path, width: int, height: int, frames: int) -> Path:
    """``frames`` frames of ``clip`` at (width, height), without loss."""
    path = folder / f"{width}x{height}-{frames}.mp4"
    scale = f"scale={width}:{height}:flags=lanczos"
    arguments = [
        "-stream_loop",
        "-1",
        "-i",
        str(clip),
        "-vf",
        scale,
        "-frames:v",
        str(frames),
        "-an",
        "-qp",
        "0",
        "-pix_fmt",
        "yuv420p",
        str(path),
    ]
    subprocess.run([ffmpeg_executable(), "-v", "error", "-y", *arguments], check=True)
    return path


def read_all(path: Path) -> np.ndarray:
    """All frames, (t, h, w, 3) float32 in [0, 1]."""
    with read_frames(probe(path)) as frames:
        return np.stack([np.clip(frame.rgb, 0, 1) for frame in frames])


def run_rvrt(path: Path, output: Path, *options: str) -> dict[str, Any]:
    """The report of ``rvrt upscale``."""
    command = [sys.executable, "-m", "rvrt_cli", "upscale", str(path), str(output), *options]
    done = subprocess.run(
        [*command, "--json", "--overwrite", "--no-resume"], capture_output=True, check=True, env=ENVIRONMENT
    )
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def time_ffmpeg(path: Path, folder: Path, flags: str) -> float:
    """Frames per second of ffmpeg's scaler with the encoder settings that ``rvrt upscale`` would choose."""
    source = probe(path)
    settings = resolve_encoding(
        source, EncodeOptions(), folder / "out.mp4", 4 * source.video.width, 4 * source.video.height
    )
    options = [argument for name, value in settings.encoder_options for argument in (f"-{name}", value)]
    command = [
        ffmpeg_executable(),
        "-v",
        "error",
        "-y",
        "-i",
        str(path),
        "-vf",
        f"scale=iw*4:ih*4:flags={flags}",
        "-c:v",
        settings.encoder,
    ]
    started = time.perf_counter()
    subprocess.run([*command, *options, str(folder / "ffmpeg.mp4")], check=True)
    return (source.video.frame_count_hint or 0) / (time.perf_counter() - started)


def time_model(restorer: Restorer, clip: np.ndarray, window: int, tile: TilePlan, repeats: int) -> float:
    """Seconds of the model alone for one window of the clip, the mean of ``repeats``; the first call is not counted."""
    lq = clip[:window]
    restore_tiled(restorer, lq, restorer.scale, tile)
    started = time.perf_counter()
    for _ in range(repeats):
        restore_tiled(restorer, lq, restorer.scale, tile)
    return (time.perf_counter() - started) / repeats


def run_segments(restorer: Restorer, clip: np.ndarray, length: int) -> np.ndarray:
    """A run's result in memory, in segments of ``length`` frames, without cut detection."""
    height, width = (restorer.scale * size for size in clip.shape[1:3])
    out: list[np.ndarray] = []
    taker = PictureTaker(lambda _frame, picture, _alpha: out.append(picture.copy()))
    job = RenderJob(
        source=frames_in_memory(
            lambda first: (Frame(i, i, 1, clip[i]) for i in range(first, len(clip))), len(clip)
        ),
        settings=PlanSettings(length, Level(DEFAULT_WINDOW), DEFAULT_OVERLAP, detect_shots=False),
        fallback=OomFallback([lambda: restorer], Level(DEFAULT_WINDOW)),
        finish=Finish(height, width),
        open_file=lambda _index: taker,
        finished=lambda *_: None,
    )
    LocalExecutor(job, ignore_event).run()
    return np.stack(out)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB of two arrays in [0, 1], at most 200: JSON has no infinity."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return -10 * float(np.log10(max(error, 1e-20)))


def overhead_rows(restorer: Restorer, size: str, options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Speed and memory of runs on a source of ``size`` ("160x90")."""
    width, height = map(int, size.split("x"))
    model = model_options(options)
    work = plan_work(
        UpscaleOptions(),
        restorer,
        height,
        width,
        encoder_bytes=encoder_bytes("libx264", 8, 16 * height * width),
    )
    step = work.level.window
    windows = max(2, -(-options.frames // step))
    frames = windows * step
    long = make_source(options.clip, folder, width, height, frames)
    short = make_source(options.clip, folder, width, height, work.level.window)
    output = folder / "out.mp4"
    run_rvrt(short, output, *model, "--no-shots")  # compiles the model
    once = run_rvrt(short, output, *model, "--no-shots")["elapsed_s"]
    report = run_rvrt(long, output, *model, "--no-shots")
    per_window = (report["elapsed_s"] - once) / (windows - 1)
    alone = time_model(restorer, read_all(short), work.level.window, work.level.tile, windows - 1)
    # Far below zero means that something else took the cores meanwhile: no figure at all.
    yield Row("overhead", size, "over the model alone", 100 * (per_window / alone - 1), "%", least=-5, most=5)
    yield Row("overhead", size, "model busy", 100 * report["model_busy"], "%", least=95)
    yield Row("speed", size, "rvrt upscale", step / per_window, "frames/s")
    yield Row("speed", size, "the model alone", step / alone, "frames/s")
    for stage, share in report["stages"].items():
        yield Row("speed", size, f"time in {stage}", 100 * share, "%")
    for flags in ("bicubic", "lanczos"):
        yield Row("speed", size, f"ffmpeg {flags}", time_ffmpeg(long, folder, flags), "frames/s")
    peak = report["peak_rss_mib"]
    yield Row("memory", size, "peak", peak, "MiB")
    yield Row("memory", size, "planned / peak", work.peak_bytes / MIB / peak, "", least=0.8, most=1.3)


def start_rows(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Seconds to the first sign of life, the best of three, with a warm cache."""
    path = make_source(options.clip, folder, *SMALL, DEFAULT_WINDOW)
    command = [sys.executable, "-m", "rvrt_cli"]

    def to_help() -> float:
        started = time.perf_counter()
        subprocess.run([*command, "--help"], capture_output=True, check=True, env=ENVIRONMENT)
        return time.perf_counter() - started

    def to_decoding() -> float:
        arguments = ["upscale", str(path), str(folder / "out.mp4"), *model_options(options)]
        started = time.perf_counter()
        with subprocess.Popen(
            [*command, *arguments, "--json", "--overwrite", "--no-resume"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)["event"] == "started":
                    seconds = time.perf_counter() - started
                    process.stdout.read()  # to its end, so that the next start meets no other run
                    return seconds
        raise RuntimeError(f"rvrt upscale ended with {process.returncode} before it began")

    yield Row("start", "", "rvrt --help", min(to_help() for _ in range(3)), "s", most=0.4)
    yield Row("start", "", "rvrt upscale to decoding", min(to_decoding() for _ in range(3)), "s", most=2)


def length_rows(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Peak memory of a long film beside a short one, the larger of two runs of each, for they vary a little.

    With a warm cache: a run before them compiles the programs, the one of the last, shorter shot included, which takes more.
    """
    paths = {frames: make_source(options.clip, folder, *SMALL, frames) for frames in options.memory_frames}
    output = folder / "out.mp4"
    run_rvrt(paths[max(paths)], output, *model_options(options))
    peaks = {}
    for frames, path in paths.items():
        peaks[frames] = max(run_rvrt(path, output, *model_options(options))["peak_rss_mib"] for _ in range(2))
        yield Row("memory", f"{frames} frames", "peak", peaks[frames], "MiB")
    short, long = options.memory_frames
    case = f"{long} frames against {short}"
    yield Row("memory", case, "more", 100 * (peaks[long] / peaks[short] - 1), "%", most=5)


def seam_rows(restorer: Restorer, clip: np.ndarray, tile: int) -> Iterator[Row]:
    """PSNR at window and tile boundaries against the whole clip in one call."""
    whole = np.clip(restorer(clip), 0, 1)
    segment = len(clip) // 4 * 2  # frames
    at_seams = {}
    for name, made, edges in (
        (
            "windows",
            run_segments(restorer, clip, len(clip)),
            range(DEFAULT_WINDOW, len(clip), DEFAULT_WINDOW),
        ),
        ("segments", run_segments(restorer, clip, segment), range(segment, len(clip), segment)),
    ):
        worst = [psnr(whole[edge - 1 : edge + 1], made[edge - 1 : edge + 1]) for edge in edges]
        at_seams[name] = min(worst, default=200.0), psnr(whole, made)
    first = clip[:DEFAULT_WINDOW]
    one = np.clip(restorer(first), 0, 1)
    tiled = np.clip(
        restore_tiled(restorer, first, restorer.scale, TilePlan(tile, DEFAULT_TILE_OVERLAP_PX)), 0, 1
    )
    at_tiles = []
    for axis, length in ((1, clip.shape[1]), (2, clip.shape[2])):
        spans = plan_spans(length, tile, DEFAULT_TILE_OVERLAP_PX)
        for (_, stop), (start, _) in itertools.pairwise(spans):
            seam = [slice(None)] * 4
            seam[axis] = slice(restorer.scale * start, restorer.scale * stop)
            at_tiles.append(psnr(one[tuple(seam)], tiled[tuple(seam)]))
    for name, (worst_db, film_db) in at_seams.items():
        case = f"{name} of {DEFAULT_WINDOW if name == 'windows' else segment}, {DEFAULT_OVERLAP} of context"
        yield Row("seams", case, "worst boundary", worst_db, "dB", least=50)
        yield Row("seams", case, "whole film", film_db, "dB")
    tiles = f"tiles of {tile} px, {DEFAULT_TILE_OVERLAP_PX} shared"
    yield Row("seams", tiles, "worst seam", min(at_tiles), "dB", least=50)
    yield Row("seams", tiles, "whole picture", psnr(one, tiled), "dB")


def model_options(options: argparse.Namespace) -> list[str]:
    """The model on the command line of ``rvrt upscale``."""
    weights = ["--weights", str(options.weights)] if options.weights else []
    return ["--model", options.model, *weights]


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """All rows, the quick ones first."""
    restorer = load_restorer(options.model, options.weights)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from start_rows(options, folder)
        for size in filter(None, options.sizes.split(",")):
            yield from overhead_rows(restorer, size, options, folder)
        if options.seam_frames:
            path = make_source(options.clip, folder, *SIZES[0], options.seam_frames)
            yield from seam_rows(restorer, read_all(path), options.tile)
        restorer.close()
        yield from length_rows(options, folder)


def main() -> None:
    """Print a row as soon as it is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="light-s")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--clip", type=Path, default=EXAMPLE)
    parser.add_argument("--frames", type=int, default=64, help="frames of the overhead measurement")
    parser.add_argument(
        "--seam-frames",
        type=int,
        default=66,
        help="frames of the seam measurement (several windows); 0 leaves it out",
    )
    parser.add_argument(
        "--memory-frames", type=int, nargs=2, default=(200, 2000), help="of the short and the long film"
    )
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--sizes", default=",".join(f"{w}x{h}" for w, h in SIZES))
    parser.add_argument("--json", action="store_true", help="print one JSON object per row, not a table")
    options = parser.parse_args()
    if not options.json:
        print("| part | case | quantity | value | target | met |\n|---|---|---|---|---|---|")
    for row in measure(options):
        print(json.dumps(row.as_dict()) if options.json else row.as_line(), flush=True)


if __name__ == "__main__":
    main()
