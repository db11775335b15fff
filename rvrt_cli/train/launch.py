"""Several devices: one process per device, started by the framework's own launcher (torchrun, msrun).

The launching process runs the same command once per device, relays what rank 0 reports, and turns the end of the
job into one result: finished, stopped with everything saved, or the sentence of the rank that failed and its log.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rvrt_cli.errors import DeviceError, ExitCode, InterruptedRun, RvrtError, UsageError
from rvrt_cli.train.engine import Place

VIEW_VARIABLE = "RVRT_TRAIN_VIEW"
"""Environment variable with the file to which rank 0 writes its reports."""
_POLL_S = 0.25
_CLUSTER_TIMEOUT_S = 300
_PORTS = range(1024, 65536)
_DEATHS = (
    re.compile(r"\(exitcode: (?P<code>-?\d+)\) local_rank: \d+ \(pid: (?P<pid>\d+)\)"),  # torchrun
    re.compile(r"Worker process (?P<pid>\d+) exit with exception. Error code: (?P<code>-?\d+)"),  # msrun
)


@dataclass(frozen=True)
class Cluster:
    """``devices`` processes on each of ``nodes`` machines; this is machine ``node_rank``."""

    devices: int = 1
    nodes: int = 1
    node_rank: int = 0
    master: str = ""
    """``host:port`` of the first machine; may be empty for one machine."""

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes

    def check(self) -> None:
        """Raise :class:`UsageError` or :class:`DeviceError` where the numbers cannot be."""
        if self.nodes > 1 and not self.master:
            raise UsageError("Several --nodes need --master HOST:PORT, the same on all of them.")
        if not 0 <= self.node_rank < self.nodes:
            raise UsageError(
                f"--node-rank counts from 0 to {self.nodes - 1}, so it cannot be {self.node_rank}."
            )
        cores = os.cpu_count() or 1
        if self.devices > cores:
            raise DeviceError(
                f"{self.devices} devices were asked for, but this machine has only {cores} processor cores to feed them; give fewer --devices."
            )
        if self.master:
            _, _, port = self.master.rpartition(":")
            if not port.isdigit() or int(port) not in _PORTS:
                raise UsageError(
                    f"--master is HOST:PORT with a port from 1024 to 65535, not {self.master!r}."
                )

    def address(self) -> tuple[str, int]:
        """Host and port of the first machine; a free port where none was given."""
        if self.master:
            host, _, port = self.master.rpartition(":")
            return host or "127.0.0.1", int(port)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return "127.0.0.1", probe.getsockname()[1]


def current_place() -> Place | None:
    """This process's place in a job that torchrun or msrun started, or None where it was started alone."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return Place(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_RANK"]))
    if env.get("MS_ROLE") == "MS_WORKER":
        return Place(int(env["RANK_ID"]), int(env["MS_WORKER_NUM"]), int(env.get("DEVICE_ID", "0")))
    return None


def is_scheduler() -> bool:
    """Whether this is the process with which msrun connects the others."""
    return os.environ.get("MS_ROLE") == "MS_SCHED"


def launch(
    backend: str, cluster: Cluster, arguments: list[str], logs: Path, relay: Callable[[str], None]
) -> bool:
    """Run ``rvrt`` with ``arguments`` once per device and wait; rank 0's lines go to ``relay``, all output to ``logs``.

    → False where the job ended early on purpose (a signal). Errors: that of the rank that failed, naming its log.
    """
    cluster.check()
    logs = logs / time.strftime("%Y%m%d-%H%M%S")
    logs.mkdir(parents=True, exist_ok=True)
    view = logs / "view.log"
    view.touch()
    environment = {**os.environ, VIEW_VARIABLE: str(view)}
    command = (
        _torchrun(cluster, arguments, logs)
        if backend == "torch"
        else _msrun(cluster, arguments, logs, environment)
    )
    launcher_log = logs / "launcher.log"
    with launcher_log.open("wb") as output:
        job = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        stopped = _wait(job, view, relay)
    if (
        job.returncode != 0 and not stopped
    ):  # a launcher that was signalled, too, reports its ranks' end as a failure
        raise _explain(logs, launcher_log, job.returncode)
    return not stopped


