"""Standard streams that are closed from the start, or that nobody reads any more."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rvrt_cli.system.standard_streams import ToleratedStderr

REPOSITORY = Path(__file__).resolve().parents[3]

CODE = """
import os, subprocess, sys
from rvrt_cli.system.standard_streams import fill_closed, was_closed
fill_closed()
for stream in (sys.stdout, sys.stderr):
    stream.write("said\\n"); stream.flush()
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
assert file > 2, file
child = "import os; [os.fstat(number) for number in (0, 1, 2)]; assert os.read(0, 1) == b''"
subprocess.run([sys.executable, "-c", child], check=True)
closed = [name for name in ("stdin", "stdout", "stderr") if was_closed(name)]
os.write(file, " ".join(closed).encode())
"""


@pytest.mark.parametrize(
    ("redirections", "closed"),
    [
        ("</dev/null", []),
        ("<&-", ["stdin"]),
        ("</dev/null >&-", ["stdout"]),
        ("</dev/null 2>&-", ["stderr"]),
        ("<&- >&- 2>&-", ["stdin", "stdout", "stderr"]),
    ],
)
def test_closed_streams_lead_nowhere_and_no_file_takes_their_place(
    redirections: str, closed: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "o"
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" "$2" {redirections}', sys.executable, CODE, str(output)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    assert output.read_text().split() == closed
    assert done.stdout == (b"" if "stdout" in closed else b"said\n")
    assert done.stderr == (b"" if "stderr" in closed else b"said\n")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC])
def test_a_message_that_cannot_be_written_is_dropped(number: int) -> None:
    class Lost(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(number, os.strerror(number))

        def flush(self) -> None:
            raise OSError(number, os.strerror(number))

    stream = ToleratedStderr(Lost())
    assert stream.write("words") == 5
    stream.writelines(["a", "b"])
    stream.flush()
    assert not stream.isatty()


def test_what_follows_a_lost_reader_goes_to_the_null_device() -> None:
    """Also what libraries write to the descriptor, which would end the process with SIGPIPE or an error."""
    out, into = os.pipe()
    os.close(out)
    with open(into, "w") as file:
        ToleratedStderr(file).write("x" * (1 << 20))
        os.write(into, b"a library's words")
