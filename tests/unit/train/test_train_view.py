"""What a person sees of a run: lines, the live panel, the closing table."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from rvrt_cli.cli.train_view import TrainView
from rvrt_cli.system.standard_streams import ToleratedStderr
from rvrt_cli.train.batches import SourceSpec
from rvrt_cli.train.events import Finished, Noted, Started, Stepped, Summary, Validated
from rvrt_cli.train.logs import StepRow
from rvrt_cli.train.recipe import Recipe, Stage
from rvrt_cli.train.settings import RunSettings
from rvrt_cli.train.stopping import StopRequest
from rvrt_cli.train.validate import ValidationResult

RECIPE = Recipe(stages=(Stage(20, 4, 6, 64),))
SETTINGS = RunSettings(Path("run"), "light-s", (SourceSpec("films"),), backend_reason="which is installed")
ROW = StepRow(3, 0.04, 2e-4, 1.5, 2.0, 2.0, 0.031, 640.0, 0)
SUMMARY = Summary(20, 61.0, 2.0, 0.031, 640.0, 31.25, "PyTorch on CPU", Path("run/last.safetensors"), 8, 2)


def _view(terminal: bool) -> tuple[TrainView, Console]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, highlight=False)
    return TrainView(SETTINGS, RECIPE, console), console


def _shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_without_a_terminal() -> None:
    view, console = _view(False)
    with view:
        view.show(Started("PyTorch on CPU", 2, 20, "films", 30.5, ("lr 0.001 instead of 0.0002",)))
        view.show(Stepped(3, 0.05, 2e-4, 2.5, 3700.0))
        assert "loss" not in _shown(console)
        view.show(Stepped(4, 0.04, 2e-4, 2.5, 3661.0, ROW))
        view.show(Noted("smaller tiles are tried"))
        view.show(Finished(SUMMARY))
    text = _shown(console)
    for part in (
        "backend: PyTorch, which is installed", "step 2 of 20: going on", "lr 0.001 instead of 0.0002", "data wait 3.1%",
        "ETA 1:01:01", "smaller tiles are tried", "8 × PyTorch on CPU, on 2 machines", "31.250 dB", "1:01",
    ):  # fmt: skip
        assert part in text


def test_a_run_that_is_complete_says_so() -> None:
    view, console = _view(False)
    view.show(Started("PyTorch on CPU", 20, 20, "films", 30.5))
    assert "step 20 of 20: the run is complete; give more --steps" in _shown(console)


def test_the_panel_tells_that_a_stop_was_heard() -> None:
    stop = StopRequest()
    console = Console(file=io.StringIO(), force_terminal=True, width=100, highlight=False)
    view = TrainView(SETTINGS, RECIPE, console, stop)

    def panel() -> str:
        with console.capture() as capture:
            console.print(view.panel())
        return capture.get()

    assert "saving after this step" not in panel()
    stop.reason = "SIGINT"
    assert "SIGINT: saving after this step" in panel()


def test_the_wait_for_a_compiler_is_explained() -> None:
    for settings, recipe in (
        (replace(SETTINGS, backend="mindspore"), RECIPE),
        (SETTINGS, replace(RECIPE, compile=True)),
    ):
        console = Console(file=io.StringIO(), width=100, highlight=False)
        TrainView(settings, recipe, console).show(Started("any", 0, 20, "films"))
        assert "compiling the network" in _shown(console)


def test_the_panel_shows_every_step_and_what_is_known_from_before() -> None:
    view, console = _view(True)

    def panel() -> str:
        with console.capture() as capture:
            console.print(view.panel())
        return capture.get()

    with view:
        view.show(Started("PyTorch on CPU", 2, 20, "films", 30.5))
        assert "30.500 dB" in panel()
        view.show(Stepped(3, 0.05, 2e-4, 2.5, 3700.0))
        first = panel()
        assert "step 3 of 20" in first
        assert "0.05000" in first
        view.show(Validated(3, (ValidationResult("davis", 31.0, 29.0, ()),), 31.0, True))
        second = panel()
        assert "davis" in second
        assert "31.000 dB" in second


@pytest.mark.skipif(os.name == "nt", reason="a closed pipe is another error there")
def test_a_reader_that_went_away_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as broken:
        monkeypatch.setattr(sys, "stderr", ToleratedStderr(broken))  # as the command line has it
        with TrainView(replace(SETTINGS, backend_reason=""), RECIPE) as view:
            for step in range(1, 4):
                view.show(Stepped(step, 0.05, 2e-4, 2.5, 3700.0, ROW))
            view.show(Finished(SUMMARY))
        broken.write("the end\n")
