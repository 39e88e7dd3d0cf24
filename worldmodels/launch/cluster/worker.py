"""Inside a job: a run that was told to stop has saved itself, and submitit may queue it again."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.utils import JobReturn

from worldmodels.launch.cluster.scheduler import ask
from worldmodels.launch.cluster.standing import folders, requeued
from worldmodels.launch.lsf.script import REQUEUE_CODE

REQUEUED = -1  # submitit's exit code
ALONE = 120.0  # seconds that a rank other than 0 waits for the scheduler to take it down


def work(launcher: Any, words: Sequence[str], run: Callable[[], JobReturn]) -> JobReturn:
    """Run, and requeue if the scheduler wants the place.

    submitit's handler of the requeue signal would end the process at once. While a run trains, callback.interrupt
    stands before it: it ends training where a checkpoint continues exactly. What follows, closing files and giving up
    locks, is done when the exit arrives here, and now submitit's handler gets the signal.

    TERM is ignored by submitit, for SLURM will kill and requeue a job that it preempts so. But TERM is also what
    `scancel` sends, and a run should save itself then; a run that does and leaves is not requeued by SLURM. So SLURM
    is asked which of them it was.
    """
    requeue = _requeue_signal()
    handler: Any = signal.getsignal(requeue)
    signal.signal(signal.SIGTERM, _leave)
    try:
        return run()
    except SystemExit as left:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # requeueing brings one more
        if left.code in (REQUEUED, int(os.environ.get(REQUEUE_CODE, REQUEUED))):
            requeued(folders(launcher, [words])[0], launcher)
            raise
        preempted = left.code == 128 + requeue or (left.code == 128 + signal.SIGTERM and _preempted())
        if not preempted or not callable(handler):
            raise
        requeued(folders(launcher, [words])[0], launcher)
        handler(requeue, None)
        time.sleep(ALONE)  # only rank 0 requeues, and that ends all
        raise


def _leave(number: int, frame: Any) -> None:  # noqa: ARG001
    raise SystemExit(128 + number)


def _requeue_signal() -> int:
    return signal.Signals["SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")]


def _preempted() -> bool:
    """SLURM wants this job's place for another one, and has not yet taken it."""
    env = os.environ
    if "SLURM_JOB_ID" not in env:
        return False
    array = f"{env.get('SLURM_ARRAY_JOB_ID')}_{env.get('SLURM_ARRAY_TASK_ID')}"
    told = ask("scontrol", "show", "job", array if "SLURM_ARRAY_JOB_ID" in env else env["SLURM_JOB_ID"]) or ""
    running = re.search(r"\bJobState=(\w+)", told)
    since = re.search(r"\bPreemptTime=(\S+)", told)
    return bool(running and running[1] == "RUNNING" and since and since[1] != "None")
