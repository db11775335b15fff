"""Every file of the shared media folder through the command ``rvrt upscale``: exit code, sentence, output, leftovers."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import pytest
from test_media_files import EXPECTED, Refused, Works

from rvrt_cli.cli import app as cli
from rvrt_cli.errors import ExitCode

ARGUMENTS = ("--model", "bicubic", "--width", "128", "--crf", "30")


@pytest.mark.parametrize("name", EXPECTED)
def test_ends_in_an_output_or_one_sentence(
    name: str,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expectation = EXPECTED[name]
    output = tmp_path / (expectation.output if isinstance(expectation, Works) else "out.mkv")
    # Large pictures are expensive to enlarge; what happens to all their frames is tested without the command.
    frames = 1 if isinstance(expectation, Works) and expectation.factor <= 0.25 else 4
    source = shared / "data" / "media" / name
    monkeypatch.setattr(
        sys, "argv", ["rvrt", "upscale", str(source), str(output), *ARGUMENTS, "--frames", str(frames)]
    )
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    if isinstance(expectation, Refused):
        assert code == ExitCode.INPUT, err
        *_, sentence = err.splitlines()
        assert sentence.startswith("rvrt: ")
        assert expectation.words in sentence
        assert list(tmp_path.iterdir()) == []
        return
    assert code == 0, err
    assert "verified" in err
    assert list(tmp_path.iterdir()) == [output]
    with av.open(str(output)) as container:
        film = next(stream for stream in container.streams.video if 128 in (stream.width, stream.height))
        assert len(list(container.decode(film))) == min(frames, expectation.frames)
