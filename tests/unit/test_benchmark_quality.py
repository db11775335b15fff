"""``benchmarks/quality.py``: the compressed low quality of the README's rows, and rows as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rvrt_cli.imaging.images import write_png
from rvrt_cli.weights.find import shipped

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "quality.py"


def test_compressed_clips_are_made_and_judged(tmp_path: Path, own_cache: Path) -> None:
    if "light-s" not in shipped():
        pytest.skip("weights/light-s.safetensors is not in this checkout")
    clip = tmp_path / "data" / "davis" / "clip"
    clip.mkdir(parents=True)
    y, x = np.mgrid[:64, :96]
    for index in range(3):
        picture = np.stack([128 + 100 * np.sin((x + index) / (4 + c)) * np.cos(y / 5) for c in range(3)], -1)
        write_png(clip / f"{index:03d}.png", picture.astype(np.uint8))
    done = subprocess.run(
        [sys.executable, SCRIPT, "--data", tmp_path / "data", "--sets", "davis", "--crf", "40", "--frames", "2", "--json",
         "--keep-lq", tmp_path / "lq"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["clip"], row["model"]) for row in rows] == [
        ("clip", "light-s"), ("clip", "bicubic"), ("mean", "light-s"), ("mean", "bicubic"),
    ]  # fmt: skip
    assert [row["gain_db"] for row in rows[1::2]] == [0, 0]
    assert rows[0]["gain_db"] == rows[0]["psnr"] - rows[1]["psnr"]
    assert {row["low_quality"] for row in rows} == {"BI x4, then x264 CRF 40, medium"}
    assert len(list((tmp_path / "lq" / "davis" / "clip").glob("*.png"))) == 3
