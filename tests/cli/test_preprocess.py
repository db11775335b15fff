"""``rvrt preprocess`` from the command line: success, refusals, exit codes, reports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import rvrt_cli
from rvrt_cli.errors import ExitCode


@pytest.fixture
def vimeo(shared: Path, tmp_path: Path) -> Path:
    """Two real septuplets, one for training and one for testing."""
    root = tmp_path / "vimeo_septuplet"
    source = shared / "data/vimeo90k_mini/vimeo_septuplet/sequences"
    for name in ("00001/0001", "00002/0005"):
        shutil.copytree(source / name, root / "sequences" / name)
    (root / "sep_trainlist.txt").write_text("00001/0001\n")
    (root / "sep_testlist.txt").write_text("00002/0005\n")
    return root


def test_vimeo90k_from_root(rvrt, vimeo: Path) -> None:
    result = rvrt("preprocess", "vimeo90k", "--root", vimeo.parent, "--workers", 1)
    assert result.code == ExitCode.OK
    assert "14 files written" in result.err
    frame = cv2.imread(str(vimeo / "BIx4/00001/0001/im7.png"))
    assert frame.shape == (64, 112, 3)
    assert (vimeo / "meta_info_Vimeo90K_train_GT.txt").read_text() == "00001/0001 7 (256,448,3)\n"
    again = rvrt("preprocess", "vimeo90k", "--root", vimeo, "--workers", 1, "--json")
    assert json.loads(again.out)["kept"] == 14
    assert again.err == ""
    verified = rvrt("preprocess", "vimeo90k", "--root", vimeo, "--workers", 1, "--verify")
    assert verified.code == ExitCode.OK
    assert "14 files whole and right" in verified.err


def test_one_subset_with_parts_given_one_by_one(rvrt, vimeo: Path, tmp_path: Path) -> None:
    result = rvrt(
        *(
            "preprocess",
            "vimeo90k",
            "--images-root",
            vimeo / "sequences",
            "--test-annotation",
            vimeo / "sep_testlist.txt",
        ),
        *(
            "--output-dir",
            tmp_path / "out",
            "--degradation",
            "bd",
            "--scale",
            4,
            "--subset",
            "test",
            "--workers",
            1,
        ),
    )
    assert result.code == ExitCode.OK
    assert len(list((tmp_path / "out/BDx4/00002/0005").iterdir())) == 7
    assert not (vimeo / "BIx4").exists()


def test_annotations_alone(rvrt, vimeo: Path) -> None:
    assert rvrt("preprocess", "vimeo90k", "--root", vimeo, "--no-generate-lq").code == ExitCode.OK
    assert (vimeo / "meta_info_Vimeo90K_test_GT.txt").exists()
    assert not (vimeo / "BIx4").exists()


def test_broken_files_end_in_a_report_and_an_exit_code(rvrt, vimeo: Path) -> None:
    broken = vimeo / "sequences/00001/0001/im2.png"
    broken.write_bytes(broken.read_bytes()[:5000])
    result = rvrt("preprocess", "vimeo90k", "--root", vimeo, "--workers", 1, "--quiet")
    assert result.code == ExitCode.PARTIAL
    assert result.err.count("\n") == 1
    assert "im2.png is damaged" in result.err
    report = json.loads((vimeo / "preprocess-report.json").read_text())
    assert report["written"] == 13
    assert [Path(failure["file"]).name for failure in report["failures"]] == ["im2.png"]
    assert rvrt("preprocess", "vimeo90k", "--root", vimeo, "--workers", 1, "--verify").code == ExitCode.VERIFY


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("vimeo90k",), ExitCode.INPUT, "Give --root"),
        (("vimeo90k", "--root", "nowhere"), ExitCode.INPUT, "is not a folder"),
        (("vimeo90k", "--root", ".", "--subset", "val"), ExitCode.USAGE, "none of train, test and all"),
        (("vimeo90k", "--root", ".", "--degradation", "real"), ExitCode.USAGE, "none of BI, BD"),
        (("folder", "nowhere", "out"), ExitCode.INPUT, "is not a folder"),
        (("photos", ".", "out", "--size", "448"), ExitCode.USAGE, "is not a size such as 448x256"),
        (("photos", ".", "out"), ExitCode.INPUT, "holds no photographs"),
    ],
)
def test_refusals(
    rvrt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments, code: ExitCode, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = rvrt("preprocess", *arguments)
    assert result.code == code
    assert message in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_folder_and_photos(rvrt, tmp_path: Path) -> None:
    for frame in range(2):
        path = tmp_path / "in" / f"clip/{frame:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(frame).integers(0, 256, (80, 96, 3), dtype=np.uint8))
    assert rvrt("preprocess", "folder", tmp_path / "in", tmp_path / "out", "--workers", 1).code == ExitCode.OK
    assert len(list((tmp_path / "out/BIx4/clip").iterdir())) == 2
    result = rvrt(
        "preprocess",
        "photos",
        tmp_path / "in",
        tmp_path / "clips",
        "--clips",
        2,
        "--size",
        "48x32",
        "--workers",
        1,
    )
    assert result.code == ExitCode.OK
    assert (tmp_path / "clips/sep_trainlist.txt").read_text().split() == ["00001/0001", "00001/0002"]
    assert cv2.imread(str(tmp_path / "clips/BIx4/00001/0002/im7.png")).shape == (8, 12, 3)
    # The clips are a data set for the next step.
    assert (
        rvrt(
            "preprocess",
            "vimeo90k",
            "--root",
            tmp_path / "clips",
            "--subset",
            "train",
            "--verify",
            "--workers",
            1,
        ).code
        == 0
    )


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on_and_leaves_whole_files(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(
        str(tmp_path / "in/photo.png"),
        np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8),
    )
    command = [
        "preprocess",
        "photos",
        tmp_path / "in",
        tmp_path / "out",
        "--clips",
        "5000",
        "--size",
        "96x64",
        "--workers",
        "2",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(rvrt_cli.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-m", "rvrt_cli", *map(str, command)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 90
    try:
        while not list((tmp_path / "out").glob("sequences/*/*/im7.png")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == ExitCode.INTERRUPTED
    assert "run the same command again to go on from here" in err
    assert "Traceback" not in err
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path.name for path in written if ".part" in path.name]
    assert all(cv2.imread(str(path)) is not None for path in written if path.suffix == ".png")
