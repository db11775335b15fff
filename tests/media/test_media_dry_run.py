"""What the finished file would fail at is found before the first frame."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rvrt_cli.cli import app as cli
from rvrt_cli.errors import ExitCode, OutputError, VerifyError
from rvrt_cli.media import (
    EncodeOptions,
    dry_run_output,
    plan_mux,
    probe,
    resolve_encoding,
    run_ffmpeg,
    verify,
)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rehearsal") / "film.mkv"
    arguments = ["-f", "lavfi", "-i", "testsrc2=size=32x24:rate=25:duration=0.4", "-f", "lavfi", "-i", "sine=duration=0.4"]  # fmt: skip
    run_ffmpeg(["-v", "error", *arguments, "-c:v", "libx264", str(path)], doing="making a film")
    return path


def test_an_encoder_that_refuses_is_noticed(film: Path, tmp_path: Path) -> None:
    source = probe(film)
    settings = resolve_encoding(source, EncodeOptions(codec="vp9"), tmp_path / "o.mkv", 128, 96)
    settings = replace(settings, pix_fmt="yuva444p", has_alpha=True)
    with pytest.raises(OutputError, match=r"libvpx-vp9 refused 128x96 yuva444p"):
        dry_run_output(source, settings, plan_mux(source, settings))


def test_a_container_that_changes_something_is_noticed(film: Path, tmp_path: Path) -> None:
    source = probe(film)
    settings = resolve_encoding(source, EncodeOptions(), tmp_path / "o.mkv", 128, 96)
    plan = plan_mux(source, settings)
    dry_run_output(source, settings, plan)
    wrong = replace(plan, streams=(plan.streams[0], replace(plan.streams[1], codec="dts")))
    with pytest.raises(VerifyError, match=r"rehearsal .* its streams are .*"):
        dry_run_output(source, settings, wrong)


def test_the_command_fails_before_the_first_frame(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verify, "_compare_video", lambda result, expected, plan: ["it is blue"])
    monkeypatch.setattr(
        sys, "argv", ["rvrt", "upscale", str(film), str(tmp_path / "o.mp4"), "--model", "bicubic"]
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == ExitCode.VERIFY
    assert (
        "failed before the run began: The output is not what was promised: it is blue"
        in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []
