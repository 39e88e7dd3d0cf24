"""What is asked of a scheduler while jobs are out: which still live, why one ended, how to stop them."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import psutil

PATIENCE = 60.0  # seconds that a scheduler's command may take


@runtime_checkable
class Scheduler(Protocol):
    """One answer per question, None where the scheduler does not answer now."""

    def living(self, jobs: Sequence[Any]) -> set[str] | None:
        """Ids of those (submitit's Job) that wait, run, or will run again."""
        ...

    def verdict(self, job: str) -> str | None:
        """The scheduler's word for how a job ended, such as CANCELLED."""
        ...

    def stop(self, jobs: Sequence[str]) -> str:
        """The command that stops jobs, for a person to give."""
        ...

    def submitted(self, tag: str) -> str | None:
        """The id of a job with that tag in its comment, although submitting it seemed to fail."""
        ...


def ask(*words: str) -> str | None:
    """What a command of the scheduler prints; None if it fails, is not there, or takes too long."""
    try:
        told = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout if told.returncode == 0 else None


class Slurm:
    """SLURM by `squeue`, which needs no accounting, and `sacct`, which says how a job ended if there is some.

    sacct alone will not do: without accounting it never tells that a job was cancelled, and PREEMPTED means that a
    job comes again on one cluster and that it is over on another.
    """

    def living(self, jobs: Sequence[Any]) -> set[str] | None:  # noqa: ARG002 (one call for all of the user's jobs)
        told = ask("squeue", "--noheader", "--array", "--user", str(os.getuid()), "--format", "%i")
        return None if told is None else set(told.split())

    def verdict(self, job: str) -> str | None:
        told = ask("sacct", "--noheader", "--allocations", "--parsable2", "--format", "State", "--jobs", job)
        return told.splitlines()[-1].strip() or None if told and told.strip() else None

    def stop(self, jobs: Sequence[str]) -> str:
        return shlex.join(["scancel", *sorted({job.split("_")[0] for job in jobs}, key=int)])

    def submitted(self, tag: str) -> str | None:
        told = ask("squeue", "--noheader", "--user", str(os.getuid()), "--format", "%F %k")
        found = (line.split(maxsplit=1) for line in (told or "").splitlines())
        return next((words[0] for words in found if tag in words[-1]), None)


class Local:
    """Processes of this machine. Their controllers outlive the command that started them."""

    def living(self, jobs: Sequence[Any]) -> set[str] | None:
        return {job.job_id for job in jobs if _controls(int(job.job_id))}

    def verdict(self, job: str) -> str | None:  # noqa: ARG002
        return "ended without a result"

    def stop(self, jobs: Sequence[str]) -> str:
        return shlex.join(["kill", *jobs])

    def submitted(self, tag: str) -> str | None:  # noqa: ARG002
        return None

    def terminate(self, jobs: Sequence[Any], seconds: float) -> None:
        """Ask the runs to save and end; their controllers pass it on."""
        controllers = [psutil.Process(int(job.job_id)) for job in jobs if _controls(int(job.job_id))]
        for controller in controllers:
            controller.send_signal(signal.SIGTERM)
        psutil.wait_procs(controllers, timeout=seconds)


class Watched:
    """Any other scheduler, by what its submitit executor knows about it."""

    def __init__(self, cancel: str) -> None:
        self.cancel = cancel
        self.states: dict[str, str] = {}

    def living(self, jobs: Sequence[Any]) -> set[str] | None:
        for job in jobs:
            self.states[job.job_id] = job.watcher.get_state(job.job_id)
        return {job.job_id for job in jobs if not job.watcher.is_done(job.job_id, mode="cache")}

    def verdict(self, job: str) -> str | None:
        return self.states.get(job)

    def stop(self, jobs: Sequence[str]) -> str:
        return shlex.join([self.cancel, *sorted({job.split("_")[0] for job in jobs})])  # arrays as a whole

    def submitted(self, tag: str) -> str | None:  # noqa: ARG002
        return None


def scheduler(executor: str, job_class: Any) -> Scheduler:
    """Of submitit's executor of that name."""
    if executor == "slurm":
        return Slurm()
    return Local() if executor == "local" else Watched(job_class._cancel_command)


def _controls(pid: int) -> bool:
    """Whether that process is one of submitit's local controllers, and not a later one with its number."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "submitit.local._local" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
