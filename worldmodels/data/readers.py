"""Threads that read files at the same time: copies from the page cache keep more than one core busy."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

MOST = 4  # more do not help: by then it is memory that is busy


def cores() -> int:
    """Those that this process may use, at most MOST."""
    return min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def together(jobs: Sequence[Callable[[], None]]) -> None:
    """Do them at the same time, the last one in this thread. An error comes up when all have ended."""
    started = [_pool(os.getpid()).submit(job) for job in jobs[:-1]]
    try:
        jobs[-1]()
    finally:
        failures = [each.exception() for each in started]
    for failure in failures:
        if failure is not None:
            raise failure


@lru_cache(1)
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 (a forked process inherits the pool, but no threads)
    return ThreadPoolExecutor(MOST - 1, "reader")
