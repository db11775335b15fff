"""What the tables of ``rvrt eval`` say: published figures, differences, long tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rvrt_cli.cli.eval_view import EvalView, describe_report, print_report
from rvrt_cli.evaluate.report import ClipScore, EvalReport, Total


def report(clips: int, published: bool = False) -> EvalReport:
    scores = []
    for index in range(clips):
        for model, gain in (("ours", 1.5), ("bicubic", 0.0)):
            scores.append(
                ClipScore(f"clip{index:03d}", model, 30 + index + gain, 0.9, (), (), 2.0, 1, 14, 100.0)
            )
    totals = tuple(
        Total(model, "CPU, fp32", psnr, 0.9, 2.0, 7.0, 100.0, None, None, None, None, None, None, None, None)
        for model, psnr in (("ours", 32.5), ("bicubic", 31.0))
    )
    if published:
        totals = (replace(totals[0], published_psnr=38.12, published_source="the paper"), totals[1])
    return EvalReport(
        "Vimeo-90K-T", "how it is compared.", "made", "whole clips", clips, 0, tuple(scores), totals
    )


def row(text: str, name: str) -> list[str]:
    return [
        cell.strip()
        for line in text.splitlines()
        if line.startswith(f"│ {name}")
        for cell in line.strip("│").split("│")
    ]


def test_differences_and_published_figures(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report(2, published=True))
    out = capsys.readouterr().out
    assert row(out, "clip001")[:7] == ["clip001", "32.50", "0.9000", "31.00", "0.9000", "+1.50", "+0.0000"]
    assert row(out, "published")[:4] == ["published", "38.12", "-", "-"]
    assert "published 38.12 (the paper)" in out


def test_long_tables_show_the_worst_clips_and_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report(75))
    out = capsys.readouterr().out
    assert row(out, "clip000")
    assert not row(out, "clip074")
    assert "15 more are in the mean" in out


def test_device_memory_and_resumed_clips_are_told() -> None:
    whole = report(1)
    whole = replace(
        whole, resumed_clips=3, totals=(replace(whole.totals[0], peak_device_mib=512.0), whole.totals[1])
    )
    text = "\n".join(describe_report(whole))
    assert "512 MiB on the device" in text
    assert "3 clips were finished by an earlier run" in text


def test_progress_is_silent_on_request_and_plain_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with EvalView(silent=True) as view:
        view.show_clip(1, 3, ())
    assert capsys.readouterr().err == ""
    with EvalView(silent=False) as view:
        view.show_clip(1, 3, ())
    assert capsys.readouterr().err == "1/3 1 clips were finished before\n"


@pytest.mark.parametrize("silent", [False, True])
def test_the_engine_and_why_it_was_chosen_are_told(capsys: pytest.CaptureFixture[str], silent: bool) -> None:
    with EvalView(silent) as view:
        view.show_engine("light-s", "OpenVINO 2026.1 on CPU, fp32: the fastest engine for a CPU")
    line = "light-s: OpenVINO 2026.1 on CPU, fp32: the fastest engine for a CPU\n"
    assert capsys.readouterr().err == ("" if silent else line)
