"""Progress: a terminal, a pipe, JSON, narrow and colourless terminals, an ASCII locale."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from rvrt_cli.cli.progress import (
    View,
    describe_progress,
    describe_report,
    describe_start,
    format_fps,
    format_size,
    format_time,
)
from rvrt_cli.upscale.events import (
    Event,
    Finishing,
    MemoryReduced,
    Notice,
    Progress,
    Report,
    SegmentDone,
    Started,
)

STARTED = Started(
    "in.mp4", "out.mp4", 100, 0, 160, 90, 640, 360, "bicubic", "NumPy on CPU", 16, 4, "whole frames", 96
)
STAGES = {"decode": 0.031, "model": 0.954, "encode": 0.123}
REPORT = Report(
    "in.mp4",
    "out.mp4",
    100,
    40,
    3,
    2,
    160,
    90,
    640,
    360,
    "bicubic",
    "NumPy on CPU",
    16,
    4,
    "whole frames",
    61.0,
    0.98,
    STAGES,
    0.97,
    321.0,
    1234567,
    True,
    ("a note",),
)


def progress(done: int, elapsed: float) -> Progress:
    return Progress(done, 100, elapsed, done / elapsed, (100 - done) * elapsed / done, STAGES)


def play(view: View) -> None:
    with view:
        view(STARTED)
        view(Notice("mind the gap", "warning"))
        for second in range(1, 31):
            view(progress(second, float(second)))
        view(SegmentDone(0, 30))
        view(MemoryReduced(8, "64 px tiles, 16 px overlap", "NumPy"))
        view(Finishing("joining"))
        view(REPORT)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_plain_periodic_lines():
    out, err = io.StringIO(), io.StringIO()
    play(View(out=out, err=err))
    lines = err.getvalue().splitlines()
    assert out.getvalue() == ""
    assert "\x1b" not in err.getvalue()
    assert "\r" not in err.getvalue()
    assert len([line for line in lines if "ETA" in line]) == 3
    assert (
        "10/100 frames (10 %), 1.00 fps, elapsed 0:10, ETA 1:30; decode 3 %, model 95 %, encode 12 %" in lines
    )
    assert "Warning: mind the gap" in lines
    assert any("out.mp4: 100 frames, 640x360, 1.2 MB, verified." in line for line in lines)
    assert "2 damaged frames or packets were concealed by the decoder or gave no picture." in lines
    assert "a note" in lines


@pytest.mark.parametrize(("count", "says"), [(0, None), (1, "1 damaged frame or packet was concealed")])
def test_damage_is_counted_in_good_english(count, says):
    lines = [line for line in describe_report(replace(REPORT, corrupt_frames=count)) if "damaged" in line]
    assert len(lines) == (says is not None)
    assert all(line.startswith(str(says)) for line in lines)


def test_everything_is_ascii():
    err = io.StringIO()
    play(View(out=io.StringIO(), err=err, verbose=True))
    err.getvalue().encode("ascii")


def test_quiet_says_nothing():
    out, err = io.StringIO(), io.StringIO()
    play(View(out=out, err=err, quiet=True))
    assert out.getvalue() == err.getvalue() == ""


def test_verbose_names_segments():
    err = io.StringIO()
    play(View(out=io.StringIO(), err=err, verbose=True))
    assert "continues after frame 30" in err.getvalue()


def test_json_is_one_object_a_line_and_ends_with_the_report():
    out, err = io.StringIO(), io.StringIO()
    play(View(out=out, err=err, as_json=True))
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert err.getvalue() == ""
    assert events[0]["event"] == "started"
    assert events[-1]["event"] == "report"
    assert events[-1]["stages"] == STAGES
    assert {"notice", "progress", "segment_done", "memory_reduced", "finishing"} <= {
        event["event"] for event in events
    }
    assert len([event for event in events if event["event"] == "progress"]) <= 31


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_a_terminal_of_any_width(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    err = Terminal()
    view = View(out=io.StringIO(), err=err)
    with view:
        view(STARTED)
        view(progress(50, 10.0))
        view._bar._live.refresh()
    assert "50/100" in err.getvalue()
    if columns >= 40:
        assert "5.00 fps" in err.getvalue()
        assert "0:10" in err.getvalue()
        assert "decode 3 %" in err.getvalue()
    if columns >= 80:
        assert "model 95 %" in err.getvalue()
        assert "ETA 0:10" in err.getvalue()


def test_no_color(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    err = Terminal()
    view = View(out=io.StringIO(), err=err)
    with view:
        view(STARTED)
        view(progress(50, 10.0))
        view._bar._live.refresh()
    assert "\x1b[3" not in err.getvalue().replace("\x1b[3J", "")
    assert "38;" not in err.getvalue()


def test_an_ascii_terminal_gets_ascii(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")

    class AsciiTerminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    raw = io.BytesIO()
    err = AsciiTerminal(raw, encoding="ascii", errors="strict")
    view = View(out=io.StringIO(), err=err)
    with view:
        view(STARTED)
        view(progress(50, 10.0))
        view._bar._live.refresh()
        view.say("a line with \N{LATIN SMALL LETTER E WITH ACUTE}")
    err.flush()
    assert b"50/100" in raw.getvalue()


def test_unknown_totals():
    line = describe_progress(Progress(7, None, 3.0, 2.3, None, STAGES))
    assert line.startswith("7 frames, 2.30 fps, elapsed 0:03, ETA -")


def test_numbers():
    assert [format_time(s) for s in (None, 5, 65, 3723)] == ["-", "0:05", "1:05", "1:02:03"]
    assert [format_size(s) for s in (12, 5300, 12_340_000, 4_500_000_000)] == [
        "12 B",
        "5.3 KB",
        "12.3 MB",
        "4.5 GB",
    ]
    assert [format_fps(f) for f in (0.123, 12.34, 123.4)] == ["0.12", "12.3", "123"]


def test_the_start_says_why_the_engine_was_chosen():
    line = describe_start(replace(STARTED, frames_total=1, reason="the fastest here"))
    assert line[0].startswith("in.mp4: 1 frame, ")
    assert "(NumPy on CPU: the fastest here)" in line[1]


def test_nothing_done_yet_says_what_goes_on():
    event = Progress(0, 100, 12.0, 0.0, None, STAGES, "preparing the model for 16 frames of 216x120")
    assert describe_progress(event) == "Preparing the model for 16 frames of 216x120 (0:12)"
    terminal = Terminal()
    with View(err=terminal) as view:
        view(STARTED)
        view(event)
        view._bar._live.refresh()
    assert "Preparing the model for 16 frames" in terminal.getvalue()


def test_skipping_to_where_an_earlier_run_stopped():
    event = Progress(1000, 2000, 12.0, 0.0, None, STAGES, "skipping to frame 1000", 0.25)
    assert describe_progress(event) == "Skipping to frame 1000: 25 %, 0:36 to go (0:12)"
    assert describe_progress(replace(event, doing_share=0.0)).endswith("0 %, - to go (0:12)")
    assert "40 frames done before" not in describe_report(replace(REPORT, frames_resumed=0))[1]
    assert "(40 frames done before)," in describe_report(replace(REPORT, skipped_s=0.4))[1]
    assert "(40 frames done before, skipped in 0:20)," in describe_report(replace(REPORT, skipped_s=20.0))[1]


def test_what_goes_on_fits_narrow_terminals_with_its_time(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with View(err=terminal) as view:
        view(STARTED)
        view(
            Progress(
                0, 100, 12.0, 0.0, None, STAGES, "preparing the model and upscaling a window of 24 frames"
            )
        )
        view._bar._live.refresh()
    assert "(0:12)" in terminal.getvalue()


def test_stopping_says_after_which_frame():
    def stop(*events: Event) -> str:
        err = io.StringIO()
        with View(err=err) as view:
            for event in events:
                view(event)
            view.tell_stopping()
        return err.getvalue().splitlines()[-1]

    started = replace(STARTED, segment_frames=24)
    assert stop(started, progress(30, 1.0)).startswith("Stopping after frame 48, when the current segment is")
    assert stop(started, progress(99, 1.0)).startswith("Stopping after frame 100, ")
    assert stop(replace(started, frames_total=None), progress(99, 1.0)).startswith(
        "Stopping after frame 120,"
    )
    skipping = Progress(48, 100, 1.0, 0.0, None, STAGES, "skipping to frame 48", 0.5)
    assert stop(replace(started, frames_done=48), skipping) == "Stopping."
    pipe = replace(started, can_continue=False)
    assert stop(pipe, progress(30, 1.0)) == "Stopping."
    assert stop(started, Finishing("joining")) == "Stopping; press Ctrl+C again to stop at once."
