"""MindIR files: what is refused, and a round trip through MindSpore's own loader."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rvrt_cli.errors import UsageError
from rvrt_cli.inference.export_mindir import check_size, export_mindir
from rvrt_cli.model.config import PRESETS
from rvrt_cli.weights.files import Weights

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("frames", "height", "width"), [(0, 64, 64), (2, 0, 64), (2, 64, -1)])
def test_impossible_sizes_are_refused(frames: int, height: int, width: int) -> None:
    with pytest.raises(UsageError, match=f"not {frames} of {height}x{width}"):
        check_size(frames, height, width)


def test_another_suffix_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not end in \.mindir"):
        export_mindir(Weights(PRESETS["light-s"], {}), tmp_path / "model.onnx", 6, 64, 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_mindir_file_reproduces_the_golden_array(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("mindspore")
    out = tmp_path / "light.mindir"
    command = [
        sys.executable,
        str(Path(__file__).with_name("mindir_case.py")),
        str(shared / "golden"),
        str(out),
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "GLOG_v": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert float(done.stdout.splitlines()[-1]) <= 1e-4
    assert [file.name for file in tmp_path.iterdir()] == ["light.mindir"]
    assert os.access(out, os.W_OK)
