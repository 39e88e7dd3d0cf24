"""What a queue leaves behind: a line per change, and the file of results in the original tool's format."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from worldmodels.core.errors import ConfigError
from worldmodels.core.files import write_text
from worldmodels.launch.queue.nouns import Event, Outcome
from worldmodels.launch.queue.processes import LINES
from worldmodels.launch.queue.run import STDERR, STDOUT, Run
from worldmodels.launch.status import Status

LEDGER = "results.jsonl"
STOPPED = (130, 143)  # exit codes of a run that a signal stopped


def note(pairs: Iterable[tuple[Run, Event]]) -> None:
    """Append to each study's ledger, one line per change, on the disk before this returns."""
    lines: dict[Path, list[str]] = {}
    for run, event in pairs:
        lines.setdefault(run.folder.parent / LEDGER, []).append(json.dumps(_line(run, event)) + "\n")
    for path, told in lines.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            whole = file.tell() == 0 or _ends_a_line(file)
            file.write(("" if whole else "\n").encode() + "".join(told).encode())  # a cut line stays alone
            file.flush()
            os.fsync(file.fileno())


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _line(run: Run, event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {
        "at": round(time.time(), 3),
        "run": run.folder.name,
        "what": event.what,
        "attempt": event.attempt,
        "devices": list(event.devices or run.devices),
    }
    if event.outcome is not None:
        told |= {"outcome": event.outcome.value, "score": run.score}
    if event.what in ("ended", "retrying"):
        seconds = None if event.seconds is None else round(event.seconds, 3)
        told |= {"exit_code": event.code, "seconds": seconds, "error": run.error or None}
    return told


def settle(run: Run, event: Event) -> None:
    """Correct the status of a run that could not say how it ended."""
    status = Status.read(run.folder)
    if status is None or event.outcome is Outcome.CANCELLED:
        return
    code = event.code or 0
    if status.state in ("queued", "running"):
        state = "done" if code == 0 else "killed" if code < 0 or code in STOPPED else "failed"
        status = replace(status, state=state, exit_code=code, ended=time.time())
    elif event.outcome is not Outcome.TIMED_OUT:
        return
    replace(status, error=None if status.state == "done" else run.error).write(run.folder)


class Results:
    """The JSON list of the original tool: a record per run that ended, in the order in which they did.

    The file is rewritten as a whole after every run. What it held before stays in it: records of runs that this queue
    does not run. Runs that had finished before and are not in it are added, as their folders tell of them.
    """

    def __init__(self, path: Path, runs: Sequence[Run], finished: Sequence[Run] = ()) -> None:
        """ConfigError, before anything starts, if the file can not be written or is something else."""
        self.path = path
        names = {run.folder.name for run in runs}
        self.records = [record for record in _before(path) if record["model_name"] not in names]
        known = {record["model_name"] for record in self.records}
        self.records += [earlier(run) for run in finished if run.folder.name not in known]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            passing = path.with_name(f".{path.name}.{os.getpid()}.try")
            passing.touch()
            passing.unlink()
        except OSError as error:
            found = f"results_file={path} can not be written: {error.strerror}"
            raise ConfigError(found, "a file in a folder that can be written", "give another path") from error

    def add(self, run: Run) -> None:
        self.records.append(record(run))
        write_text(self.path, dump(self.records))

    def partial(self, runs: Iterable[Run]) -> None:
        """What there is when the queue is stopped: `<file>.partial`, with the runs that were stopped."""
        stopped = [record(run) for run in runs if run.outcome is Outcome.INTERRUPTED]
        write_text(self.path.with_name(self.path.name + ".partial"), dump([*self.records, *stopped]))

    def complete(self) -> None:
        """Everything is in the file itself."""
        write_text(self.path, dump(self.records))
        self.path.with_name(self.path.name + ".partial").unlink(missing_ok=True)


def record(run: Run) -> dict[str, Any]:
    """One entry of the file, with the original's keys; `interrupted` is added where it says why."""
    told: dict[str, Any] = {
        "model_name": run.folder.name,
        "hyperparams": dict(run.values),
        "success": run.outcome is Outcome.DONE,
        "returncode": run.code,
        "duration_seconds": run.seconds,
        "gpu_id": gpu(run.devices),
        "stdout": run.tail(STDOUT, LINES[STDOUT]),
        "stderr": run.tail(STDERR, LINES[STDERR]),
    }
    return told | ({"interrupted": True} if run.outcome is Outcome.INTERRUPTED else {})


def earlier(run: Run) -> dict[str, Any]:
    """The same of a run that had finished before this queue began."""
    status = Status.read(run.folder) or Status("done")
    devices = (status.gpu or "cpu").split(",")
    return {
        **record(run),
        **{"success": True, "returncode": 0, "duration_seconds": status.seconds, "gpu_id": gpu(devices)},
    }


def gpu(devices: Sequence[str]) -> int | str | list[int | str] | None:
    """The number that the original tool wrote; a list for several, None for CPUs."""
    told = [int(name) if name.isdigit() else name for name in devices if name != "cpu"]
    return None if not told else told[0] if len(told) == 1 else told


def dump(records: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(list(records), indent=2) + "\n"


def _before(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise _foreign(path, str(error)) from error
    if not isinstance(told, list) or not all(isinstance(each, dict) and "model_name" in each for each in told):
        raise _foreign(path, "it holds something else")
    return told


def _foreign(path: Path, why: str) -> ConfigError:
    found = f"results_file={path} exists and is no file of results: {why}"
    return ConfigError(found, "a file of an earlier sweep, or none", "give another path, or move that file away")
