"""What a run's status file says of the job that does it, where the run itself can not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from worldmodels.launch.lsf.ids import ours
from worldmodels.launch.multirun import composed, plan
from worldmodels.launch.status import Status


def folders(launcher: Any, words: Sequence[Sequence[str]]) -> list[Path]:
    """Where runs of these words lie."""
    loader = launcher.hydra_context.config_loader
    return [job.folder.path for job in plan(lambda each: composed(loader, launcher.config, each), words)]


def submitted(folder: Path, launcher: Any, job: str) -> None:
    """The queued run has a job now."""
    status = Status.read(folder)
    if status is not None and status.state == "queued":
        replace(status, job=job, launcher=_kind(launcher)).write(folder)


def requeued(folder: Path, launcher: Any) -> None:
    """The run has saved itself and left, and its job will start again."""
    status = Status.read(folder)
    if status is not None and status.state != "done":
        waiting = {"state": "queued", "queued": time.time(), "ended": None, "exit_code": None, "error": None}
        replace(status, **waiting, launcher=_kind(launcher)).write(folder)


def lost(folder: Path, job: str, why: str) -> None:
    """The job is over, and the run could not say so: it was killed, or it never began."""
    status = Status.read(folder)
    known = None if status is None or status.job is None else ours(status.job)  # LSF writes 12[3] for 12_3
    if status is not None and status.state in ("queued", "running") and known == job:
        replace(status, state="killed", error=why, ended=status.heartbeat).write(folder)


def _kind(launcher: Any) -> str:
    return str(launcher.config.hydra.runtime.choices["hydra/launcher"])
