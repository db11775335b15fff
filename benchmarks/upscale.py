"""What the pipeline costs beside the model, and what windows and tiles cost in quality.

    python benchmarks/upscale.py [--model NAME] [--weights PATH] [--frames N] [--clip FILE] [--out result.json]

Speed: ``rvrt upscale`` from file to file for a 160x90 and a 480x270 source (end-to-end frames per second, share of the
time per stage, peak memory), beside (a) ffmpeg's bicubic and lanczos with the same encoder settings and (b) the model
alone on the same windows. Seams: PSNR between the windowed (tiled) result and that of the whole clip in one call, of the
frames (pixels) at the boundaries. Numbers go to stdout; ``--out`` keeps them as JSON.
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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli.media import EncodeOptions, Frame, ffmpeg_executable, probe, read_frames, resolve_encoding
from rvrt_cli.restorer import Restorer, load_restorer
from rvrt_cli.upscale.events import ignore_event
from rvrt_cli.upscale.finish import Finish
from rvrt_cli.upscale.options import DEFAULT_OVERLAP, DEFAULT_TILE_OVERLAP_PX, DEFAULT_WINDOW, UpscaleOptions
from rvrt_cli.upscale.pipeline import PipelineSettings, run_pipeline
from rvrt_cli.upscale.plan import plan_work
from rvrt_cli.upscale.sinks import CallbackSink
from rvrt_cli.upscale.tiles import TilePlan, plan_spans, restore_tiled
from rvrt_cli.upscale.windows import Windower

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE = REPOSITORY / "examples" / "bunny.mp4"
SIZES = ((160, 90), (480, 270))


def make_source(clip: Path, folder: Path, width: int, height: int, frames: int) -> Path:
    """``frames`` frames of ``clip`` at (width, height), without loss."""
    path = folder / f"{width}x{height}.mp4"
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


def children_cpu_s() -> float:
    """CPU seconds of finished child processes: unlike the wall clock, they hardly change when other programs run."""
    times = os.times()
    return times.children_user + times.children_system


def time_pipeline(path: Path, folder: Path, model: list[str]) -> dict[str, Any]:
    """The report of ``rvrt upscale``, run twice: the first run compiles the model."""
    output = folder / "out.mp4"
    report: dict[str, Any] = {}
    for _ in range(2):
        command = [
            sys.executable,
            "-m",
            "rvrt_cli",
            "upscale",
            str(path),
            str(output),
            *model,
            "--json",
            "--overwrite",
            "--no-resume",
        ]
        started, cpu = time.perf_counter(), children_cpu_s()
        done = subprocess.run(
            command, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
        )
        report = json.loads(done.stdout.splitlines()[-1])
        report["wall_s"], report["cpu_s"] = time.perf_counter() - started, children_cpu_s() - cpu
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


def time_model(restorer: Restorer, clip: np.ndarray, window: int, tile: TilePlan) -> tuple[float, float]:
    """(frames per second, CPU seconds) of the model alone on the windows that a run without cuts has; the first call is not counted."""
    windower: Windower[np.ndarray] = Windower(((frame, False) for frame in clip), window, DEFAULT_OVERLAP)
    work = []
    while (item := windower.next()) is not None:
        work.append(np.stack(item[1]))
    for frames in {len(lq): lq for lq in work}.values():
        restore_tiled(restorer, frames, restorer.scale, tile)
    started, cpu = time.perf_counter(), time.process_time()
    for lq in work:
        restore_tiled(restorer, lq, restorer.scale, tile)
    return len(clip) / (time.perf_counter() - started), time.process_time() - cpu


def run_windows(restorer: Restorer, clip: np.ndarray, window: int) -> np.ndarray:
    """The pipeline's result in memory, without cut detection."""
    height, width = (restorer.scale * size for size in clip.shape[1:3])
    out: list[np.ndarray] = []

    @contextmanager
    def decode(skip: int) -> Iterator[Iterator[Frame]]:
        yield (Frame(i, i, 1, frame) for i, frame in enumerate(clip) if i >= skip)

    class Open:
        """The restorer, which the pipeline closes at its end but the benchmark still needs."""

        scale, channels, name, engine, fingerprint = (
            restorer.scale,
            restorer.channels,
            restorer.name,
            restorer.engine,
            restorer.fingerprint,
        )

        def __call__(self, lq: np.ndarray) -> np.ndarray:
            return restorer(lq)

        def close(self) -> None:
            """Kept open."""

    settings = PipelineSettings(
        decode,
        [Open],
        Finish(height, width),
        window,
        DEFAULT_OVERLAP,
        TilePlan(None),
        segment_frames=len(clip),
        detect_shots=False,
    )
    run_pipeline(settings, CallbackSink(lambda _frame, picture, _alpha: out.append(picture)), ignore_event)
    return np.stack(out)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB of two arrays in [0, 1]."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def measure_seams(restorer: Restorer, clip: np.ndarray, tile: int) -> dict[str, Any]:
    """PSNR at window and tile boundaries against the whole clip in one call."""
    whole = np.clip(restorer(clip), 0, 1)
    windowed = run_windows(restorer, clip, DEFAULT_WINDOW)
    step, context = DEFAULT_WINDOW - DEFAULT_OVERLAP, DEFAULT_OVERLAP // 2
    boundaries = [
        edge for edge in range(DEFAULT_WINDOW - context, len(clip), step) if edge + context < len(clip)
    ]
    at_windows = [psnr(whole[edge - 1 : edge + 1], windowed[edge - 1 : edge + 1]) for edge in boundaries]
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
    return {
        "window": DEFAULT_WINDOW,
        "overlap": DEFAULT_OVERLAP,
        "window_boundaries_db": at_windows,
        "windowed_whole_film_db": psnr(whole, windowed),
        "tile_px": tile,
        "tile_overlap_px": DEFAULT_TILE_OVERLAP_PX,
        "tile_boundaries_db": at_tiles,
        "tiled_whole_picture_db": psnr(one, tiled),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="light-s")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--clip", type=Path, default=EXAMPLE)
    parser.add_argument("--frames", type=int, default=64, help="frames of the speed measurement")
    parser.add_argument(
        "--seam-frames", type=int, default=40, help="frames of the seam measurement; 0 leaves it out"
    )
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--sizes", default=",".join(f"{w}x{h}" for w, h in SIZES))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    model = [
        "--model",
        arguments.model,
        *(["--weights", str(arguments.weights)] if arguments.weights else []),
    ]
    restorer = load_restorer(arguments.model, arguments.weights)
    result: dict[str, Any] = {
        "model": restorer.name,
        "engine": restorer.engine,
        "cpus": os.cpu_count(),
        "speed": [],
        "seams": None,
    }
    write = sys.stdout.write
    write(f"{restorer.name}, {restorer.engine}, {os.cpu_count()} CPUs\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in filter(None, arguments.sizes.split(",")):
            width, height = map(int, size.split("x"))
            path = make_source(arguments.clip, folder, width, height, arguments.frames)
            report = time_pipeline(path, folder, model)
            clip = read_all(path)
            work = plan_work(UpscaleOptions(), restorer, height, width)
            alone, alone_cpu_s = time_model(restorer, clip, work.window, work.tile)
            row = {
                "source": size,
                "frames": len(clip),
                "fps": report["fps"],
                "model_alone_fps": alone,
                "overhead": alone / report["fps"] - 1,
                "cpu_s": report["cpu_s"],
                "model_alone_cpu_s": alone_cpu_s,
                "stages": report["stages"],
                "model_busy": report["model_busy"],
                "peak_rss_mib": report["peak_rss_mib"],
                "shots": report["shots"],
                "ffmpeg_bicubic_fps": time_ffmpeg(path, folder, "bicubic"),
                "ffmpeg_lanczos_fps": time_ffmpeg(path, folder, "lanczos"),
            }
            result["speed"].append(row)
            shares = ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in row["stages"].items())
            write(
                f"{size}: {row['fps']:.3f} fps end to end, model alone {alone:.3f} fps ({100 * row['overhead']:+.1f} % overhead), {shares}, "
                f"CPU {row['cpu_s']:.1f} s with start-up, model alone {alone_cpu_s:.1f} s, "
                f"model busy {100 * row['model_busy']:.1f} %, peak {row['peak_rss_mib']:.0f} MiB; "
                f"ffmpeg bicubic {row['ffmpeg_bicubic_fps']:.0f} fps, lanczos {row['ffmpeg_lanczos_fps']:.0f} fps\n"
            )
            sys.stdout.flush()
        if arguments.seam_frames:
            path = make_source(arguments.clip, folder, *SIZES[0], arguments.seam_frames)
            result["seams"] = seams = measure_seams(restorer, read_all(path), arguments.tile)
            write(
                f"seams: windows of {seams['window']} ({seams['overlap']} shared) {min(seams['window_boundaries_db']):.1f} dB at the worst boundary, "
                f"tiles of {seams['tile_px']} px ({seams['tile_overlap_px']} shared) {min(seams['tile_boundaries_db']):.1f} dB at the worst seam\n"
            )
    restorer.close()
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
