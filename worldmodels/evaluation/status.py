"""status.json: where a run stands, told by the run itself and true even after it died."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from worldmodels.core.files import write_text

State = Literal["queued", "running", "done", "failed", "killed"]
STATES: tuple[State, ...] = get_args(State)
FILE = "status.json"
SAME = 2.0  # seconds by which two readings of one process's start may differ; no pid comes round that fast


@dataclass(frozen=True)
class Status:
    """Where a run stands. Moments are unix seconds.

    killed: stopped by a signal, or found dead. What it had saved is there, and the same command goes on.
    attempt: 1 for the first time that the run was started.
    pid, pid_started: the process, and when it began, which tells it from a later one of the same number.
    job: what the scheduler calls it, such as 123_4.
    last: env_steps, updates, return, progress (0 to 1), updates_per_second; as of the last heartbeat.
    """

    state: State
    overrides: tuple[str, ...] = ()
    attempt: int = 0
    queued: float | None = None
    started: float | None = None
    ended: float | None = None
    heartbeat: float | None = None
    exit_code: int | None = None
    error: str | None = None
    host: str | None = None
    pid: int | None = None
    pid_started: float | None = None
    launcher: str | None = None
    job: str | None = None
    gpu: str | None = None
    last: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def read(folder: Path) -> Status | None:
        """What the run's folder says; None where nothing does. A damaged file reads as a failed run that says so."""
        try:
            told = json.loads((folder / FILE).read_text(encoding="utf-8"))
            if told["state"] not in STATES:
                raise KeyError(told["state"])
            known = {name: told[name] for name in (each.name for each in fields(Status)) if name in told}
            return Status(**{**known, "overrides": tuple(known.get("overrides", ()))})
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as damage:
            return Status("failed", error=f"{FILE} can not be read ({damage!r}); the next start writes a new one")

    def write(self, folder: Path) -> None:
        write_text(folder / FILE, json.dumps({**asdict(self), "last": dict(self.last)}, indent=1) + "\n")

    @property
    def seconds(self) -> float | None:
        """How long the last attempt ran, or has been running."""
        if self.started is None:
            return None
        return (self.ended if self.ended is not None else time.time()) - self.started


def observe(folder: Path) -> Status | None:
    """What is true now: a result means done, and a running one whose process is gone was killed.

    None where neither a status nor a result is. Of a run on another host only its own word is known.
    """
    status = Status.read(folder)
    if (folder / "done.json").is_file():
        status = status or Status("done")
        if status.state in ("queued", "running") and not alive(status):
            return replace(status, state="done", exit_code=0)
        return status
    if status is not None and status.state == "running" and alive(status) is False:
        return replace(status, state="killed", error=status.error or "its process is gone", ended=status.heartbeat)
    return status


def alive(status: Status) -> bool | None:
    """Whether the run's own process exists; None where that can not be known: on another host, or never started."""
    if status.pid is None or status.host != socket.gethostname():
        return None
    began = process_start(status.pid)
    return began is not None and status.pid_started is not None and abs(began - status.pid_started) < SAME


def process_start(pid: int) -> float | None:
    """When a process began, in unix seconds; None if there is none, or only the remains of one."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def described(result: Mapping[str, Any]) -> dict[str, float]:
    """The part of a result that a status keeps as its last numbers."""
    last = {"env_steps": result.get("env_steps"), "updates": result.get("updates"), "return": result.get("return_mean")}
    return {"progress": 1.0, **{name: float(value) for name, value in last.items() if value is not None}}
