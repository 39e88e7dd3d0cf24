"""Starts the tasks of a job, which LSF leaves to the job: on this host ourselves, on the others by blaunch.

The batch script ends by becoming this process. It outlives every signal but KILL, so that the tasks can save what they
have, and ends with the code of the first task that failed. Page "blaunch" of the Command Reference.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worldmodels.launch.lsf.hosts import hosts
from worldmodels.launch.lsf.ids import ours

GRACE = 10.0  # seconds for the tasks that are left when one has failed


@dataclass(frozen=True)
class Layout:
    """folder: of submitit, with %j for the job. together: stderr goes where stdout goes."""

    folder: str
    nodes: int
    tasks_per_node: int
    together: bool

    def words(self) -> list[str]:
        counts = ["--nodes", str(self.nodes), "--tasks-per-node", str(self.tasks_per_node)]
        return [self.folder, *counts, *(["--together"] if self.together else [])]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--tasks-per-node", type=int, default=1)
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--node", type=int, default=0, help="the number of this host")
    parser.add_argument("--job", default=os.environ.get("LSB_JOBID", ""))
    parser.add_argument("--index", default=os.environ.get("LSB_JOBINDEX", "0"))
    given = parser.parse_args(argv)
    layout = Layout(given.folder, given.nodes, given.tasks_per_node, given.together)
    os.environ |= {"SUBMITIT_EXECUTOR": "lsf", "LSB_JOBID": given.job, "LSB_JOBINDEX": given.index}
    # The tasks get these signals themselves: LSF sends them to all processes of a job.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _nothing)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # the tasks begin with it ignored, until submitit listens
    started = _elsewhere(layout) if given.node == 0 and layout.nodes > 1 else []
    return ending([*started, *_here(layout, given.node)])


def ending(tasks: Sequence[subprocess.Popen[bytes]], grace: float = GRACE) -> int:
    """Waits for all; when one fails, the others get TERM, `grace` seconds, and KILL, as they may wait for it for ever.

    The code is the first failure's; a signal counts as 128 and its number, as in shells.
    """
    failed, deadline = 0, float("inf")
    while None in (codes := [task.poll() for task in tasks]):
        if any(codes) and not failed:
            failed, deadline = next(filter(None, codes)), time.monotonic() + grace
            _signal(tasks, signal.SIGTERM)
        if time.monotonic() > deadline:
            _signal(tasks, signal.SIGKILL)
        time.sleep(0.1)
    failed = failed or next((task.returncode for task in tasks if task.returncode), 0)
    return 128 - failed if failed < 0 else failed


def _here(layout: Layout, node: int) -> list[subprocess.Popen[bytes]]:
    """The tasks of this host, each with log files of its own, which grow over all attempts."""
    from submitit.core.utils import JobPaths

    tasks: list[subprocess.Popen[bytes]] = []
    command = [sys.executable, "-u", "-m", "submitit.core._submit", layout.folder]
    job = ours(os.environ["LSB_JOBID"], os.environ["LSB_JOBINDEX"])
    for local in range(layout.tasks_per_node):
        rank = node * layout.tasks_per_node + local
        paths = JobPaths(layout.folder, job_id=job, task_id=rank)
        paths.folder.mkdir(parents=True, exist_ok=True)
        environ = os.environ | {
            "WORLDMODELS_LSF_NUM_TASKS": str(layout.nodes * layout.tasks_per_node),
            "WORLDMODELS_LSF_NUM_NODES": str(layout.nodes),
            "WORLDMODELS_LSF_NODE": str(node),
            "WORLDMODELS_LSF_RANK": str(rank),
            "WORLDMODELS_LSF_LOCAL_RANK": str(local),
        }
        tasks.append(_start(command, environ, paths.stdout, paths.stdout if layout.together else paths.stderr))
    return tasks


def _start(command: list[str], environ: dict[str, str], out: Path, err: Path) -> subprocess.Popen[bytes]:
    with out.open("ab") as said, err.open("ab") as complained:
        return subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=complained)


def _elsewhere(layout: Layout) -> list[subprocess.Popen[bytes]]:
    """The same program on each host but the first, where we are."""
    names = list(hosts(os.environ))
    if len(names) != layout.nodes:
        raise SystemExit(f"the job asked for {layout.nodes} hosts and LSF gave it {len(names)}: {' '.join(names)}")
    us = [sys.executable, "-u", "-m", "worldmodels.launch.lsf.tasks", *layout.words()]
    job = ["--job", os.environ["LSB_JOBID"], "--index", os.environ["LSB_JOBINDEX"]]
    return [
        subprocess.Popen(
            ["blaunch", "-no-shell", "-z", name, *us, *job, "--node", str(number)], stdin=subprocess.DEVNULL
        )
        for number, name in enumerate(names)
        if number
    ]


def _signal(tasks: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for task in tasks:
        if task.poll() is None:
            task.send_signal(number)


def _nothing(number: int, frame: object) -> None:
    """Unlike SIG_IGN, a handler is not inherited: the tasks start with the signal's usual meaning."""


if __name__ == "__main__":
    sys.exit(main())
