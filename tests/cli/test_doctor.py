"""``rvrt doctor``: a sound installation passes, each kind of damage is named with advice."""

from __future__ import annotations

import json
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from rvrt_cli.cli import app as cli
from rvrt_cli.errors import DeviceError, ExitCode
from rvrt_cli.model.config import PRESETS, ModelConfig
from rvrt_cli.model.initialise import initial_tensors
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.system.hardware import Card
from rvrt_cli.upscale import doctor
from rvrt_cli.weights import Weights, save_weights
from rvrt_cli.weights.find import shipped


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RVRT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bench(tmp_path: Path) -> doctor.Bench:
    return doctor.Bench(tmp_path, "bicubic")


def small(config: ModelConfig) -> ModelConfig:
    """A network with a preset's input, output and scale that compiles in a second."""
    return replace(
        config,
        alignment="local",
        passes=1,
        embed_dim=24,
        num_blocks=(1, 1, 1),
        depth=1,
        num_heads=2,
        window=(2, 4, 4),
        align_heads=2,
    )


def run_doctor(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["rvrt", "doctor", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def by_name(model: str = "bicubic") -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine(model)}


def test_sound_installation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_doctor(monkeypatch, "--model", "bicubic", "--json") == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert [row["name"] for row in report["findings"]] == [name for name, _, _ in doctor.CHECKS]
    assert {row["state"] for row in report["findings"]} <= {"ok", "warning"}
    assert "verified" in next(row["found"] for row in report["findings"] if row["name"] == "Whole run")


def test_shipped_model_runs() -> None:
    if "light-s" not in shipped():
        pytest.skip("weights/light-s.safetensors is not in this checkout")
    findings = by_name("light-s")
    assert findings["Model"].state == findings["Whole run"].state == "ok"


def test_missing_weights_are_a_problem_with_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_doctor(monkeypatch, "--model", "no-such-model") == ExitCode.DEVICE
    out, err = capsys.readouterr()
    assert "PROBLEM" in out
    assert "Encode     ok" in out
    assert err.startswith("rvrt: This installation has 3 problem(s): Weights, Model, Whole run;")


def test_broken_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr("rvrt_cli.media.ffmpeg.ffmpeg_executable", lambda: str(broken))
    findings = by_name()
    assert findings["ffmpeg"].state == "problem"
    assert "imageio-ffmpeg" in findings["ffmpeg"].advice


def test_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rvrt_cli.inference.device.installed", lambda package: False)
    monkeypatch.setattr("rvrt_cli.inference.device.openvino_gpus", lambda: ())
    monkeypatch.setattr("rvrt_cli.inference.device.onnx_gpu", lambda: None)
    finding = next(finding for finding in doctor.examine("bicubic") if finding.name == "Engine")
    assert finding.state == "problem"
    assert "pip install openvino" in finding.advice


def test_card_that_nothing_can_use(monkeypatch: pytest.MonkeyPatch, bench: doctor.Bench) -> None:
    for module in ("rvrt_cli.inference.device", "rvrt_cli.system.hardware"):
        monkeypatch.setattr(f"{module}.nvidia_cards", lambda: (Card("NVIDIA Test"),))
        monkeypatch.setattr(f"{module}.torch_cuda", lambda: 0)
        monkeypatch.setattr(f"{module}.onnx_gpu", lambda: None)
    finding = doctor.check_gpu(bench)
    assert (finding.state, finding.found) == (
        "warning",
        "NVIDIA Test is here, but nothing installed can use it",
    )
    assert "onnxruntime-gpu" in finding.advice
    assert "uninstall -y torch" in finding.advice  # installing over the CPU build would change nothing


def test_an_intel_gpu_is_named(monkeypatch: pytest.MonkeyPatch, bench: doctor.Bench) -> None:
    for module in ("rvrt_cli.inference.device", "rvrt_cli.system.hardware"):
        monkeypatch.setattr(f"{module}.openvino_gpus", lambda: (Card("Intel Test"),))
        monkeypatch.setattr(f"{module}.nvidia_cards", lambda: ())
        monkeypatch.setattr(f"{module}.ascend_cards", lambda: ())
        monkeypatch.setattr(f"{module}.onnx_gpu", lambda: None)
    finding = doctor.check_gpu(bench)
    assert finding.state == "ok"
    assert "Intel Test" in finding.found
    assert "--device gpu" in finding.found


def test_packages_that_overwrite_each_other(monkeypatch: pytest.MonkeyPatch, bench: doctor.Bench) -> None:
    monkeypatch.setattr(
        doctor, "_installed", lambda packages: dict.fromkeys(["onnxruntime", "onnxruntime-gpu"], "1.0")
    )
    finding = doctor.check_packages(bench)
    assert finding.state == "problem"
    assert "pip uninstall" in finding.advice


def test_another_mindspore(monkeypatch: pytest.MonkeyPatch, bench: doctor.Bench) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda packages: {"mindspore": "2.10.0"})
    finding = doctor.check_packages(bench)
    assert (finding.state, finding.advice) == ("warning", "pip install mindspore==2.8.0")
    assert "2.10.0" in finding.found


