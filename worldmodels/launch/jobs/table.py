"""What a person wants to see of many runs at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from worldmodels.evaluation.status import STATES, Status
from worldmodels.launch.jobs.roster import Run, runs, stranded, sweeping

COLOURS = {"done": "green", "failed": "red", "killed": "yellow", "running": "cyan", "queued": "dim"}
SILENT = 120.0  # seconds without a heartbeat after which a running run is said to be silent


def of_studies(folders: Mapping[str, Path]) -> Table:
    """A line per study: how many runs are in which state, and whether a sweep is at work."""
    table = _table(("study", "left"), *((state, "right") for state in STATES), ("sweep", "left"))
    for name, folder in folders.items():
        count = Counter(run.status.state for run in runs(folder))
        sweep = sweeping(folder)
        cells = [f"[{COLOURS[state]}]{count[state]}[/]" if count[state] else "" for state in STATES]
        table.add_row(name, *cells, "" if sweep is None else f"process {sweep}")
    return table


def of_runs(known: Sequence[Run]) -> Table:
    """A line per run."""
    table = _table(
        ("run", "left"),
        ("state", "left"),
        ("done", "right"),
        ("env steps", "right"),
        ("updates", "right"),
        ("return", "right"),
        ("time", "right"),
        ("where", "left"),
    )
    for run, label in zip(known, labels(known), strict=True):
        table.add_row(label, *_cells(run.status))
    return table


def labels(known: Sequence[Run]) -> list[str]:
    """What tells each run from the others: the words that not all have, or their names if they were given some."""
    words = [set(run.status.overrides) for run in known]
    common = set[str].intersection(*words) if len(known) > 1 else set[str]()
    told = [" ".join(word for word in run.status.overrides if word not in common) for run in known]
    named = any(run.step for run in known) or all(any(word.startswith("name=") for word in each) for each in words)
    unique = len(set(told)) == len(told) and len(known) > 1 and not named
    return [label if unique and label else run.name for label, run in zip(told, known, strict=True)]


def facts(run: Run) -> dict[str, Any]:
    """Everything that is known of one run, as plain data."""
    status = run.status
    told = {name: value for name, value in vars(status).items() if value not in (None, (), {})}
    for name in ("queued", "started", "ended", "heartbeat"):
        if name in told:
            told[name] = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told[name]))
    return {"run": run.name, "folder": str(run.folder), **told, "overrides": " ".join(status.overrides)}


def _cells(status: Status) -> list[str]:
    last = status.last
    share = f"{last['progress']:.0%}" if "progress" in last else ""
    steps, updates = (f"{last[name]:,.0f}" if last.get(name) else "" for name in ("env_steps", "updates"))
    score = f"{last['return']:.2f}" if "return" in last else ""
    where = status.job or (f"{status.host}:{status.pid}" if status.state == "running" else "")
    if status.gpu and status.gpu != "cpu" and status.state == "running":
        where += f" gpu {status.gpu}"
    seconds = status.seconds if status.state != "queued" else None
    state = f"[{COLOURS[status.state]}]{status.state}[/]"
    return [state, share, steps, updates, score, "" if seconds is None else duration(seconds), where]


def remarks(known: Sequence[Run]) -> list[str]:
    """A line for every run of which there is more to say: why it failed, or that nothing is heard of it."""
    return [
        f"{run.status.state:<8} {label}\n         {said}"
        for run, label in zip(known, labels(known), strict=True)
        if (said := _remark(run))
    ]


def _remark(run: Run) -> str:
    status = run.status
    if stranded(run):
        return "waits, but no sweep is at work: the same command starts it, or `worldmodels jobs retry`"
    silent = time.time() - status.heartbeat if status.state == "running" and status.heartbeat else 0.0
    if silent > SILENT:
        return f"silent for {duration(silent)}"
    if not status.error or status.state in ("done", "running"):
        return ""
    said = status.error.splitlines()[0].replace(f"{run.folder}/", "").replace(str(run.folder), "it")
    return f"before: {said}" if status.state == "queued" and status.attempt else said


def duration(seconds: float) -> str:
    """For example `3:20` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _table(*columns: tuple[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, side in columns:
        table.add_column(title, justify=side, overflow="fold" if side == "left" else "ellipsis", no_wrap=side != "left")
    return table
