"""Kill ``rvrt upscale`` at random moments, continue, compare: python benchmarks/kills.py --kills 100

Films of several kinds (a strobe, cuts, uneven times, sound with subtitles) are upscaled; each run is killed with SIGKILL
once to three times, at any moment between its start and its end, and then continued. Counted is how often the continued run ends
in the bytes of the run that nobody killed, and how often a finished segment was made again: written twice into the journal, or its
file written anew. POSIX only: each run is a fork of this process, which has loaded the modules, so that a kill costs a second or two
instead of five. Exit code 1 unless all are well.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import av  # noqa: F401 - loaded before the forks
import cv2  # noqa: F401
import openvino  # noqa: F401

import rvrt_cli.upscale.run  # noqa: F401
from rvrt_cli.cli import app
from rvrt_cli.media import ffmpeg_executable
from rvrt_cli.upscale.journal import JOURNAL_NAME, WORK_SUFFIX

SEGMENT_FRAMES = 24
LIMIT_S = 300
FILMS = {
    "strobe.mkv": (
        "testsrc2=size=64x48:rate=25,eq=saturation=.4,lutyuv=y=val*0.5+20,"
        "lutyuv=y=val+110:enable='between(n,10,16)*not(mod(n,2))+between(n,17,60)+between(n,65,77)*not(mod(n,3))'",
        ("-frames:v", "130", "-c:v", "ffv1"),
    ),
    "uneven.mkv": (
        "testsrc2=size=64x48:rate=25,select='not(mod(n,3)*mod(n,5))'",
        ("-frames:v", "130", "-fps_mode", "passthrough", "-c:v", "libx264", "-g", "30"),
    ),
    "cuts.mp4": (
        "testsrc2=size=64x48:rate=24,setsar=1[a];mandelbrot=size=64x48:rate=24,setsar=1[b];smptebars=size=64x48:rate=24,"
        "setsar=1[c];[a]trim=end_frame=41[a];[b]trim=end_frame=63[b];[c]trim=end_frame=30[c];[a][b][c]concat=n=3",
        ("-c:v", "libx264", "-g", "25", "-bf", "3"),
    ),
    "sound.mkv": ("testsrc2=size=64x48:rate=24", ("-frames:v", "130", "-c:v", "libx264", "-g", "25")),
}  # fmt: skip
SOUND = "sine=frequency=440:sample_rate=48000:duration=5.4"
TEXT = "1\n00:00:00,500 --> 00:00:02,000\nOne\n\n2\n00:00:03,000 --> 00:00:05,000\nTwo\n"


@dataclass(frozen=True)
class Case:
    """A film and how it is upscaled. ``share``: its part of the kills."""

    film: str
    output: str
    options: tuple[str, ...]
    share: int


FAST = ("--model", "bicubic", "--scale", "2", "--preset", "ultrafast")
CASES = (
    Case("strobe.mkv", "out.mkv", ("--model", "bicubic", "--scale", "2", "--codec", "ffv1"), 3),
    Case("uneven.mkv", "out.mp4", FAST, 3),
    Case("cuts.mp4", "out.mp4", FAST, 3),
    Case("sound.mkv", "out.mkv", FAST, 3),
    Case("cuts.mp4", "frames/%04d.png", ("--model", "bicubic", "--scale", "2"), 2),
    Case("strobe.mkv", "out.mp4", ("--model", "light-s", "--frames", "78", "--preset", "ultrafast"), 1),
)


@dataclass
class Counts:
    """What came of the kills. ``phases``: how many found nothing, some segments, or an output that was being made."""

    kills: int = 0
    same: int = 0
    runs: int = 0
    made_again: int = 0
    problems: list[str] = field(default_factory=list)
    phases: dict[str, int] = field(default_factory=dict)


def make_film(name: str, folder: Path) -> Path:
    """One of the films, 64x48."""
    graph, codec = FILMS[name]
    path = folder / name
    command = [ffmpeg_executable(), "-v", "error", "-y", "-f", "lavfi", "-i", graph]
    if name.startswith("sound"):
        (folder / "text.srt").write_text(TEXT)
        command += ["-f", "lavfi", "-i", SOUND, "-i", str(folder / "text.srt"), "-c:a", "aac", "-c:s", "srt"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", *codec, str(path)], check=True)
    return path


def content(output: Path) -> dict[str, bytes]:
    """The bytes of a file, or of each file in a folder; nothing where there is neither."""
    if output.is_dir():
        return {path.name: path.read_bytes() for path in output.iterdir()}
    return {output.name: output.read_bytes()} if output.exists() else {}


class Process:
    """``rvrt`` with ``arguments`` in a fork of this process; what it says goes into the file ``said``."""

    def __init__(self, arguments: list[str], said: Path) -> None:
        self._said = said
        self._code: int | None = None
        self._pid = os.fork()
        if not self._pid:
            self._be(arguments)

    def _be(self, arguments: list[str]) -> NoReturn:
        code = 70
        try:
            with open(self._said, "wb") as said:
                for descriptor in (1, 2):
                    os.dup2(said.fileno(), descriptor)
            sys.argv = ["rvrt", *arguments]
            app.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            sys.stderr.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._code

    def kill(self) -> int:
        """Kill it now; the exit code, 0 or more where it had ended before."""
        if self.poll() is None:
            os.kill(self._pid, signal.SIGKILL)
        return self.wait()

    @property
    def said(self) -> str:
        return self._said.read_text(errors="replace")


class Runs:
    """Runs of one case in ``folder``, which is theirs."""

    def __init__(self, case: Case, film: Path, folder: Path) -> None:
        self.target = folder / case.output
        self.output = self.target.parent if "%" in case.output else self.target
        self.work = self.output.with_name(self.output.name + WORK_SUFFIX)
        self._said = folder / "said.txt"
        self._arguments = [
            "upscale", str(film), str(self.target), "--segment-frames", str(SEGMENT_FRAMES), *case.options
        ]  # fmt: skip

    def start(self, *options: str) -> Process:
        return Process([*self._arguments, *options], self._said)

    def finish(self, *options: str) -> str:
        """Run to the end; empty, or what went wrong."""
        process = self.start(*options)
        code = process.wait()
        return f"exit code {code}: {process.said[-300:]}" if code else ""

    def segments(self) -> list[int]:
        """The segments in the journal, in its order."""
        try:
            lines = (self.work / JOURNAL_NAME).read_bytes().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                record = json.loads(line.partition(b" ")[2])
            except ValueError:
                continue  # cut off
            if record["kind"] == "segment":
                found.append(record["segment"]["index"])
        return found

    def written(self) -> dict[str, int]:
        """When each finished segment's file was written, as far as its journal says that it is finished."""
        finished = {f"{index:06d}" for index in self.segments()}
        return {
            path.name: path.stat().st_mtime_ns
            for path in (self.work.iterdir() if self.work.is_dir() else ())
            if path.name.removesuffix(".mkv") in finished
        }

    def remove(self) -> None:
        for path in (self.work, self.output):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


