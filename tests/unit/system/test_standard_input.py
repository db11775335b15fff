"""Standard input: bytes as they come, and readers that can leave while nothing comes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rvrt_cli.errors import InterruptedRun
from rvrt_cli.system import standard_input as module
from rvrt_cli.system.standard_input import BLOCK_BYTES, BLOCKS_AHEAD, StandardInput

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, (BLOCKS_AHEAD + 2) * BLOCK_BYTES + 7])
def test_all_bytes_come_in_order_whatever_the_reads(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    reader = StandardInput(io.BytesIO(data))
    parts = [reader.read(count) for count in (1, 5, 0, BLOCK_BYTES, 3, size)]
    assert b"".join(parts) == data
    assert reader.read(1) == b""
    assert reader.ended


def test_a_short_pipe_write_is_waited_for() -> None:
    out, into = os.pipe()
    with open(out, "rb") as stream, open(into, "wb", buffering=0) as pipe:
        reader = StandardInput(stream)
        pipe.write(b"ab")
        threading.Timer(0.05, pipe.write, (b"cd",)).start()
        assert reader.read(4) == b"abcd"


def test_a_pipe_that_its_writer_made_non_blocking_is_waited_for() -> None:
    out, into = os.pipe()
    os.set_blocking(out, False)
    with open(out, "rb") as stream, open(into, "wb", buffering=0) as pipe:
        reader = StandardInput(stream)
        time.sleep(0.02)
        pipe.write(b"late")
        assert reader.read(4) == b"late"


def test_a_reader_leaves_while_nothing_comes() -> None:
    out, into = os.pipe()
    stream = open(out, "rb")  # noqa: SIM115 - closed below, when the thread that reads it has ended
    reader = StandardInput(stream)
    os.write(into, b"abc")
    assert reader.read(2) == b"ab"
    threading.Timer(0.05, reader.give_up).start()
    began = time.monotonic()
    with pytest.raises(InterruptedRun, match="cannot be read again"):
        reader.read(4)
    assert time.monotonic() - began < 5
    os.close(into)
    for thread in threading.enumerate():
        if thread.name == "standard input":
            thread.join(5)
    stream.close()


def test_an_error_of_the_system_reaches_the_reader() -> None:
    class Broken(io.RawIOBase):
        def read(self, count: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        StandardInput(Broken()).read(1)  # type: ignore[arg-type]


def test_who_asks_again_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"header\nframe")))
    assert module.standard_input().read(7) == b"header\n"
    assert module.standard_input().read(5) == b"frame"
    assert module.give_up_standard_input()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert module.standard_input().read(1) == b""
    assert not module.give_up_standard_input(), "nobody waits for what is at its end"


def test_python_ends_quietly_while_a_thread_waits_for_input() -> None:
    """A thread inside ``sys.stdin.buffer.read`` makes Python abort at its end: it holds that object's lock."""
    code = (
        "import threading, time; from rvrt_cli.system.standard_input import standard_input\n"
        "threading.Thread(target=standard_input().read, args=(9,), daemon=True).start(); time.sleep(0.2); raise SystemExit(130)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdin is not None
    assert process.stderr is not None
    with process.stdin, process.stderr:
        assert process.wait(20) == 130
        assert process.stderr.read() == b""
