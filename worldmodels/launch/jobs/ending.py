"""Ends runs: asked first, then forced, and looked after. Nobody else's process is ever signalled."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from worldmodels.evaluation.status import Status, alive, observe
from worldmodels.launch.jobs.roster import Run, choose, sweeping

CANCEL = {"submitit_slurm": "scancel", "submitit_lsf": "bkill"}  # by launcher
Verdict = tuple[str, str, bool]  # run, what happened, whether it is as wished


def stop(folder: Path, text: str | None, *, grace: float) -> list[Verdict]:
    """Let runs save and end; those that do not within `grace` seconds are killed. Without a text, the sweep, too."""
    verdicts: list[Verdict] = []
    sweep = sweeping(folder)
    if text is None and sweep is not None:
        gone = _end([psutil.Process(sweep)], grace)
        verdicts.append(("(the sweep)", "stopped" if gone else f"process {sweep} does not end", gone))
    chosen = choose(folder, text)
    verdicts += _local([run for run in chosen if run.status.state == "running"], grace)
    verdicts += [_waiting(run, sweeping(folder)) for run in chosen if _queued(run)]
    return verdicts


def kill(folder: Path, text: str) -> list[Verdict]:
    """End one run at once. What it saved before is there."""
    return _local([run for run in choose(folder, text) if run.status.state == "running"], 0.0) or [
        (run.name, f"is {run.status.state}", True) for run in choose(folder, text)
    ]


def _queued(run: Run) -> bool:
    now = observe(run.folder)
    return now is not None and now.state == "queued"


def _local(chosen: Sequence[Run], grace: float) -> list[Verdict]:
    """All of them at the same time, so that the wait is one grace and not many."""
    processes = {run.name: _process(run.status) for run in chosen}
    _end([process for process in processes.values() if process is not None], grace)
    return [_verdict(run, processes[run.name]) for run in chosen]


def _process(status: Status) -> psutil.Process | None:
    """The run's own process, on this host; psutil refuses to signal a later one of the same number."""
    if not alive(status) or status.pid is None:
        return None
    try:
        return psutil.Process(status.pid)
    except psutil.NoSuchProcess:
        return None


def _verdict(run: Run, process: psutil.Process | None) -> Verdict:
    if process is None:
        return _remote(run)
    if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        return run.name, f"process {process.pid} does not end", False
    now = observe(run.folder) or run.status
    if now.state == "killed" and now.exit_code is None:  # it could not say so itself
        replace(now, exit_code=137, error="killed: it did not end by itself").write(run.folder)
        return run.name, "killed", True
    return run.name, f"ended: {now.state}" + (", saved" if now.state == "killed" else ""), True


def _remote(run: Run) -> Verdict:
    status = run.status
    command = CANCEL.get(status.launcher or "")
    if status.job is None or command is None:
        return run.name, f"runs on {status.host} as process {status.pid}: stop it there", False
    if shutil.which(command) is None:
        return run.name, f"is job {status.job}: give `{command} {status.job}` where there is a {command}", False
    answer = subprocess.run([command, status.job], capture_output=True, text=True, timeout=60, check=False)
    if answer.returncode:
        return run.name, f"{command} {status.job}: {answer.stderr.strip()}", False
    return run.name, f"{command} {status.job} sent; `jobs status` tells when it has ended", True


def _waiting(run: Run, sweep: int | None) -> Verdict:
    """Take a run that waits out of the row, unless a sweep of this machine still has it in hand."""
    if CANCEL.get(run.status.launcher or "") and run.status.job is not None:
        verdict = _remote(run)
        if not verdict[2]:
            return verdict
    elif sweep is not None:
        return run.name, f"waits in the sweep of process {sweep}: stop the whole study", False
    replace(run.status, state="killed", ended=time.time(), error="taken out of the queue").write(run.folder)
    return run.name, "taken out of the queue", True


def _end(processes: Sequence[psutil.Process], grace: float) -> bool:
    """TERM, wait, and KILL with all children; whether all are gone."""
    family = [child for process in processes for child in _children(process)]
    for process in processes:
        _send(process, "terminate" if grace > 0 else "kill")
    _, left = psutil.wait_procs(processes, timeout=grace)
    for process in (*left, *family):
        _send(process, "kill")
    _, left = psutil.wait_procs([*left, *family], timeout=10)
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _send(process: psutil.Process, how: str) -> None:
    """What could not be signalled shows by being there still."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        getattr(process, how)()
