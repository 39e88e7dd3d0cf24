"""What a run's status file says of the job that does it, where the run itself can not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from worldmodels.launch.folder import run_name
from worldmodels.launch.lsf.ids import ours
from worldmodels.launch.status import Status


def run_folder(launcher: Any, words: Sequence[str]) -> Path:
    """Where a run of these words lies."""
    told = dict(word.split("=", 1) for word in words if "=" in word)
    study = Path(launcher.config.paths.runs, told.get("study", str(launcher.config.study)))
    return study / (told.get("name") or launcher.config.name or run_name(words))


def submitted(launcher: Any, words: Sequence[str], job: str) -> None:
    """The queued run has a job now."""
    folder = run_folder(launcher, words)
    status = Status.read(folder)
    if status is not None and status.state == "queued":
        replace(status, job=job, launcher=_kind(launcher)).write(folder)


def requeued(launcher: Any, words: Sequence[str]) -> None:
    """The run has saved itself and left, and its job will start again."""
    folder = run_folder(launcher, words)
    status = Status.read(folder)
    if status is not None and status.state != "done":
        waiting = {"state": "queued", "queued": time.time(), "ended": None, "exit_code": None, "error": None}
        replace(status, **waiting, launcher=_kind(launcher)).write(folder)


def lost(launcher: Any, words: Sequence[str], job: str, why: str) -> None:
    """The job is over, and the run could not say so: it was killed, or it never began."""
    folder = run_folder(launcher, words)
    status = Status.read(folder)
    known = None if status is None or status.job is None else ours(status.job)  # LSF writes 12[3] for 12_3
    if status is not None and status.state in ("queued", "running") and known == job:
        replace(status, state="killed", error=why, ended=status.heartbeat).write(folder)


def _kind(launcher: Any) -> str:
    return str(launcher.config.hydra.runtime.choices["hydra/launcher"])
