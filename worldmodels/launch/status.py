"""The life of a run as its status file tells it: queued, running, ended."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from worldmodels.evaluation.status import FILE, Status, alive, described, observe, process_start

__all__ = ["Status", "alive", "enqueue", "observe", "process_start", "running", "withdraw"]


def enqueue(folder: Path, overrides: Sequence[str], launcher: str, job: str | None = None) -> Status:
    """Note that a run waits to be started. One that is finished or runs already is left as it is.

    What is known of an earlier attempt stays known: how it ended, and its last numbers.
    """
    status = observe(folder)
    if status is not None and (status.state == "done" or (status.state == "running" and alive(status) is not False)):
        return status
    before = status or Status("queued")
    waiting = Status(
        "queued",
        tuple(overrides),
        before.attempt,
        queued=time.time(),
        launcher=launcher,
        job=job,
        error=before.error,
        last=before.last,
    )
    waiting.write(folder)
    return waiting


def withdraw(folder: Path, before: Status | None) -> None:
    """Undo `enqueue`, unless somebody has taken the run up since."""
    now = Status.read(folder)
    if now is None or now.state != "queued" or now.job is not None:
        return
    if before is not None:
        before.write(folder)
        return
    (folder / FILE).unlink()
    with suppress(OSError):  # other things are in it
        folder.rmdir()


@contextmanager
def running(folder: Path, overrides: Sequence[str]) -> Iterator[Ending]:
    """Says `running` now, and how it ended afterwards: an error is `failed`, a signal or an exit is `killed`."""
    ending = Ending()
    _begin(folder, overrides)
    try:
        yield ending
    except (KeyboardInterrupt, SystemExit) as left:
        code = left.code if isinstance(left, SystemExit) and isinstance(left.code, int) else 130
        _end(folder, Ending("killed", code, "ended by a signal; what was saved before is there"))
        raise
    except BaseException as error:
        text = str(error).strip() or type(error).__name__
        _end(folder, Ending("failed", 1, f"{type(error).__name__}: {text}"))
        raise
    _end(folder, ending)


class Ending:
    """How a run ended; `running` writes it down."""

    def __init__(self, state: Any = "done", code: int = 0, error: str | None = None) -> None:
        self.state, self.code, self.error = state, code, error
        self.last: Mapping[str, float] = {}

    def finished(self, result: Mapping[str, Any]) -> None:
        self.last = described(result)

    def stopped(self, number: int) -> None:
        """By a signal, after everything was saved."""
        self.state, self.code, self.error = "killed", 128 + number, "stopped by a signal; the same command goes on"


def _begin(folder: Path, overrides: Sequence[str]) -> None:
    before = Status.read(folder) or Status("queued")
    now = time.time()
    replace(
        before,
        state="running",
        overrides=tuple(overrides),
        attempt=before.attempt + 1,
        started=now,
        heartbeat=now,
        ended=None,
        exit_code=None,
        error=None,
        host=socket.gethostname(),
        pid=os.getpid(),
        pid_started=process_start(os.getpid()),
        job=scheduled() or before.job,
        gpu=os.environ.get("CUDA_VISIBLE_DEVICES"),
    ).write(folder)


def _end(folder: Path, ending: Ending) -> None:
    status, now = Status.read(folder) or Status("running"), time.time()
    last = {**status.last, **ending.last}
    replace(
        status, state=ending.state, exit_code=ending.code, error=ending.error, ended=now, heartbeat=now, last=last
    ).write(folder)


def scheduled() -> str | None:
    """What SLURM or LSF calls the job that this process is part of, as their own commands take it."""
    env = os.environ
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    if env.get("LSB_JOBINDEX", "0") != "0":
        return f"{env['LSB_JOBID']}[{env['LSB_JOBINDEX']}]"
    return env.get("SLURM_JOB_ID") or env.get("LSB_JOBID")
