"""VMAF through one pipe is the VMAF that ffmpeg's own filter gives for the files."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest

from rvrt_cli.errors import DeviceError, InputError, OutputError
from rvrt_cli.evaluate import vmaf
from rvrt_cli.evaluate.vmaf import VmafMeter
from rvrt_cli.media import ffmpeg_executable


def pictures(height: int, width: int, frames: int = 3) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Grey ground truth (so that luma is the same by every matrix but for its range) and a noisy copy."""
    y, x = np.mgrid[:height, :width]
    gt, sr = [], []
    for index in range(frames):
        wave = 127 + 80 * np.sin((x + 3 * index) / 7) * np.cos(y / 9)
        noise = np.random.default_rng(index).normal(0, 12, wave.shape)
        for found, values in ((gt, wave), (sr, wave + noise)):
            found.append(np.repeat(values.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))
    return sr, gt


def write_luma(path: Path, frames: list[np.ndarray]) -> None:
    """A lossless film whose Y plane holds the studio-range luma of grey pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        for picture in frames:
            luma = np.rint(16 + picture[..., 0] * (219 / 255)).astype(np.uint8)
            planes = np.stack([luma, np.full_like(luma, 128), np.full_like(luma, 128)])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        container.mux(stream.encode())


def files_figures(sr: Path, gt: Path, model: str) -> list[float]:
    """What ffmpeg's filter says of two files."""
    log = sr.with_suffix(".json")
    graph = f"[0:v][1:v]libvmaf=log_fmt=json:log_path={log.name}:model='version={model}'"
    subprocess.run(
        [ffmpeg_executable(), "-v", "error", "-nostdin", "-i", str(sr), "-i", str(gt), "-lavfi", graph, "-f", "null", "-"],
        check=True, cwd=log.parent,
    )  # fmt: skip
    return [frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]]


@pytest.mark.parametrize("size", [(64, 96), (49, 71)], ids=["even", "odd"])
def test_the_figures_of_the_files(size: tuple[int, int], tmp_path: Path) -> None:
    sr, gt = pictures(*size)
    write_luma(tmp_path / "sr.mkv", sr)
    write_luma(tmp_path / "gt.mkv", gt)
    with VmafMeter(*size, ("vmaf", "vmaf-neg")) as meter:
        for restored, true in zip(sr, gt, strict=True):
            meter.add(restored, true)
        figures = meter.finish()
    for name, model in (("vmaf", "vmaf_v0.6.1"), ("vmaf-neg", "vmaf_v0.6.1neg")):
        expected = files_figures(tmp_path / "sr.mkv", tmp_path / "gt.mkv", model)
        assert figures[name] == pytest.approx(expected, abs=1e-4)
    swapped = files_figures(tmp_path / "gt.mkv", tmp_path / "sr.mkv", "vmaf_v0.6.1")
    assert figures["vmaf"] != pytest.approx(swapped, abs=0.1)  # which one is the truth matters


def test_the_ground_truths_own_luma() -> None:
    """Coloured pictures: luma by the matrix of the ground truth's file gives other figures than BT.601's."""
    sr, gt = pictures(64, 64)
    for picture in sr:
        picture[..., 0] = 255 - picture[..., 0]
    found = []
    for matrix in (6, 1, 0):
        with VmafMeter(64, 64, ("vmaf",), matrix) as meter:
            for restored, true in zip(sr, gt, strict=True):
                meter.add(restored, true)
            found.append(meter.finish()["vmaf"])
    assert found[0] != found[1]
    assert found[0] == found[2]  # RGB has no matrix


def test_small_pictures_are_refused_before_libvmaf_crashes() -> None:
    with pytest.raises(InputError, match=r"at least 32 pixels.*64x31.*--metrics psnr,ssim"):
        VmafMeter(31, 64, ("vmaf",))
    sr, gt = pictures(32, 32)
    with VmafMeter(32, 32, ("vmaf",)) as meter:
        meter.add(sr[0], gt[0])
        assert len(meter.finish()["vmaf"]) == 1


def test_an_ffmpeg_without_libvmaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho ' .. scale V->V '\n")
    program.chmod(0o755)
    monkeypatch.setattr(vmaf, "ffmpeg_executable", lambda: str(program))
    vmaf.check_libvmaf.cache_clear()
    with pytest.raises(DeviceError, match="has no libvmaf; use the ffmpeg of imageio-ffmpeg"):
        vmaf.check_libvmaf()


def test_an_ffmpeg_that_dies_is_told_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sr, gt = pictures(64, 64)
    with VmafMeter(64, 64, ("vmaf",)) as meter:
        meter._process.kill()
        meter._process.wait()
        with pytest.raises(OutputError, match=r"SIGKILL.*while measuring VMAF"):
            meter.add(sr[0], gt[0])
    assert list(tmp_path.iterdir()) == []


def test_a_meter_that_is_left_early_ends_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with VmafMeter(64, 64, ("vmaf",)) as meter:
        sr, gt = pictures(64, 64, 1)
        meter.add(sr[0], gt[0])
    assert meter._process.returncode is not None
    assert list(tmp_path.iterdir()) == []