DONE = "all done"
"""Killed while its work was removed, or while it ended."""


def kill_once(runs: Runs, length_s: float, rng: random.Random) -> str:
    """Kill a run at a random moment; what it left, "" where it had ended before."""
    begun = len(runs.segments())
    process = runs.start()
    until = time.monotonic() + LIMIT_S
    if rng.random() < 0.8:  # most kills fall behind the preparations
        while process.poll() is None and not (runs.work / JOURNAL_NAME).exists() and time.monotonic() < until:
            time.sleep(0.002)
    time.sleep(rng.random() * length_s)
    if process.kill() >= 0:
        return ""
    if runs.output.exists() and not (runs.work / JOURNAL_NAME).exists():
        return DONE
    if runs.output.exists():
        return "output in place"
    left = len(runs.segments())
    return "nothing finished" if not left else "more finished" if left > begun else "no more finished"


def run_case(case: Case, folder: Path, kills: int, rng: random.Random) -> Iterator[Counts]:
    """Counts after each continued run of ``case``, of it alone."""
    film = make_film(case.film, folder)
    counts = Counts()
    runs = Runs(case, film, folder)
    if wrong := runs.finish():
        raise RuntimeError(f"{case.film} → {case.output} fails without a kill: {wrong}")
    whole = content(runs.output)
    runs.remove()
    began = time.monotonic()
    process = runs.start()
    while process.poll() is None and not (runs.work / JOURNAL_NAME).exists():
        time.sleep(0.002)
    prepared = time.monotonic()
    process.wait()
    length_s = time.monotonic() - prepared
    print(f"# {case.film} → {case.output}: {prepared - began:.1f} s + {length_s:.1f} s", file=sys.stderr)
    while counts.kills < kills:
        runs.remove()
        finished: dict[str, int] = {}
        killed = 0
        for _ in range(rng.choice((1, 1, 2, 3))):
            phase = kill_once(runs, length_s, rng)
            if not phase:
                break
            killed += 1
            counts.phases[phase] = counts.phases.get(phase, 0) + 1
            now = runs.written()
            if any(now.get(name) != stamp for name, stamp in finished.items() if runs.segments()):
                counts.made_again += 1
                counts.problems.append(f"{case.film} → {case.output}: {finished} became {now}")
            finished = now
            if phase == DONE:
                break
        if not killed:
            continue
        counts.kills += killed
        counts.runs += 1
        # The same command; where the output is there already, the run has to see that it is its own.
        wrong = runs.finish("--keep-work") if phase != DONE else ""
        if wrong or content(runs.output) != whole:
            counts.problems.append(f"{case.film} → {case.output}, {killed} kills: {wrong or 'other bytes'}")
        else:
            counts.same += killed
        segments, now = runs.segments(), runs.written()
        again = any(now.get(n) != stamp for n, stamp in finished.items() if segments)
        if len(segments) != len(set(segments)) or again:
            counts.made_again += 1
            counts.problems.append(f"{case.film} → {case.output}: segments {segments}, {finished}, {now}")
        print(f"# {counts.kills} kills, {counts.same} ended in the same bytes", file=sys.stderr, flush=True)
        yield counts


def main() -> int:
    """Print a row per case and the sum."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, choices=range(len(CASES)), help="only this one of the cases")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    cases = CASES if options.case is None else CASES[options.case : options.case + 1]
    shares = sum(case.share for case in cases)
    good = True
    print("| film | output | kills | same bytes | continued runs | segments made again | where |")
    print("|---|---|---|---|---|---|---|")
    done = [0, 0, 0, 0]
    for case in cases:
        counts = Counts()
        with tempfile.TemporaryDirectory() as name:
            for counts in run_case(case, Path(name), -(-options.kills * case.share // shares), rng):
                good = good and not counts.problems
        row = [counts.kills, counts.same, counts.runs, counts.made_again]
        done = [a + b for a, b in zip(done, row, strict=True)]
        where = ", ".join(f"{count} {phase}" for phase, count in sorted(counts.phases.items()))
        print(
            f"| {case.film} | {' '.join((case.output, *case.options))} | {' | '.join(map(str, row))} | {where} |",
            flush=True,
        )
        for problem in counts.problems:
            print(problem, file=sys.stderr)
    print(f"| all | | {' | '.join(map(str, done))} | |")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
