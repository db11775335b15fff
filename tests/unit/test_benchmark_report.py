"""``benchmarks/``: the rows that the parts print, and ``report.py``'s one report of them, failures included."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """One of the scripts as a module; it finds the scripts beside it as it does when it is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, f"benchmark_{name}", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The report, with two parts of its own: one that prints a row and one that fails."""
    module = load("report", monkeypatch)
    (tmp_path / "model.py").write_text('print(\'{"engine": "one", "ms": 3}\')\n')
    (tmp_path / "upscale.py").write_text("raise SystemExit('no clip')\n")
    monkeypatch.setattr(module, "HERE", tmp_path)
    return module


def test_report_holds_machine_rows_and_failures(
    report: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["report.py", "--out", str(out), "--only", "model", "upscale", "train"])
    assert report.main() == 1
    assert "failed: upscale" in capsys.readouterr().out
    written = json.loads((out / "report.json").read_text())
    assert written["machine"]["cores"] >= 1
    assert written["machine"]["versions"]["numpy"]
    model, upscale = written["parts"]
    assert model["rows"] == [{"engine": "one", "ms": 3}]
    assert len(model["load"]) == 2
    assert (upscale["exit_code"], upscale["error"]) == (1, "no clip\n")
    text = (out / "report.md").read_text()
    assert "| one | 3 |" in text
    assert "Failed with exit code 1" in text


def test_rows_keep_their_numbers(report: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "import sys\n"
        'assert sys.argv[1:] == ["--quick", "--json"]\n'
        'print(\'{"engine": "one", "s": 0.123456, "ratio": 1.5}\')\n'
        "sys.stderr.write('one did not run')\n"
    )
    part = report.run_part("model", report.part_arguments("model", None, [], True), 30)
    assert part.rows == [{"engine": "one", "s": 0.123456, "ratio": 1.5}]
    assert (part.exit_code, part.error) == (0, "one did not run")
    assert "| one | 0.1235 | 1.5 |" in report.markdown(report.machine(), [part])


def test_a_part_that_is_stopped_keeps_what_it_printed(report: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "import subprocess, sys, time\n"
        'print(\'{"a": 1}\\n{"a"\', flush=True)\n'
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\ntime.sleep(60)\n"
    )
    part = report.run_part("model", [], 2)
    assert part.exit_code == 124
    assert part.rows == [{"a": 1}]
    assert part.error.endswith("stopped after 2 s")
    assert part.seconds < 30


def test_quick_parts_take_less(report: ModuleType, tmp_path: Path) -> None:
    for name in report.PARTS:
        assert report.part_arguments(name, tmp_path, ["light-s"], True) != report.part_arguments(
            name, tmp_path, ["light-s"], False
        )
        options = {word for word in report.QUICK[name] if word.startswith("--")}
        assert options <= set((BENCHMARKS / f"{name}.py").read_text(encoding="utf-8").split('"'))


def test_what_is_no_row_is_passed_over(report: ModuleType) -> None:
    assert report.json_rows('a warning\n{"x": 1}\n[2]\n3\n\n{"x": 2}\n{"x"') == [{"x": 1}, {"x": 2}]


def test_markdown_of_rows_with_other_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load("rows", monkeypatch)
    found = [{"engine": "one", "s": 0.123456}, {"engine": "two", "s": None, "of": {"a": 1.0, "b": 2}}]
    assert rows.markdown_table(found).splitlines() == [
        "| engine | s | of |",
        "| --- | --- | --- |",
        "| one | 0.1235 |  |",
        "| two |  | a 1, b 2 |",
    ]


def test_rows_are_printed_as_json_or_as_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = load("rows", monkeypatch)
    found = [{"engine": "one", "s": 0.5}, {"engine": "two", "error": "did not run"}]
    assert rows.print_rows(found, True) == 1
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == found
    assert rows.print_rows(found, False) == 1
    assert capsys.readouterr().out.splitlines()[2:] == ["| one | 0.5 |", "| two | did not run |"]
    assert rows.print_rows(found[:1], True) == 0


def test_train_rows_compare_with_the_bare_step(monkeypatch: pytest.MonkeyPatch) -> None:
    train = load("train", monkeypatch)
    measured = {
        "bare": {"step_s": 1.0, "cpu_s": 1.0, "memory_mib": 100.0},
        "whole": {
            "step_s": 1.5, "cpu_s": 1.25, "memory_mib": 150.0, "samples_per_s": 2.0, "data_wait": 0.1,
        },
    }  # fmt: skip

    def measure(part: str, backend: str, data: list[str]) -> dict[str, float]:
        if backend == "mindspore":
            raise RuntimeError("bare failed with exit code 5")
        return measured[part]

    monkeypatch.setattr(train, "measure", measure)
    options = argparse.Namespace(
        model="light-s", batch=1, frames=2, patch=64, data=["clips"], no_video=True, backend=None
    )
    torch, mindspore = train.measure_all(options)
    assert (torch["ratio"], torch["cpu_ratio"], torch["data"]) == (1.5, 1.25, "as given")
    assert mindspore["error"] == "bare failed with exit code 5"


def test_preprocess_rows_compare_with_the_faster_port(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # the script sets them; here they go back after the test
    preprocess = load("preprocess", monkeypatch)
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    found = list(preprocess.method_rows("64×48", picture, 0.01))
    assert [row["method"] for row in found] == list(preprocess.METHODS)
    assert min(row["ratio"] for row in found if row["method"].startswith("NumPy port")) <= 1
    assert max(row["ratio"] for row in found if row["method"].startswith("NumPy port")) == 1
    assert {row["method"] for row in preprocess.scale_rows("64×48", picture, 0.01)} == {
        "decode the PNG", "encode the low quality",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["model", "upscale", "preprocess", "train", "quality", "report"])
def test_help(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert name == "report" or "--json" in done.stdout
