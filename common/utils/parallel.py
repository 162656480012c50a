"""Work spread over processes, in order, holding few results at a time."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import cv2

Job = TypeVar("Job")
Result = TypeVar("Result")
_MOST_ON_WINDOWS = 61  # processes of a pool
_WAITING = 3  # jobs under way or waiting for each process: enough to keep it busy, few enough for memory to stay flat


def available_cores() -> int:
    """How many cores this process may use, which a job scheduler may have limited."""
    if allowed := getattr(os, "sched_getaffinity", None):  # elsewhere than on Windows and macOS
        return len(allowed(0))
    return os.cpu_count() or 1


def parallel_map(work: Callable[[Job], Result], jobs: Iterable[Job], workers: int | None = None) -> Iterator[Result]:
    """``work`` over ``jobs`` in processes, in order, with a bounded number of results waiting.

    Args:
        work: must be picklable, as must jobs and results; it is pickled once per process.
        jobs: may be made one by one, as they are taken.
        workers: processes; None means `available_cores`. No more are started than there are jobs, if that is known.
    """
    workers = workers or available_cores()
    if os.name == "nt":
        workers = min(workers, _MOST_ON_WINDOWS)
    if isinstance(jobs, Sized):
        workers = min(workers, max(len(jobs), 1))
    if workers == 1:
        yield from map(work, jobs)
        return
    # Spawned, not forked: safe whatever threads the parent has started.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(work,)) as pool:
        yield from in_order(pool, _call_work, jobs, _WAITING * workers)


def in_order(
    pool: Executor, work: Callable[[Job], Result], jobs: Iterable[Job], ahead: int
) -> Generator[Result, None, None]:
    """``work`` over ``jobs`` in a pool, results in order, at most ``ahead`` of them under way or waiting."""
    queue = iter(jobs)
    waiting: deque[Future[Result]] = deque(pool.submit(work, job) for job in islice(queue, ahead))
    try:
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, job) for job in islice(queue, 1))
    finally:
        for future in waiting:
            future.cancel()


_work: Callable[[Any], Any]  # of a worker process


def _call_work(job: Any) -> Any:
    return _work(job)


def _start_worker(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
    cv2.setNumThreads(1)  # the processes are the parallelism
