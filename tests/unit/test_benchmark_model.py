"""``benchmarks/model.py``: what takes turns with what, ratios, failures. Nothing is timed."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "model.py"


@pytest.fixture(scope="module")
def model() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_preset_at_a_time_and_the_chain_with_the_first(model: ModuleType) -> None:
    options = argparse.Namespace(
        presets=["light-s", "chain", "rvrt"], engines=["openvino", "mindspore"], precisions=["fp32", "mixed"]
    )
    first, second = model.groups(options)
    assert [str(runner) for runner in first] == [
        "light-s on openvino in fp32",
        "light-s on openvino in mixed",
        "light-s on mindspore in fp32",
        "light-s on mindspore in mixed",
        "chain on openvino in fp32",
    ]
    assert {runner.preset for runner in second} == {"rvrt"}
    options.presets = ["chain"]
    assert model.groups(options) == [[("chain", "openvino", "fp32")]]


def test_ratios(model: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(frames=6)

    def row(preset: str, engine: str, seconds: float) -> dict[str, object]:
        figures = {"wall_s": seconds, "cpu_s": seconds, "peak_mib": 300.0, "before_mib": 100.0}
        return model.summary(model.Runner(preset, engine, "fp32"), [figures], options)

    rows = [row("light-s", "openvino", 2.0), row("light-s", "torch", 3.0), row("chain", "openvino", 0.5)]
    rows.append(model.summary(model.Runner("rvrt", "torch", "fp32"), [], options))
    model.add_ratios(rows)
    assert [entry.get("ratio") for entry in rows] == [1.0, 1.5, 1.0, None]
    assert [entry.get("times_chain") for entry in rows] == [4.0, None, 1.0, None]
    model.report(rows, True)
    assert [json.loads(line)["preset"] for line in capsys.readouterr().out.splitlines()] == [
        "light-s", "light-s", "chain", "rvrt",
    ]  # fmt: skip
    model.report(rows, False)
    assert "did not run" in capsys.readouterr().out.splitlines()[-1]


def test_a_worker_that_fails_is_a_row_and_exit_code_1(
    model: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(model, "start", lambda runner, options: model.subprocess.Popen(
        [sys.executable, "-c", "raise SystemExit(3)"], stdin=-1, stdout=-1, text=True
    ))  # fmt: skip
    monkeypatch.setattr(
        sys, "argv", ["model.py", "--presets", "light-s", "--engines", "torch", "--json", "--rounds", "1"]
    )
    assert model.main() == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["error"] for line in out.splitlines()] == ["did not run"] * 2
    assert "light-s on torch in mixed did not run" in err
