"""Evaluation runs: figures, mirroring, windows, resuming after a kill, spreading over processes, reports."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import rvrt_cli
from rvrt_cli.errors import InterruptedRun, NonFiniteError, OutOfMemoryError_, OutputError, UsageError
from rvrt_cli.evaluate import models
from rvrt_cli.evaluate.journal import EvalJournal
from rvrt_cli.evaluate.models import ModelSpec, WindowConfig, restore_clip, spread_devices
from rvrt_cli.evaluate.protocols import PROTOCOLS
from rvrt_cli.evaluate.report import EvalReport
from rvrt_cli.evaluate.run import EvalOptions, compare, evaluate
from rvrt_cli.evaluate.save import check_metrics_path, save_report
from rvrt_cli.imaging.resize import imresize
from rvrt_cli.inference import device
from rvrt_cli.inference.restorer import BicubicRestorer, IdentityRestorer
from rvrt_cli.inference.tiles import TilePlan

BICUBIC = ModelSpec("bicubic", "bicubic")


class Recording(BicubicRestorer):
    """Bicubic that remembers the shapes it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        self.shapes.append(lq.shape)
        return super().__call__(lq)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for clip in ("a", "b", "c"):
        for frame in range(5):
            noise = np.random.default_rng([ord(clip), frame]).integers(0, 256, (32, 48, 3), dtype=np.uint8)
            path = tmp_path / "gt" / clip / f"{frame:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 2.0))
    return tmp_path / "gt"


def options(folder: Path, **changes) -> EvalOptions:
    values = {
        "protocol": PROTOCOLS["folder"],
        "root": folder,
        "models": (BICUBIC,),
        "work_dir": folder.parent / "work",
    }
    return EvalOptions(**{**values, **changes})


def figures(report: EvalReport) -> list[tuple]:
    return [(score.clip, score.model, score.frame_psnr, score.frame_ssim) for score in report.scores]


def test_a_run_gives_one_row_per_clip_and_the_mean(folder: Path) -> None:
    seen = []
    report = evaluate(options(folder), lambda done, total, scores: seen.append((done, total, scores[0].clip)))
    assert seen == [(1, 3, "a"), (2, 3, "b"), (3, 3, "c")]
    assert [score.clip for score in report.scores] == ["a", "b", "c"]
    assert report.totals[0].psnr == pytest.approx(np.mean([score.psnr for score in report.scores]))
    assert all(
        len(score.frame_psnr) == 5 and score.seconds > 0 and score.peak_rss_mib > 10
        for score in report.scores
    )
    assert report.low_quality == "BI x4, made on the fly"
    assert not any((folder.parent / "work").iterdir())


def test_the_centre_protocol_mirrors_and_compares_one_frame() -> None:
    recorder = Recording()
    lq = np.random.default_rng(0).integers(0, 256, (7, 8, 12, 3), dtype=np.uint8)
    restored = restore_clip(recorder, "x", lq, WindowConfig(), mirror=True)
    assert recorder.shapes == [(14, 8, 12, 3)]
    assert restored.frames.shape == (7, 32, 48, 3)
    assert restored.computed == 14
    gt = restored.frames.copy()
    gt[:3] ^= 255
    gt[4:] ^= 255
    score = compare("x", "x", restored.frames, gt, PROTOCOLS["vimeo90k"])
    assert score.frame_psnr == (float("inf"),)


def test_windows_tiles_and_repeated_frames() -> None:
    lq = np.random.default_rng(0).integers(0, 256, (9, 40, 40, 3), dtype=np.uint8)
    whole = restore_clip(BicubicRestorer(), "x", lq, WindowConfig(), mirror=False).frames
    windows = Recording()
    result = restore_clip(windows, "x", lq, WindowConfig(window=4, overlap=2), mirror=False)
    assert max(shape[0] for shape in windows.shapes) <= 4 + 2 * 2, "never the whole clip"
    np.testing.assert_allclose(result.frames.astype(int), whole, atol=1)
    tiles = Recording()
    restore_clip(tiles, "x", lq, WindowConfig(tile=TilePlan(32, 8)), mirror=False)
    assert len(tiles.shapes) == 4
    repeated = Recording()
    result = restore_clip(repeated, "x", lq, WindowConfig(repeat=True), mirror=False)
    assert repeated.shapes == [(6, 40, 40, 3)] * 9
    np.testing.assert_array_equal(result.frames, whole)


def test_failures_of_a_model_are_explained() -> None:
    lq = np.zeros((3, 8, 8, 3), np.uint8)

    class Full(BicubicRestorer):
        def __call__(self, lq: np.ndarray) -> np.ndarray:
            raise OutOfMemoryError_("full")

    class Broken(BicubicRestorer):
        def __call__(self, lq: np.ndarray) -> np.ndarray:
            return imresize(lq, 4) * np.float32(np.nan)

    with pytest.raises(OutOfMemoryError_, match="smaller --window"):
        restore_clip(Full(), "x", lq, WindowConfig(), mirror=False)
    with pytest.raises(NonFiniteError, match="not numbers"):
        restore_clip(Broken(), "x", lq, WindowConfig(), mirror=False)


