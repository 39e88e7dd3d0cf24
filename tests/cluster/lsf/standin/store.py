"""The cluster's memory: one JSON file under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Job = dict[str, Any]
FINISHED = ("DONE", "EXIT")
SUSPENDED = ("SSUSP", "USUSP")


def root() -> Path:
    return Path(os.environ["LSF_STANDIN"])


@contextlib.contextmanager
def cluster() -> Iterator[dict[str, Any]]:
    """The state, for reading and changing; it is written back when the block ends well."""
    root().mkdir(parents=True, exist_ok=True)
    file = root() / "state.json"
    with (root() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = file.read_text() if file.exists() else '{"next": 1, "jobs": {}, "calls": {}}'
        state = json.loads(before)
        yield state
        after = json.dumps(state, indent=1)
        if after != before:
            passing = file.with_suffix(".tmp")
            passing.write_text(after)
            passing.replace(file)


def key(number: int, index: int) -> str:
    """As LSF writes it: `12` or `12[3]`."""
    return f"{number}[{index}]" if index else str(number)


def chosen(state: dict[str, Any], word: str) -> list[Job]:
    """The job `12` or `12[3]`, or all elements of the array 12."""
    if word in state["jobs"]:
        return [state["jobs"][word]]
    return [job for job in state["jobs"].values() if str(job["id"]) == word]


def forgotten(job: Job) -> bool:
    """Finished jobs are shown for CLEAN_PERIOD only (page "lsb.params")."""
    return job["stat"] in FINISHED and time.time() - job["ended"] > setting("CLEAN", 3600)


def event(job: Job, text: str) -> None:
    job["events"].append([time.time(), text])


def setting(name: str, default: float) -> float:
    return float(os.environ.get(f"LSF_STANDIN_{name}", default))