def _torchrun(cluster: Cluster, arguments: list[str], logs: Path) -> list[str]:
    host, port = cluster.address()
    return [
        sys.executable, "-m", "torch.distributed.run",
        f"--nnodes={cluster.nodes}", f"--node-rank={cluster.node_rank}", f"--nproc-per-node={cluster.devices}",
        f"--master-addr={host}", f"--master-port={port}", f"--log-dir={logs}", "--redirects=3",
        "-m", "rvrt_cli", *arguments,
    ]  # fmt: skip


def _msrun(cluster: Cluster, arguments: list[str], logs: Path, environment: dict[str, str]) -> list[str]:
    host, port = cluster.address()
    # msrun starts whatever "python" is found first: make that this one.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    name = "python" if (Path(sys.executable).parent / "python").exists() else "python3"
    return [
        sys.executable, "-m", "mindspore.parallel.cluster.run",
        f"--worker_num={cluster.world}", f"--local_worker_num={cluster.devices}", f"--node_rank={cluster.node_rank}",
        f"--master_addr={host}", f"--master_port={port}", f"--log_dir={logs}", "--join=True",
        f"--cluster_time_out={_CLUSTER_TIMEOUT_S}", f"--tail_worker_log={cluster.world}",
        name, "-m", "rvrt_cli", *arguments,
    ]  # fmt: skip


def _wait(job: subprocess.Popen[bytes], view: Path, relay: Callable[[str], None]) -> bool:
    """Wait for the job, relaying lines and passing signals on; → whether it was asked to stop."""
    asked = 0

    def ask(number: int, _: object) -> None:
        nonlocal asked
        asked += 1

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    passed_on = 0
    try:
        with view.open(encoding="utf-8") as lines:
            while True:
                running = job.poll() is None
                while line := lines.readline():
                    relay(line.rstrip("\n"))
                if not running:
                    return asked > 0
                if asked > passed_on:
                    _stop_job(job.pid, at_once=passed_on > 0)
                    passed_on = asked
                time.sleep(_POLL_S)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if job.poll() is None:
            _stop_job(job.pid, at_once=True)
            job.wait()


def _stop_job(pid: int, at_once: bool) -> None:
    """Ask one rank of this machine to stop (it tells the others), or end the whole job ``at_once``."""
    import psutil

    try:
        family = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    if at_once:
        for process in [*family, psutil.Process(pid)]:
            _quietly(process.kill)
        return
    for process in family:
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        # Data workers inherit the environment, too; the rank itself is the eldest.
        if "TORCHELASTIC_RUN_ID" in environment or environment.get("MS_ROLE") == "MS_WORKER":
            _quietly(process.terminate)
            return


def _quietly(action: Callable[[], object]) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):  # it may have ended by itself
        action()


class _RankError(RvrtError):
    """A rank's own sentence and exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        known = {int(value) for value in ExitCode}
        self.exit_code = ExitCode(code) if code in known else ExitCode.UNEXPECTED


def _explain(logs: Path, launcher_log: Path, code: int) -> RvrtError:
    """Why a job failed: the sentence of a rank, or which rank died without one; both name the log."""
    outputs = sorted(path for path in logs.rglob("*.log") if path.name != "view.log")
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in outputs}
    sentences = [
        (path, line[len("rvrt: ") :])
        for path, text in texts.items()
        for line in text.splitlines()
        if line.startswith("rvrt: ")
    ]
    deaths = [match for pattern in _DEATHS for match in pattern.finditer(texts.get(launcher_log, ""))]
    # When one rank fails the others lose their connection, which they report as unexpected.
    for path, sentence in sorted(sentences, key=lambda item: item[1].startswith("unexpected")):
        if not sentence.startswith("unexpected") or not deaths:
            codes = [int(match["code"]) for match in deaths]
            return _RankError(
                f"{sentence} (log: {path})", next((c for c in codes if c > 0), int(ExitCode.UNEXPECTED))
            )
    for match in deaths:
        for path, text in texts.items():
            if found := re.search(rf"^rank (\d+) of \d+: process {match['pid']}$", text, re.MULTILINE):
                return DeviceError(
                    f"Rank {found[1]} of the job died (exit code {match['code']}) and ended it; its log is {path}; "
                    "the last checkpoint is intact: continue with --resume auto."
                )
    return DeviceError(f"The launcher ended with exit code {code}; its log is {launcher_log}.")


def describe_stop(steps_done: int, steps: int) -> InterruptedRun:
    """What to raise where a job was stopped on purpose."""
    return InterruptedRun(
        f"Stopped after step {steps_done} of {steps}; everything is saved: run the same command with --resume auto to continue."
    )
