"""``rvrt doctor``: a sound installation passes, each kind of damage is named with advice."""

from __future__ import annotations

import json
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from rvrt_cli import doctor
from rvrt_cli.cli import app as cli
from rvrt_cli.errors import DeviceError, ExitCode
from rvrt_cli.weights.find import shipped


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RVRT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bench(tmp_path: Path) -> doctor.Bench:
    return doctor.Bench(tmp_path, "bicubic")


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
    monkeypatch.setattr("rvrt_cli.device.installed", lambda package: False)
    monkeypatch.setattr("rvrt_cli.device.openvino_devices", lambda: ())
    monkeypatch.setattr("rvrt_cli.device.onnx_providers", lambda: ())
    finding = next(finding for finding in doctor.examine("bicubic") if finding.name == "Engine")
    assert finding.state == "problem"
    assert "pip install openvino" in finding.advice


def test_card_that_nothing_can_use(monkeypatch: pytest.MonkeyPatch, bench: doctor.Bench) -> None:
    monkeypatch.setattr("rvrt_cli.device.nvidia_driver", lambda: True)
    monkeypatch.setattr("rvrt_cli.device.torch_cuda", lambda: False)
    monkeypatch.setattr("rvrt_cli.device.onnx_providers", lambda: ("cpu",))
    finding = doctor.check_gpu(bench)
    assert finding.state == "warning"
    assert "onnxruntime-gpu" in finding.advice


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

    from rvrt_cli.restorer import BicubicRestorer

    class Black(BicubicRestorer):
        def __call__(self, lq: np.ndarray) -> np.ndarray:
            return np.zeros_like(super().__call__(lq))

    bench.weights_usable = True
    monkeypatch.setattr("rvrt_cli.restorer.load_restorer", lambda *_, **__: Black())
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