class Darker(BicubicRestorer):
    """A second method for comparisons: bicubic, ten levels darker."""

    fingerprint = "darker"

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        return super().__call__(lq) - np.float32(10 / 255)


def load_either(model: str, *_: object, **__: object) -> BicubicRestorer:
    return Darker() if model == "darker" else BicubicRestorer()


def test_two_methods_and_temporal_figures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load_restorer", load_either)
    report = evaluate(options(folder, models=(BICUBIC, ModelSpec("darker", "darker")), temporal=True))
    assert [total.model for total in report.totals] == ["bicubic", "darker"]
    for clip in ("a", "b", "c"):
        assert report.score(clip, "bicubic").psnr > report.score(clip, "darker").psnr
    # A constant error does not flicker more.
    assert report.totals[1].flicker == pytest.approx(report.totals[0].flicker, rel=0.05)
    with pytest.raises(UsageError, match="compared with itself"):
        evaluate(options(folder, models=(BICUBIC, BICUBIC)))


def test_an_interrupted_run_goes_on_and_gives_the_same_table(folder: Path) -> None:
    expected = figures(evaluate(options(folder)))

    def stop(done: int, total: int, scores: object) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRun, match="after 2 of 3 clips"):
        evaluate(options(folder), stop)
    seen = []
    report = evaluate(options(folder), lambda done, total, scores: seen.append((done, len(scores))))
    assert seen == [(2, 0), (3, 1)]
    assert report.resumed_clips == 2
    assert figures(report) == expected


def test_other_settings_or_changed_files_do_not_reuse_old_clips(folder: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(InterruptedRun):
            evaluate(options(folder, limit=2), stop)
    assert evaluate(options(folder, frames=3)).resumed_clips == 0
    assert evaluate(options(folder, limit=2, resume=False)).resumed_clips == 0
    with pytest.raises(InterruptedRun):
        evaluate(options(folder), stop)
    os.utime(folder / "a" / "0000.png", (1, 1))
    assert evaluate(options(folder)).resumed_clips == 0


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path: Path) -> None:
    journal = EvalJournal(tmp_path, {"x": 1})
    journal.add("a", [1])
    journal.add("b", [2])
    journal.path.write_bytes(journal.path.read_bytes()[:-4])
    again = EvalJournal(tmp_path, {"x": 1})
    assert again.finished == {"a": [1]}
    again.add("c", [3])
    assert EvalJournal(tmp_path, {"x": 1}).finished == {"a": [1], "c": [3]}
    assert EvalJournal(tmp_path, {"x": 2}).finished == {}


