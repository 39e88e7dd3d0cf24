"""Curves of several runs on one common grid: their mean, and the interval of the mean over runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from worldmodels.evaluation.figures import smooth
from worldmodels.evaluation.study.group import Cell, Group
from worldmodels.evaluation.study.run import HELD, Run
from worldmodels.evaluation.study.statistics import band

Axis = Literal["env_steps", "updates", "minutes"]
Line = tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]  # x and y, as long as each other
POINTS = 160


@dataclass(frozen=True)
class Curve:
    """Mean over runs on a grid that begins where the last run begins and ends where the first one ends."""

    x: Float[np.ndarray, " points"]
    middle: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"] | None
    high: Float[np.ndarray, " points"] | None
    runs: int


def together(lines: Sequence[Line], points: int = POINTS) -> Curve | None:
    """Each line, linear between its points, on the stretch that all of them cover; None if there is no such stretch."""
    lines = [(x, y) for x, y in lines if len(x)]
    if not lines:
        return None
    start, end = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    if end <= start:
        return None
    alike = all(len(x) == len(lines[0][0]) and np.array_equal(x, lines[0][0]) for x, _ in lines)
    grid = lines[0][0] if alike and len(lines[0][0]) <= points else np.linspace(start, end, points)
    values = np.stack([np.interp(grid, x, y) for x, y in lines])
    low, high = band(values) or (None, None)
    return Curve(grid, values.mean(0), low, high, len(values))


def of_groups(
    groups: Sequence[Group], env: str, line: Callable[[Run, Axis], Line], axis: Axis
) -> list[tuple[Group, Curve]]:
    """That of each group in this environment, if its runs have a stretch in common."""
    found = [(group, together([line(run, axis) for run in group.cells[env].runs])) for group in groups]
    return [(group, curve) for group, curve in found if curve]


def stepped(runs: Sequence[Run]) -> bool:
    """Whether any of them acted; where none did, updates stand for env steps."""
    return any(row["env_steps"] for run in runs for row in run.scores) or any(run.count("env_steps") for run in runs)


def evaluated(run: Run, axis: Axis) -> Line:
    """Returns without exploration, at the moments when they were measured."""
    rows = [row for row in run.scores if np.isfinite(row["return_mean"])]
    updates, score = (np.array([row[name] for row in rows], float) for name in ("updates", "return_mean"))
    return _rising(_at(run, axis, updates, np.array([row["env_steps"] for row in rows], float)), score)


def trained(run: Run, axis: Axis) -> Line:
    """Returns of training episodes, with exploration, smoothed over a twentieth of the run."""
    return _column(run, "return", axis, smooth)


def held_out(run: Run, axis: Axis) -> Line:
    """Loss on held-out windows, of a model that learns alone."""
    return _column(run, HELD, axis, lambda values: values)


def judged(run: Run, axis: Axis) -> Line:
    """World-model loss on a recording that no run learns from."""
    updates, steps, loss = (
        np.array([row[name] for row in run.judged], float) for name in ("updates", "env_steps", "loss/total")
    )
    return _rising(_at(run, axis, updates, steps), loss)


def ahead(runs: Sequence[Run], quantity: str) -> Curve | None:
    """An open-loop error by horizon over the runs that measured it, such as mse/obs/open."""
    lines = list[Line]()
    for run in runs:
        pairs = [(row["horizon"], row[quantity]) for row in run.ahead if row.get(quantity) is not None]
        if pairs:
            x, y = np.array(pairs, float).T
            lines.append(_rising(x, y))
    return together(lines)


def sources(cells: Sequence[Cell]) -> list[tuple[str, Callable[[Run, Axis], Line]]]:
    """What can be drawn of these cells over time, the best first."""
    runs = [run for cell in cells for run in cell.runs]
    found: list[tuple[str, Callable[[Run, Axis], Line]]] = []
    if any(len(run.judged) > 1 for run in runs):
        found.append(("world-model loss on a recording that no run learns from", judged))
    if any(cell.measure not in ("return", "") for cell in cells):
        return [*found, ("loss on held-out episodes", held_out)]
    if any(len(run.scores) > 1 for run in runs):
        found.append(("return, evaluated without exploration", evaluated))
    if any(np.isfinite(run.columns.get("return", np.empty(0))).sum() > 1 for run in runs):
        found.append(("return of training episodes", trained))
    return found


def _column(run: Run, name: str, axis: Axis, smoothed: Callable[[np.ndarray], np.ndarray]) -> Line:
    empty = np.empty(0)
    values, updates = run.columns.get(name, empty), run.columns.get("updates", empty)
    known = np.isfinite(values)
    if not known.any():
        return empty, empty
    if axis == "minutes":
        x = run.columns.get("seconds", empty) / 60
    else:
        x = _at(run, axis, updates, run.columns.get("env_steps", updates))
    return _rising(x[known], smoothed(values[known])) if len(x) else (empty, empty)


def _at(
    run: Run, axis: Axis, updates: Float[np.ndarray, " n"], steps: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """The x of these moments. Without any env steps, as in offline learning, updates stand for them."""
    if axis == "minutes":
        return _minutes(run, updates)
    return updates if axis == "updates" or not np.nan_to_num(steps).any() else steps


def _minutes(run: Run, updates: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Training time at these updates, from metrics.csv: 0 at the start, and no later than its last row."""
    known, seconds = run.columns.get("updates", np.empty(0)), run.columns.get("seconds", np.empty(0))
    if len(known) < 2 or len(seconds) != len(known):
        return np.full(len(updates), np.nan)
    return np.interp(updates, np.concatenate([[0], known]), np.concatenate([[0], seconds])) / 60


def _rising(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> Line:
    """In order of x, without gaps, each x once: of several values the last."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    last = np.append(np.diff(x) > 0, True) if len(x) else np.empty(0, bool)
    return x[last], y[last]
