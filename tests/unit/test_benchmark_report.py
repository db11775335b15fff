"""``benchmarks/report.py``: one report of whatever the parts print, failures included."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "report.py"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script as a module, with two parts of its own: one that prints a table and one that fails."""
    spec = importlib.util.spec_from_file_location("benchmark_report", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_report", module)
    spec.loader.exec_module(module)
    (tmp_path / "model.py").write_text(
        "print('| engine | ms |')\nprint('|---|---:|')\nprint('| one | 3 |')\n"
    )
    (tmp_path / "upscale.py").write_text("raise SystemExit('no clip')\n")
    monkeypatch.setattr(module, "HERE", tmp_path)
    return module


def test_report_holds_machine_tables_and_failures(
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
    assert model["tables"] == [[{"engine": "one", "ms": "3"}]]
    assert (upscale["exit_code"], upscale["error"]) == (1, "no clip\n")
    text = (out / "report.md").read_text()
    assert "| one | 3 |" in text
    assert "Failed with exit code 1" in text


def test_json_rows_keep_their_numbers(report: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "import sys\n"
        "assert sys.argv[1:] == ['--quick', \"--json\"]\n"
        'print(\'{"engine": "one", "s": 0.123456, "ratio": 1.5}\')\n'
        "sys.stderr.write('one did not run')\n"
    )
    part = report.run_part("model", report.part_arguments("model", None, [], True), 30)
    assert part.tables == [[{"engine": "one", "s": 0.123456, "ratio": 1.5}]]
    assert (part.exit_code, part.error) == (0, "one did not run")
    assert "| one | 0.1235 | 1.5 |" in part.output


def test_a_part_that_is_stopped_keeps_what_it_printed(report: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "import subprocess, sys, time\n"
        "print('| a |', flush=True)\nprint('|---|', flush=True)\nprint('| 1 |', flush=True)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\ntime.sleep(60)\n"
    )
    part = report.run_part("model", [], 2)
    assert part.exit_code == 124
    assert part.tables == [[{"a": "1"}]]
    assert part.error.endswith("stopped after 2 s")
    assert part.seconds < 30


def test_quick_parts_take_less(report: ModuleType, tmp_path: Path) -> None:
    for name in report.PARTS:
        assert report.part_arguments(name, tmp_path, ["light-s"], True) != report.part_arguments(
            name, tmp_path, ["light-s"], False
        )
        options = {word for word in report.QUICK[name] if word.startswith("--")}
        assert options <= set((SCRIPT.parent / f"{name}.py").read_text(encoding="utf-8").split('"'))


def test_tables(report: ModuleType) -> None:
    text = "# a\n| x | y |\n|---|:-:|\n| 1 | 2 |\n| 3 | 4 |\n\n| z |\n|---|\n| 5 |\n"
    assert report.tables(text) == [[{"x": "1", "y": "2"}, {"x": "3", "y": "4"}], [{"z": "5"}]]


def test_json_lines_become_a_table(report: ModuleType) -> None:
    text = report.as_markdown('{"engine": "one", "s": 0.123456}\n{"engine": "two", "s": 2.0, "note": "x"}\n')
    assert report.tables(text) == [
        [{"engine": "one", "s": "0.1235", "note": ""}, {"engine": "two", "s": "2", "note": "x"}]
    ]
    assert report.as_markdown("plain\n{}\n") == "plain\n{}\n"


def test_parts_exist() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    for name in ("model", "upscale", "preprocess", "train", "quality"):
        assert f'"{name}"' in text
        assert (SCRIPT.parent / f"{name}.py").is_file()