SLOW_RUN = """
import sys, time
from pathlib import Path
from rvrt_cli.evaluate.protocols import PROTOCOLS
from rvrt_cli.inference.tiles import TilePlan
from rvrt_cli.evaluate.models import ModelSpec
from rvrt_cli.evaluate.run import EvalOptions, evaluate
from rvrt_cli.inference.restorer import BicubicRestorer
call = BicubicRestorer.__call__
BicubicRestorer.__call__ = lambda self, lq: (time.sleep(float(sys.argv[2])), call(self, lq))[1]
folder = Path(sys.argv[1])
evaluate(EvalOptions(PROTOCOLS["folder"], folder, (ModelSpec("bicubic", "bicubic"),), work_dir=folder.parent / "work"))
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_killed_process_loses_only_the_clip_it_was_at(folder: Path) -> None:
    expected = figures(evaluate(options(folder)))
    environment = {**os.environ, "PYTHONPATH": str(Path(rvrt_cli.__file__).parents[1])}
    work = folder.parent / "work"
    process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(folder), "1.0"], env=environment)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in work.glob("*.jsonl")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = evaluate(options(folder))
    assert 1 <= report.resumed_clips < 3
    assert figures(report) == expected


def test_clips_are_spread_over_processes(folder: Path) -> None:
    alone = evaluate(options(folder))
    spread = evaluate(options(folder, devices=2, models=(replace(BICUBIC, device="cpu"),)))
    assert figures(spread) == figures(alone)


def test_devices_are_named_and_cores_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        device, "choose", lambda *_: device.Choice("gpu:0", "onnx", "onnxruntime-cuda", "mixed", "")
    )
    spec = ModelSpec("m", "m", device="auto")
    assert [share[0].device for share in spread_devices((spec,), 3, 8)] == ["gpu:0", "gpu:1", "gpu:2"]
    monkeypatch.undo()
    shares = spread_devices((replace(spec, device="cpu"),), 2, 8)
    assert [(share[0].device, share[0].threads) for share in shares] == [("cpu", 4), ("cpu", 4)]
    assert spread_devices((spec,), 1, 8) == [(spec,)]
    bicubic = ModelSpec("bicubic", "bicubic")  # has no device to be spread over
    assert [share[1] for share in spread_devices((spec, bicubic), 2, 8)] == [bicubic, bicubic]
    listed = spread_devices((replace(spec, device="gpu:3,gpu:1"),), 2, 8)
    assert [share[0].device for share in listed] == ["gpu:3", "gpu:1"]
    with pytest.raises(UsageError, match="names 2 devices"):
        spread_devices((replace(spec, device="gpu:3,gpu:1"),), 3, 8)


def test_names_under_which_figures_are_published() -> None:
    assert BICUBIC.published_name == "bicubic"
    assert ModelSpec("x", "rvrt").published_name == "rvrt-reds"
    assert (
        ModelSpec("x", "rvrt", Path("/w/002_RVRT_videosr_bi_Vimeo_14frames.pth")).published_name
        == "rvrt-vimeo"
    )
    assert ModelSpec("x", "mine.safetensors").published_name == "x"


def test_images_and_reports(folder: Path, tmp_path: Path) -> None:
    report = evaluate(options(folder, save_images=tmp_path / "images", frames=2))
    saved = sorted(
        path.relative_to(tmp_path / "images").as_posix() for path in (tmp_path / "images").rglob("*.png")
    )
    assert saved == [f"bicubic/{clip}/000{i}.png" for clip in "abc" for i in range(2)]
    save_report(tmp_path / "m.json", report)
    data = json.loads((tmp_path / "m.json").read_text())
    assert data["protocol"] == report.protocol
    assert data["scores"][1]["frame_psnr"] == list(report.scores[1].frame_psnr)
    save_report(tmp_path / "m.csv", report)
    rows = list(csv.DictReader((tmp_path / "m.csv").open()))
    assert [row["clip"] for row in rows] == ["a", "b", "c", "mean"]
    assert float(rows[3]["psnr"]) == report.totals[0].psnr
    with pytest.raises(UsageError, match=r"\.json or \.csv"):
        check_metrics_path(tmp_path / "m.txt")
    with pytest.raises(OutputError, match="is not a folder"):
        check_metrics_path(tmp_path / "nowhere" / "m.csv")


def test_equal_pictures_survive_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PSNR is infinite there, which JSON has no word for."""
    for path in folder.rglob("*.png"):
        assert cv2.imwrite(str(path), np.full((32, 48, 3), 90, np.uint8))
    report = evaluate(options(folder))
    assert report.totals[0].psnr == float("inf")
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["totals"][0]["psnr"] == "inf"


def test_a_smaller_scale_than_the_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Low quality is made for the scale that is wanted; bicubic enlarges by it, a larger model's pictures are reduced."""

    class Fourfold(IdentityRestorer):
        scale = 4

        def __call__(self, lq: np.ndarray) -> np.ndarray:
            return imresize(lq, scale=4)

    class Twofold(Fourfold):
        scale = 2

        def __call__(self, lq: np.ndarray) -> np.ndarray:
            return imresize(lq, scale=2)

    makers = {"four": Fourfold, "two": Twofold}
    monkeypatch.setattr(models, "load_restorer", lambda model, *_, **__: makers.get(model, BicubicRestorer)())
    four, two = ModelSpec("four", "four"), ModelSpec("two", "two")
    report = evaluate(options(folder, models=(four, BICUBIC), scale=2))
    assert report.low_quality == "BI x2, made on the fly"
    reduced, bicubic = (total.psnr for total in report.totals)
    native = evaluate(options(folder, models=(two, BICUBIC)))
    assert [total.psnr for total in native.totals] == [bicubic, bicubic]
    assert reduced != bicubic
    assert reduced == pytest.approx(bicubic, abs=0.5)


def test_models_that_cannot_be_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice(IdentityRestorer):
        scale = 2

    class Thrice(IdentityRestorer):
        scale = 3

    class Noisy(BicubicRestorer):
        channels = 4

    monkeypatch.setattr(
        models,
        "load_restorer",
        lambda model, *_, **__: {"twice": Twice, "thrice": Thrice, "noisy": Noisy}.get(
            model, BicubicRestorer
        )(),
    )
    with pytest.raises(UsageError, match="compare models of one scale"):
        evaluate(options(folder, models=(ModelSpec("thrice", "thrice"), ModelSpec("twice", "twice"))))
    with pytest.raises(UsageError, match="less than --scale 3"):
        evaluate(options(folder, models=(ModelSpec("twice", "twice"),), scale=3))
    with pytest.raises(UsageError, match="noise map"):
        evaluate(options(folder, models=(ModelSpec("noisy", "noisy"),)))
