"""Several devices: one process per device, started by the framework's own launcher (torchrun, msrun).

The launching process runs the same command once per device, passes on what rank 0 reports, and turns the end of the
job into one result: finished, stopped with everything saved, or the sentence of the rank that failed and its log.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from rvrt_cli.errors import DeviceError, InterruptedRun, UsageError
from rvrt_cli.train.events import Event, event_from_json
from rvrt_cli.train.failure import explain_failure, find_deaths
from rvrt_cli.train.job import JOB_VARIABLE, JobFolder, is_rank
from rvrt_cli.train.stopping import STOPPED_AT_ONCE, StopRequest, signals_held

_POLL_S = 0.25
_CLUSTER_TIMEOUT_S = 300
_LINGER_S = 10.0
"""How long a launcher may stay after one of its ranks has died: msrun waits without end for its scheduler."""
_PORTS = range(1024, 65536)


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


def launch(
    backend: str,
    cluster: Cluster,
    arguments: list[str],
    logs: Path,
    report: Callable[[Event], None],
    stop: StopRequest,
) -> None:
    """Run ``rvrt`` with ``arguments`` once per device and wait; rank 0's events go to ``report``, all output to ``logs``.

    The first signal in ``stop`` is passed on to a rank, which tells the others; they save and end. Errors:
    :class:`InterruptedRun` where the job ended early on purpose, else that of the rank that failed, naming its log.
    """
    cluster.check()
    arguments = without_master(arguments)
    job = JobFolder.create(logs, cluster.node_rank)
    environment = {**os.environ, JOB_VARIABLE: str(job.path)}
    command = (
        _torchrun(cluster, arguments, job.path)
        if backend == "torch"
        else _msrun(cluster, arguments, job.path, environment)
    )
    # torchrun would give its ranks 30 s from a signal on; held back from it, only the ranks hear of one and take their time.
    with job.launcher_log.open("wb") as output, signals_held():
        launcher = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        _wait(launcher, job, report, stop)
    except KeyboardInterrupt:
        _end_job(launcher)
        raise InterruptedRun(STOPPED_AT_ONCE) from None
    except BaseException:
        _end_job(launcher)
        raise
    if stopped := job.read_stopped():
        raise InterruptedRun(stopped)
    if launcher.returncode != 0:
        raise explain_failure(job, launcher.returncode)


def without_master(arguments: list[str]) -> list[str]:
    """The arguments of a rank, which learns from its environment where it stands.

    Both launchers would take ``--master`` for an ambiguous abbreviation of their own ``--master_addr`` and ``--master_port``.
    """
    kept = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--master":
            next(rest, None)
        elif not argument.startswith("--master="):
            kept.append(argument)
    return kept


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


def _wait(
    launcher: subprocess.Popen[bytes], job: JobFolder, report: Callable[[Event], None], stop: StopRequest
) -> None:
    """Wait for the launcher to end, reporting events and passing a signal on."""
    passed_on = False
    died_at: float | None = None
    with closing(job.follow_events()) as events, closing(job.follow_launcher()) as said:
        while True:
            running = launcher.poll() is None
            for line in events.new():
                report(event_from_json(line))
            if not running:
                return
            if stop.reason and not passed_on:
                passed_on = _ask_to_stop(
                    launcher.pid
                )  # there may be no rank yet: then the next round asks again
            if died_at is None and any(find_deaths(line) for line in said.new()):
                died_at = time.monotonic()
            if died_at is not None and time.monotonic() - died_at > _LINGER_S and not _ranks(launcher.pid):
                _end_job(launcher)
                return
            time.sleep(_POLL_S)


def _ranks(pid: int) -> list[psutil.Process]:
    """The ranks of this machine, which are the launcher's own children (data workers are theirs)."""
    found = []
    with suppress(psutil.Error):
        for process in psutil.Process(pid).children():
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and is_rank(process.environ()):
                    found.append(process)
    return found


def _ask_to_stop(pid: int) -> bool:
    """Ask one rank of this machine to stop, which tells the others; → whether there was one."""
    for process in _ranks(pid):
        with suppress(psutil.Error):
            process.terminate()
            return True
    return False


def _end_job(launcher: subprocess.Popen[bytes]) -> None:
    """End the launcher and everything that it started, at once."""
    family = []
    with suppress(psutil.Error):
        family = psutil.Process(launcher.pid).children(recursive=True)
    launcher.kill()
    for process in family:
        with suppress(psutil.Error):  # it may have ended by itself
            process.kill()
    launcher.wait()
