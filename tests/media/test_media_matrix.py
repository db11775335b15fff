"""Every codec in every container it is offered for, with square and other pixels: verified, and the shape kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_helpers import Passed

from rvrt_cli.errors import UsageError
from rvrt_cli.media import EncodeOptions, probe, read_frames, resolve_encoding, run_ffmpeg
from rvrt_cli.media.codecs import CODECS
from rvrt_cli.media.containers import MUXERS

PAIRS = [(codec, container) for codec in CODECS for container in MUXERS]
FAST = {"libx264": "ultrafast", "libx264rgb": "ultrafast", "libx265": "ultrafast", "libsvtav1": "13"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of a size that is no multiple of 16, with sound."""
    path = tmp_path_factory.mktemp("matrix") / "film.mp4"
    arguments = ["-f", "lavfi", "-i", "testsrc2=size=46x36:rate=25:duration=0.12", "-f", "lavfi", "-i", "sine=duration=0.12"]  # fmt: skip
    run_ffmpeg(["-v", "error", *arguments, "-c:v", "libx264", "-qp", "0", str(path)], doing="making a film")
    return path


@pytest.mark.parametrize(
    "sar",
    [Fraction(64, 45), *(pytest.param(f, marks=pytest.mark.slow) for f in (Fraction(1), Fraction(8, 9)))],
    ids=str,
)
@pytest.mark.parametrize(("codec", "container"), PAIRS)
def test_every_codec_in_every_container(
    codec: str, container: str, sar: Fraction, film: Path, run_through: Callable[..., Passed]
) -> None:
    source = probe(film)
    source = replace(source, video=replace(source.video, sar=sar))
    options = EncodeOptions(codec=codec, preset=FAST.get(codec))
    if container not in CODECS[codec].containers:
        with pytest.raises(UsageError, match=rf"does not go into \.{container}"):
            resolve_encoding(source, options, f"o.{container}", 184, 144)
        return
    done = run_through(film, f"o.{container}", options=options, source=source)
    result = probe(done.output).video
    # WebM rounds the width as shown to whole pixels.
    tolerance = {"webm": 0.5 / (184 * sar), "mkv": 1e-4}.get(container, 0)
    assert float(result.sar) == pytest.approx(float(sar), rel=float(tolerance))


ALPHA_GRAPH = "testsrc2=size=32x24:rate=10,format=rgba64,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='X*2000'"
ALPHA_SOURCES = {
    "rgba.png": ["-pix_fmt", "rgba"],
    "rgba64.png": ["-pix_fmt", "rgba64be"],
    "gray.png": ["-pix_fmt", "ya8"],
    "animation.mov": ["-c:v", "qtrle", "-pix_fmt", "argb"],
    "palette.gif": [],
    "prores.mov": ["-c:v", "prores_ks", "-pix_fmt", "yuva444p10le"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"],
    "yuva422.mkv": ["-c:v", "ffv1", "-pix_fmt", "yuva422p"],
}


ALPHA_BY_DEFAULT = {
    (name, to) for name in ("rgba.png", "palette.gif", "prores.mov") for to in ("mkv", "webm")
}
ALPHA_BY_DEFAULT |= {("rgba64.png", "mp4"), ("rgba64.png", "mov")}


@pytest.mark.parametrize(
    ("name", "container"),
    [
        pytest.param(name, to, marks=() if (name, to) in ALPHA_BY_DEFAULT else pytest.mark.slow)
        for name in ALPHA_SOURCES
        for to in MUXERS
    ],
)
def test_transparency_of_every_kind(
    name: str, container: str, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    """Kept by default where the container can hold it, named as lost where it cannot."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / (f"%d.{name.split('.')[1]}" if name.endswith("png") else name)
    arguments = ["-v", "error", "-f", "lavfi", "-i", ALPHA_GRAPH, "-frames:v", "2", *ALPHA_SOURCES[name]]
    run_ffmpeg([*arguments, str(path)], doing="making transparent pictures")
    done = run_through(path, f"o.{container}", factor=2)
    assert done.source.video.has_alpha
    assert done.settings.has_alpha == (container != "mp4")
    assert any("transparency" in note for note in done.settings.notes) == (container == "mp4")
    with read_frames(done.source) as before, read_frames(probe(done.output)) as after:
        for one, other in zip(before, after, strict=True):
            if container == "mp4":
                assert other.alpha is None
                continue
            assert one.alpha is not None
            assert other.alpha is not None
            error = np.abs(other.alpha[::2, ::2] - one.alpha).mean()
            assert error < 0.02
