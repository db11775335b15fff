"""``rvrt eval`` from the command line: the bicubic baseline against an independent computation, options, refusals."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from rvrt_cli.errors import ExitCode


@pytest.fixture
def rvrt(rvrt, tmp_path: Path):
    """``rvrt eval`` with its own cache of unfinished runs."""

    def run(*arguments: object):
        return rvrt("eval", *arguments, "--work-dir", tmp_path / "work")

    return run


# --- an independent computation: another formulation of each step, in float64 ---


def keys(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def quarter(image: np.ndarray) -> np.ndarray:
    """Antialiased reduction by four as one strided sum over 16 × 16 samples of the mirrored image."""
    taps = np.array([keys((k - 7.5) / 4) / 4 for k in range(16)])
    taps /= taps.sum()
    padded = np.pad(image.astype(np.float64), ((6, 6), (6, 6), (0, 0)), mode="symmetric")
    h, w = image.shape[:2]
    rows = sum(taps[k] * padded[k : k + h : 4] for k in range(16))
    return sum(taps[k] * rows[:, k : k + w : 4] for k in range(16))


def fourfold(image: np.ndarray) -> np.ndarray:
    """Enlargement by four: each of the four phases of an axis is one 4-tap filter."""

    def axis(values: np.ndarray) -> np.ndarray:
        n = len(values)
        padded = np.concatenate([values[1::-1], values, values[:-3:-1]])
        result = np.empty((4 * n, *values.shape[1:]))
        for phase in range(4):
            offset = (phase + 0.5) / 4 - 0.5
            first = math.floor(offset) - 1
            result[phase::4] = sum(
                keys(offset - k) * padded[k + 2 : k + 2 + n] for k in range(first, first + 4)
            )
        return result

    return axis(axis(image).swapaxes(0, 1)).swapaxes(0, 1)


def luma(image: np.ndarray) -> np.ndarray:
    r, g, b = np.moveaxis(image.astype(np.float64) / 255, -1, 0)
    return 16 + 65.481 * r + 128.553 * g + 24.966 * b


def independent_bicubic(path: Path) -> tuple[float, float]:
    """PSNR and SSIM on Y of the bicubic baseline for one image."""
    gt = cv2.imread(str(path))[..., ::-1]
    gt = gt[: gt.shape[0] // 4 * 4, : gt.shape[1] // 4 * 4]
    lq = np.floor(np.clip(quarter(gt), 0, 255) + 0.5)
    sr = np.round(np.clip(fourfold(lq), 0, 255))
    x, y = luma(gt), luma(sr)
    psnr = 10 * math.log10(255**2 / np.mean((x - y) ** 2))
    weights = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()

    def blur(values: np.ndarray) -> np.ndarray:
        h, w = values.shape
        rows = sum(weights[k] * values[k : h - 10 + k] for k in range(11))
        return sum(weights[k] * rows[:, k : w - 10 + k] for k in range(11))

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 6.5025, 58.5225
    return psnr, float(np.mean((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))))


def test_vimeo90k_bicubic_agrees_with_an_independent_computation(rvrt, shared: Path) -> None:
    root = shared / "data/vimeo90k_mini"
    result = rvrt("--dataset", "vimeo90k", "--root", root, "--model", "bicubic", "--json")
    assert result.code == ExitCode.OK
    report = json.loads(result.out)
    assert report["clips"] == 4
    expected = []
    for score in report["scores"]:
        psnr, ssim = independent_bicubic(root / "vimeo_septuplet/sequences" / score["clip"] / "im4.png")
        assert score["psnr"] == pytest.approx(psnr, abs=0.01)
        assert score["ssim"] == pytest.approx(ssim, abs=1e-4)
        expected.append(psnr)
    assert report["totals"][0]["psnr"] == pytest.approx(np.mean(expected), abs=0.01)
    # Four septuplets are not the test set of the published figure.
    assert report["totals"][0]["published_psnr"] is None


def test_davis_bicubic_agrees_with_an_independent_computation(rvrt, shared: Path, tmp_path: Path) -> None:
    root = shared / "data/davis_mini"
    file = tmp_path / "metrics.csv"
    result = rvrt(
        "--dataset", "davis", "--root", root, "--model", "bicubic", "--frames", 2, "--save-metrics", file
    )
    assert result.code == ExitCode.OK
    assert "all frames, PSNR/SSIM on Y" in result.out
    rows = [row for row in csv.DictReader(file.open()) if row["clip"] != "mean"]
    assert [row["clip"] for row in rows] == ["camel", "car-shadow", "goat", "parkour"]
    for row in rows:
        figures = [independent_bicubic(root / row["clip"] / f"{frame:05d}.jpg") for frame in range(2)]
        assert float(row["psnr"]) == pytest.approx(np.mean([psnr for psnr, _ in figures]), abs=0.01)
        assert float(row["ssim"]) == pytest.approx(np.mean([ssim for _, ssim in figures]), abs=1e-4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for clip in ("a", "b"):
        for frame in range(3):
            noise = np.random.default_rng([ord(clip), frame]).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            path = tmp_path / "gt" / clip / f"{frame:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 2.0))
    return tmp_path / "gt"


def test_the_table_names_clips_protocol_and_engine(rvrt, folder: Path) -> None:
    result = rvrt(
        "--gt", folder, "--model", "bicubic", "--temporal", "--crop", 4, "--rgb", "--degradation", "bd"
    )
    assert result.code == ExitCode.OK
    for text in (
        "│ a ",
        "│ b ",
        "│ mean",
        "on RGB, 4 px border cropped",
        "BD x4, made on the fly",
        "NumPy on CPU",
        "tOF",
    ):
        assert text in result.out


def test_baseline_beside_the_model_is_left_out_for_itself(rvrt, folder: Path) -> None:
    report = json.loads(rvrt("--gt", folder, "--model", "bicubic", "--baseline", "bicubic", "--json").out)
    assert len(report["totals"]) == 1


def test_lq_folder_and_images(rvrt, folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*.png"):
        target = tmp_path / "lq" / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), cv2.imread(str(path))[::4, ::4])
    result = rvrt(
        "--gt",
        folder,
        "--lq",
        tmp_path / "lq",
        "--model",
        "bicubic",
        "--json",
        "--save-images",
        tmp_path / "out",
    )
    assert "read from" in json.loads(result.out)["low_quality"]
    assert cv2.imread(str(tmp_path / "out/bicubic/b/0002.png")).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), ExitCode.USAGE, "either --dataset with --root, or --gt"),
        (("--dataset", "vid4"), ExitCode.USAGE, "needs --root"),
        (("--dataset", "set5", "--root", "gt"), ExitCode.USAGE, "vimeo90k, vid4"),
        (("--dataset", "davis", "--root", "gt", "--rgb"), ExitCode.USAGE, "--rgb and --crop go with --gt"),
        (("--dataset", "vimeo90k", "--root", "gt"), ExitCode.INPUT, "holds no sequences/"),
        (("--gt", "nowhere"), ExitCode.INPUT, "is not a folder"),
        (("--gt", "gt", "--degradation", "blur"), ExitCode.USAGE, "none of BI, BD, real"),
        (("--gt", "gt", "--save-metrics", "m.txt"), ExitCode.USAGE, ".json or .csv"),
        (("--gt", "gt", "--save-metrics", "none/m.csv"), ExitCode.OUTPUT, "is not a folder"),
        (("--gt", "gt", "--window", "5"), ExitCode.USAGE, "even number"),
        (("--gt", "gt", "--tile", "33"), ExitCode.USAGE, "multiple of 8"),
        (("--gt", "gt", "--model", "rvrt", "--light"), ExitCode.USAGE, "contradict"),
        (("--gt", "gt", "--compare", "bicubic", "bicubic"), ExitCode.USAGE, "compared with itself"),
        (
            ("--gt", "gt", "--compare", "bicubic", "light-s", "--baseline", "bicubic"),
            ExitCode.USAGE,
            "--compare names both models",
        ),
        (("--gt", "gt", "--model", "no-such-model"), ExitCode.WEIGHTS, "no-such-model"),
    ],
)
def test_refusals(
    rvrt, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments, code: ExitCode, message: str
) -> None:
    monkeypatch.chdir(folder.parent)
    defaults = () if "--model" in arguments or "--compare" in arguments else ("--model", "bicubic")
    result = rvrt(*arguments, *defaults)
    assert (result.code, message in result.err) == (code, True), result.err
    assert "Traceback" not in result.err
    assert sorted(path.name for path in folder.parent.iterdir() if path.name != "work") == ["gt"]
