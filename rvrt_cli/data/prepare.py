"""Carry out the tasks of a data set: how much they will write, whether it fits on the disk, how far they are, what failed.

What a run that was stopped has written is whole, and the same call goes on; a source file that cannot be used is named in
the result instead of ending the run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from rvrt_cli.data.pool import run_parallel
from rvrt_cli.data.tasks import Task, encoded, is_finished, run_task, verify_task
from rvrt_cli.errors import DiskFullError, InputError, InterruptedRun

_SAMPLED_FOR_PROGRESS = 200
"""Tasks looked at to estimate how many are finished already."""
_SAMPLED_FOR_SIZE = 6
"""Of those, tasks carried out in memory to estimate how much space they take."""
_SPACE_MARGIN = 1.1


@dataclass(frozen=True)
class PrepareResult:
    """The end of a run."""

    output: Path
    tasks: int
    written: int
    kept: int
    written_mib: float
    estimated_mib: float
    failures: tuple[tuple[str, str], ...] = field(default=())

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        result = asdict(self)
        result["output"] = str(self.output)
        result["failures"] = [{"file": name, "reason": reason} for name, reason in self.failures]
        return result


@dataclass(frozen=True)
class PrepareProgress:
    """How far a run is."""

    done: int
    total: int
    written: int
    kept: int
    failures: int


OnProgress = Callable[[PrepareProgress], None]


def estimate_bytes(tasks: Sequence[Task]) -> float:
    """Bytes that the tasks have still to write, judged by a sample: looking at a million files first would take minutes.

    A few of the sampled tasks that are not finished are carried out in memory.
    """
    candidates = [task for task in tasks if task.kind != "video"]
    sample = candidates[:: max(1, len(candidates) // _SAMPLED_FOR_PROGRESS)]
    pending = [task for task in sample if not is_finished(task)]
    sizes: list[int] = []
    for task in pending[:: max(1, len(pending) // _SAMPLED_FOR_SIZE)][:_SAMPLED_FOR_SIZE]:
        try:
            sizes.append(sum(len(data) for _, data in encoded(task)))
        except InputError:
            continue
    images = float(np.mean(sizes)) * len(candidates) * len(pending) / len(sample) if sizes else 0.0
    # A video's frames as PNG take some thirty times the space of the video; its low quality a twelfth of that again.
    videos = sum(
        task.sources[0].stat().st_size for task in tasks if task.kind == "video" and not is_finished(task)
    )
    return images + 32.0 * videos


def check_space(output: Path, needed_bytes: float) -> None:
    """Errors: :class:`DiskFullError` when ``needed_bytes`` do not fit on the disk that holds ``output``."""
    folder = output
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed_bytes * _SPACE_MARGIN > free:
        raise DiskFullError(
            f"About {needed_bytes / 2**20:,.0f} MiB would be written to {output}, but only {free / 2**20:,.0f} MiB are free; "
            "free some space or choose another folder."
        )


def run_tasks(
    tasks: Sequence[Task],
    output: Path,
    *,
    workers: int = 1,
    verify: bool = False,
    on_progress: OnProgress | None = None,
) -> PrepareResult:
    """Carry out all tasks (or, with ``verify``, check what they wrote).

    Errors: :class:`DiskFullError` before the start when the estimate does not fit, or when the disk fills up later;
    :class:`InterruptedRun` on Ctrl+C. In both cases the files written so far are whole and the same call goes on.
    """
    estimated = 0.0
    if not verify:
        estimated = estimate_bytes(tasks)
        check_space(output, estimated)
    written = kept = done = 0
    size = 0
    failures: list[tuple[str, str]] = []
    results = run_parallel(verify_task if verify else run_task, tasks, workers)
    try:
        for outcome in results:
            done += 1
            written += outcome.written
            kept += outcome.kept
            size += outcome.written_bytes
            failures.extend(outcome.failures)
            if on_progress is not None:
                on_progress(PrepareProgress(done, len(tasks), written, kept, len(failures)))
    except KeyboardInterrupt as error:
        results.close()
        raise InterruptedRun(
            f"Stopped after {done} of {len(tasks)} parts; run the same command again to go on from here."
        ) from error
    return PrepareResult(
        output, len(tasks), written, kept, size / 2**20, estimated / 2**20, tuple(sorted(failures))
    )
