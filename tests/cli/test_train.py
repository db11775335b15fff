"""``rvrt train`` on bad input, its plan, and a short real run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from rvrt_cli.cli.app import main

REPOSITORY = Path(__file__).resolve().parents[2]


def rvrt(*arguments: str | Path, timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "rvrt_cli", "train", "--backend", "torch", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=timeout_s, check=False
    )


def sentence(result: subprocess.CompletedProcess[str], code: int) -> str:
    assert result.returncode == code, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("rvrt: ")
    assert "Traceback" not in result.stderr
    return last


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three smooth photographs of 120×100 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("lake", "hill", "road"):
        coarse = rng.integers(0, 256, (13, 15, 3), dtype=np.uint8)
        cv2.imwrite(
            str(folder / f"{name}.png"), cv2.resize(coarse, (120, 100), interpolation=cv2.INTER_CUBIC)
        )
    return folder


def test_the_plan_is_shown_without_training(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")  # a dry run checks the device, which its framework knows
    result = rvrt(
        "--dry-run", "--model", "light", "--data", photos, "--out", tmp_path / "run", "--patch", "64"
    )
    assert result.returncode == 0, result.stderr
    for part in ("8,456,755", "300,000", "3 photographs", "FLOPs", "MiB"):
        assert part in result.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        ([], 2, "nothing to train on"),
        (["--data", "PHOTOS", "--model", "heavy"], 2, "heavy"),
        (["--data", "PHOTOS", "--model", "deblur"], 2, "networks that enlarge"),
        (["--data", "nowhere"], 3, "nowhere"),
        (["--data", "EMPTY"], 3, "holds no"),
        (["--dataset", "imagenet"], 2, "imagenet"),
        (["--dataset", "vimeo90k"], 2, "--root"),
        (["--dataset", "vimeo90k", "--root", "EMPTY"], 3, "sequences"),
        (["--data", "PHOTOS", "--patch", "30"], 2, "patch"),
        (["--data", "PHOTOS", "--frames", "5", "--no-mirror"], 2, "frames"),
        (["--data", "PHOTOS", "--patch", "64", "--devices", "1000", "--batch", "1000"], 5, "fewer --devices"),
        (["--data", "PHOTOS", "--patch", "64", "--devices", "1000"], 5, "fewer --devices"),
        (["--data", "PHOTOS", "--patch", "64", "--batch", "3", "--accumulate", "2"], 2, "multiple of 2"),
        (["--data", "PHOTOS", "--patch", "64", "--backend", "jax"], 2, "jax"),
        (["--data", "PHOTOS", "--patch", "64", "--resume", "yes"], 2, "--resume"),
        (["--data", "PHOTOS", "--patch", "64", "--init", "PHOTOS/lake.png"], 6, "lake.png"),
        (["--data", "PHOTOS", "--patch", "64", "--degradation", "JPEG"], 2, "JPEG"),
        (["--data", "PHOTOS", "--patch", "64", "--val", "EMPTY"], 3, "holds no"),
        (["--data", "PHOTOS", "--clip-grad", "nan"], 2, "--clip-grad"),
        (["--data", "PHOTOS", "--time-limit", "inf"], 2, "--time-limit"),
        (["--data", "PHOTOS:0"], 2, "weight"),
        (["--data", "PHOTOS", "--val", "a/clips", "--val", "b/clips"], 2, "--val NAME="),
        (
            ["--data", "PHOTOS", "--backend", "mindspore", "--precision", "bf16", "--patch", "64"],
            2,
            "--backend torch",
        ),
        (["--data", "PHOTOS", "--backend", "mindspore", "--compile", "--patch", "64"], 2, "--compile"),
        (
            ["--dry-run", "--data", "PHOTOS", "--patch", "64", "--devices", "1000", "--batch", "1000"],
            5,
            "fewer --devices",
        ),
        (["--dry-run", "--data", "PHOTOS", "--patch", "64", "--nodes", "2"], 2, "--master"),
        (["--dry-run", "--data", "PHOTOS", "--patch", "64", "--val", "nowhere"], 3, "nowhere"),
        (["--dry-run", "--data", "PHOTOS", "--patch", "256"], 3, "smaller than"),
        (
            ["--dry-run", "--data", "PHOTOS", "--patch", "64", "--out", "PHOTOS/lake.png/run"],
            4,
            "cannot be written",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], code: int, part: str,
) -> None:  # fmt: skip
    empty = tmp_path / "empty"
    empty.mkdir()
    chosen = [text.replace("PHOTOS", str(photos)).replace("EMPTY", str(empty)) for text in arguments]
    monkeypatch.setattr(
        sys, "argv", ["rvrt", "train", "--backend", "torch", "--out", str(tmp_path / "run"), *chosen]
    )
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code
    *before, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("rvrt: ")
    assert part in last
    assert before == []
    assert not list((tmp_path / "run").rglob("*.safetensors"))


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_a_card_that_is_not_there_is_one_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dry_run: list[str],
) -> None:  # fmt: skip
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    command = [
        "rvrt",
        "train",
        "--backend",
        "torch",
        "--device",
        "cuda",
        "--data",
        str(photos),
        "--patch",
        "64",
    ]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path / "run"), *dry_run])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 5
    assert "0 NVIDIA device(s)" in capsys.readouterr().err


def test_weights_of_another_network_are_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.model.shapes import parameter_shapes
    from rvrt_cli.weights.files import Weights, save_weights

    config = PRESETS["light-s"]
    tensors = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(config).items()}
    save_weights(tmp_path / "small.safetensors", Weights(config, tensors, {}))
    command = [
        "rvrt",
        "train",
        "--data",
        str(photos),
        "--model",
        "light",
        "--init",
        str(tmp_path / "small.safetensors"),
    ]
    monkeypatch.setattr(sys, "argv", [*command, "--backend", "torch", "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "are for light-s, not for light;" in capsys.readouterr().err


def test_a_run_has_a_folder_of_its_own_by_default(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["rvrt", "train", "--backend", "torch", "--dataset", "vimeo90k", "--dry-run"]
    )
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "vimeo_septuplet does not exist; give --root" in capsys.readouterr().err


def test_clips_too_small_for_the_patch_are_named(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    result = rvrt(
        "--data", photos, "--out", tmp_path / "run", "--patch", "128", "--frames", "2", "--batch", "1"
    )
    assert "smaller than" in sentence(result, 3)


def test_an_unreadable_file_is_named(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes((photos / "lake.png").read_bytes()[:200])
    result = rvrt(
        "--data", folder, "--out", tmp_path / "run", "--patch", "64", "--frames", "2", "--batch", "1"
    )
    assert "broken.jpg" in sentence(result, 3)


def test_a_short_run_validates_exports_and_reports(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    clip = tmp_path / "val" / "clip"
    clip.mkdir(parents=True)
    for index in range(2):
        (clip / f"{index:03d}.png").write_bytes((photos / "lake.png").read_bytes())
    out = tmp_path / "run"
    result = rvrt(
        "--data", f"{photos}:2", "--out", out, "--steps", "3", "--frames", "2", "--patch", "32", "--batch", "2",
        "--threads", "1", "--val", f"lakes={tmp_path / 'val'}", "--val-interval", "2", "--log-interval", "1", "--ema", "0.9",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for part in ("lakes:", "bicubic", "s/step", "data wait", "best Y-PSNR", "batch size"):
        assert part in result.stderr
    assert result.stdout == ""
    assert {path.name for path in out.iterdir()} == {
        "best.safetensors", "last.safetensors", "checkpoints", "log.csv", "validation.csv", "samples", ".lock",
    }  # fmt: skip
    again = rvrt(
        "--data", photos, "--out", out, "--steps", "3", "--frames", "2", "--patch", "32", "--batch", "2"
    )
    assert "--resume auto" in sentence(again, 4)
    tune = ("--data", photos, "--out", tmp_path / "tuned", "--steps", "1", "--frames", "2", "--patch", "32", "--batch", "1",
        "--threads", "1", "--init")  # fmt: skip
    assert "last.safetensors of its run" in sentence(
        rvrt(*tune, out / "checkpoints" / "checkpoint-00000003.safetensors"), 2
    )
    other = rvrt("--data", photos, "--out", out, "--patch", "64", "--model", "light", "--resume", "auto")
    assert "another architecture" in sentence(other, 6)
    tuned = rvrt(*tune, out / "last.safetensors")
    assert tuned.returncode == 0, tuned.stderr
