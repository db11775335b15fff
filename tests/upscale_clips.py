"""Small clips made by ffmpeg for the tests of ``rvrt upscale``, and the command itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def run_ffmpeg(*arguments: str | Path) -> None:
    """Run the ffmpeg that imageio-ffmpeg ships."""
    import imageio_ffmpeg

    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-hide_banner",
        "-nostdin",
        "-loglevel",
        "error",
        "-y",
        *map(str, arguments),
    ]
    subprocess.run(command, check=True)


def make_clip(
    path: Path,
    frames: int = 24,
    size: str = "48x32",
    *,
    picture: str = "testsrc2",
    audio: bool = False,
    extra: tuple[str, ...] = (),
) -> Path:
    """A clip of ``frames`` frames at 24 fps; ``picture`` is a lavfi source."""
    inputs: list[str] = ["-f", "lavfi", "-i", f"{picture}=size={size}:rate=24"]
    if audio:
        inputs += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={frames / 24}"]
    run_ffmpeg(*inputs, "-frames:v", str(frames), "-pix_fmt", "yuv420p", *extra, path)
    return path


def make_shots(path: Path, frames: int, size: str = "48x32") -> Path:
    """A clip of four shots (colour bars, a fractal, two test pictures), ``frames`` in all."""
    part = frames / 4 / 24
    sources = [
        f"{name}=size={size}:rate=24,trim=duration={part},setsar=1"
        for name in ("smptebars", "mandelbrot", "testsrc2", "rgbtestsrc")
    ]
    graph = (
        ";".join(f"{source}[p{i}]" for i, source in enumerate(sources))
        + ";"
        + "".join(f"[p{i}]" for i in range(4))
        + "concat=n=4[v]"
    )
    run_ffmpeg("-filter_complex", graph, "-map", "[v]", "-pix_fmt", "yuv420p", path)
    return path


def command(*arguments: str | Path) -> list[str]:
    """The command line of ``rvrt upscale``."""
    return [sys.executable, "-m", "rvrt_cli", "upscale", *map(str, arguments)]


def upscale(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run ``rvrt upscale`` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    if stdin is None:
        return subprocess.run(
            command(*arguments), capture_output=True, env=environment, stdin=subprocess.DEVNULL
        )
    return subprocess.run(command(*arguments), capture_output=True, env=environment, input=stdin)
