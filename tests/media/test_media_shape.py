"""``rvrt upscale`` with --height and --width: the film keeps the shape in which it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvrt_cli.media import probe, run_ffmpeg
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.run import upscale


@pytest.mark.parametrize("output", ["o.mp4", "o.mkv"])
@pytest.mark.parametrize(("rotation", "compare"), [(0, None), (90, None), (0, "side")])
def test_the_film_is_shown_in_its_shape(
    output: str, rotation: int, compare: str | None, tmp_path: Path
) -> None:
    """PAL widescreen into 16:9 and into a square."""
    graph = "testsrc2=size=72x56:rate=25:duration=0.2,setsar=64/45"
    run_ffmpeg(["-v", "error", "-f", "lavfi", "-i", graph, "-c:v", "libx264", str(tmp_path / "a.mp4")], doing="making")  # fmt: skip
    turned = ["-v", "error", "-display_rotation", str(rotation), "-i", str(tmp_path / "a.mp4"), "-c", "copy"]
    run_ffmpeg([*turned, str(tmp_path / "b.mp4")], doing="turning")
    for width, height in ((192, 108), (100, 100)):
        options = UpscaleOptions(model="bicubic", width=width, height=height, compare=compare, overwrite=True)
        upscale(tmp_path / "b.mp4", tmp_path / output, options)
        video = probe(tmp_path / output).video
        shown = float(video.sar * video.width / video.height) / (2 if compare else 1)
        if video.rotation % 180 == 0 and rotation:
            shown = 1 / shown  # turned upright
        assert shown == pytest.approx(72 * 64 / (56 * 45), rel=2e-3)
