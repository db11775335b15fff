"""Run one function over many tasks in worker processes: bounded memory, one thread each, a clear end when something dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from rvrt_cli.errors import OutOfMemoryError_

Task = TypeVar("Task")
Result = TypeVar("Result")

_TASKS_AHEAD = 4
"""Tasks handed out per worker: enough to keep it busy, few enough that a stop is quick."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _start_worker(threads: int, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    # The parent decides when to stop; a Ctrl+C reaches all processes of the terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    import cv2

    cv2.setNumThreads(threads)
    if initializer is not None:
        initializer(*arguments)


def end_with_parent() -> None:
    """Body of a worker's thread: a killed parent cannot stop its workers, and they would wait for it for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def children_with_threads(threads: int) -> Iterator[None]:
    """Processes started inside use so many threads in NumPy's libraries.

    BLAS reads these variables once, when a process loads NumPy: several workers with several threads each only get in
    each other's way.
    """
    saved = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_parallel(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    *,
    threads: int = 1,
    initializer: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Generator[Result, None, None]:
    """Yield ``function(task)`` for every task, in the order in which they finish.

    ``workers``: processes, started afresh (spawn); 1 works in this process, in order. ``function`` and the tasks must
    be picklable. ``threads``: of each worker. ``initializer(*arguments)`` runs once in every worker. An exception of ``function`` ends the iteration and is raised here; nothing further is started.

    Errors: :class:`OutOfMemoryError_` when a worker process dies, which on a full machine means that the system
    killed it.
    """
    if workers <= 1:
        for task in tasks:
            yield function(task)
        return

    with children_with_threads(threads):  # the pool starts its processes when tasks come
        yield from _run_in_pool(function, tasks, workers, (threads, initializer, arguments))


def _run_in_pool(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int, start: tuple[Any, ...]
) -> Iterator[Result]:
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=start
    )
    waiting: set[Future[Result]] = set()
    try:
        remaining = iter(tasks)
        exhausted = False
        while True:
            while not exhausted and len(waiting) < workers * _TASKS_AHEAD:
                try:
                    waiting.add(pool.submit(function, next(remaining)))
                except StopIteration:
                    exhausted = True
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise OutOfMemoryError_(
            "A worker process was killed, most likely because memory ran out; run the same command again with fewer --workers."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