@pytest.mark.parametrize(("numpy", "state"), [("1.26.4", "ok"), ("2.1.0", "warning")])
def test_numpy_beside_mindspore(
    monkeypatch: pytest.MonkeyPatch, bench: doctor.Bench, numpy: str, state: str
) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda packages: {"mindspore": "2.8.0", "numpy": numpy})
    assert doctor.check_packages(bench).state == state
    monkeypatch.setattr(doctor, "_installed", lambda packages: {"numpy": numpy})
    assert doctor.check_packages(bench).state == "ok"


@pytest.mark.parametrize("preset", ["deblur", "denoise", "light-s"])
def test_weights_files_of_every_kind_run(preset: str, bench: doctor.Bench, tmp_path: Path) -> None:
    """Networks that keep the size, too, and the one that takes a noise map as its fourth channel."""
    pytest.importorskip("spox")
    path = tmp_path / "small.safetensors"
    config = small(PRESETS[preset])
    save_weights(path, Weights(config, initial_tensors(parameter_shapes(config), config, seed=1)))
    findings = by_name(str(path))
    size = f"{64 * config.upscale}x{48 * config.upscale}"
    assert findings["Weights"].state == findings["Model"].state == "ok"
    assert size in findings["Whole run"].found


def test_advice_for_weights_that_are_not_here(bench: doctor.Bench) -> None:
    bench.model = "rvrt"
    finding = doctor.check_weights(bench)
    assert finding.state == "problem"
    assert "rvrt weights fetch rvrt" in finding.found
    assert "reinstall" not in finding.advice


def test_cache_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bench: doctor.Bench
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("RVRT_CACHE", str(blocked / "cache"))
    finding = doctor.check_cache(bench)
    assert finding.state == "warning"
    assert "RVRT_CACHE" in finding.advice


def test_full_disk_and_little_memory(monkeypatch: pytest.MonkeyPatch, bench: doctor.Bench) -> None:
    usage = namedtuple("usage", "total used free")(10**12, 10**12 - 10**8, 10**8)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert doctor.check_disk(bench).state == "warning"
    monkeypatch.setattr("psutil.virtual_memory", lambda: namedtuple("memory", "available")(10**8))
    assert doctor.check_memory(bench).state == "warning"


def test_model_that_returns_rubbish(monkeypatch: pytest.MonkeyPatch, bench: doctor.Bench) -> None:
    import numpy as np

    from rvrt_cli.inference.restorer import BicubicRestorer

    class Black(BicubicRestorer):
        def __call__(self, lq: np.ndarray) -> np.ndarray:
            return np.zeros_like(super().__call__(lq))

    bench.weights_usable = True
    monkeypatch.setattr("rvrt_cli.inference.restorer.load_restorer", lambda *_, **__: Black())
    finding = doctor.check_model(bench)
    assert finding.state == "problem"
    assert "--backend" in finding.advice


def test_decoder_that_changes_colours(monkeypatch: pytest.MonkeyPatch, bench: doctor.Bench) -> None:
    assert doctor.check_encode(bench).state == "ok"
    assert doctor.check_decode(bench).state == "ok"
    real = doctor.gradients
    monkeypatch.setattr(doctor, "gradients", lambda: real()[..., ::-1])
    assert doctor.check_decode(bench).state == "problem"


def test_error_of_a_check_becomes_its_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: doctor.Bench) -> doctor.Finding:
        raise OSError("cannot load library")

    def refuse(_: doctor.Bench) -> doctor.Finding:
        raise DeviceError("no engine")

    monkeypatch.setattr(doctor, "CHECKS", (("One", fail, "do this"), ("Two", refuse, "do that")))
    one, two = doctor.examine()
    assert one == doctor.Finding("One", "problem", "OSError: cannot load library", "do this")
    assert two == doctor.Finding("Two", "problem", "no engine", "do that")
