"""The queue's own numbers: how long 12 one-second jobs take on 3 slots, and what waiting costs.

    python benchmarks/gpu_queue.py [--queued 1000] [--seconds 30]

The second part keeps all slots busy while `--queued` runs wait, with the live table drawn to a terminal that nobody
sees, and measures the CPU time of the queue's process; then it does the same for runs that end at once, which gives
the CPU time of starting and ending one.
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from worldmodels.launch.queue.nouns import Device, Memory, Rules
from worldmodels.launch.queue.queue import Queue, View
from worldmodels.launch.queue.run import Run
from worldmodels.launch.queue.view import Moving

GPUS = [Device(str(number), 1, visible=str(number), measured=True) for number in range(3)]


def empty() -> Mapping[str, Memory]:
    return {device.name: Memory(0.0, 80.0) for device in GPUS}


def work(folder: Path, commands: list[tuple[str, ...]]) -> list[Run]:
    return [Run(folder / f"seed={i}", argv, (f"seed={i}",), f"seed={i}") for i, argv in enumerate(commands)]


def timed(runs: list[Run], view: View | None = None, **rules: float) -> tuple[float, float]:
    """Seconds on the wall, and of this process on the CPU."""
    wall, cpu = time.monotonic(), time.process_time()
    Queue(runs, GPUS, Rules(**rules), empty, view=view).run()  # type: ignore[arg-type]
    return time.monotonic() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queued", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wall, _ = timed(work(folder / "a", [("sleep", "1")] * 12))
        print(f"12 one-second jobs on 3 slots: {wall:.2f} s (4 s at best)")

        waiting = [("sleep", str(given.seconds))] * 3 + [("true",)] * given.queued
        screen = Console(file=io.StringIO(), force_terminal=True, width=120, height=40)
        runs = work(folder / "b", waiting)
        queue = Queue(runs, GPUS, Rules(fail_fast=True, job_timeout_s=given.seconds - 1), empty, view=Moving(screen))
        wall, cpu = time.monotonic(), time.process_time()
        queue.run()  # the first three run out of time, and then fail_fast cancels what waits
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        print(f"{given.queued} queued runs behind 3 that run: {cpu / wall:.2%} of a core over {wall:.0f} s")

        wall, cpu = timed(work(folder / "c", [("true",)] * 200))
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"a run from start to end: {cpu * 5:.1f} ms of the queue's CPU, {wall * 5:.0f} ms passed")
        print(f"(all children together: {children.ru_utime + children.ru_stime:.1f} s of CPU)")


if __name__ == "__main__":
    main()
