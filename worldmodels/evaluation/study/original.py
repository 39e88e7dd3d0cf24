"""Our runs beside the published numbers of the experiment that they repeat, at equal shares of the budget."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from worldmodels.core.errors import ConfigError
from worldmodels.evaluation.study import curves
from worldmodels.evaluation.study.config import NONE
from worldmodels.evaluation.study.curves import Line
from worldmodels.evaluation.study.group import Cell, Grouping
from worldmodels.evaluation.study.judged import SCRATCH, arm, baseline, measured, paired
from worldmodels.evaluation.study.run import Run
from worldmodels.evaluation.study.statistics import Estimate
from worldmodels.evaluation.study.tables import Table, estimate, number

TOLD = {
    "transfer_minatar": (
        "The original's numbers were read off the figures of its paper (within 3 %) and are of a single run each: "
        "JonaSchulz/pydreamer, pre-trained on the four other games of MinAtar; 20,000 updates of a larger model in "
        "Space Invaders. Its model loss is another sum (squared errors, a lighter KL), so only columns relative to "
        "scratch compare; its return is that of training episodes, and so is ours. Rows are at the same share of each "
        "budget, after so many updates of ours and theirs."
    )
}
NOTHING = "none of the runs was measured where the original was, so no numbers of it are shown beside them"
LINES = {"model loss": curves.judged, "return": curves.trained}


@dataclass(frozen=True)
class Published:
    """A number of the original: of an arm, after so many of all its updates."""

    measure: str
    arm: str
    updates: int
    of: int
    value: float

    @property
    def share(self) -> float:
        return self.updates / self.of


@cache
def published(reference: str) -> tuple[Published, ...]:
    """The rows of original.csv under that name; ConfigError if there are none."""
    with Path(__file__).with_name("original.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [row for row in rows if row["reference"] == reference]
    if not found:
        known = ", ".join(dict.fromkeys(row["reference"] for row in rows))
        raise ConfigError(f"reference={reference}", f"one of {known}, or null", "correct the study")
    return tuple(
        Published(row["measure"], row["arm"], int(row["updates"]), int(row["of"]), float(row["value"])) for row in found
    )


def table(grouping: Grouping, reference: str) -> Table:
    """A row for each published number, with ours at the same share of our budget: of all that act, or else of none.

    Shown are those beside which there is one of ours, in the columns that say something.
    """
    numbers = published(reference)
    theirs = {(each.measure, each.updates, each.arm): each.value for each in numbers}
    raw = []
    for each in numbers:
        found = _ours(grouping, each)
        base = theirs.get((each.measure, each.updates, SCRATCH))
        raw.append({
            "measure": each.measure,
            "share": each.share,
            "arm": each.arm,
            **found,
            "original_updates": each.updates,
            "original": each.value,
            "original_to_scratch": each.value / base if base else None,
        })  # fmt: skip
    shown = _told([_shown(row) for row in raw if row["ours"] is not None])
    return Table("original", [_flat(row) for row in raw], shown)


def _ours(grouping: Grouping, wanted: Published) -> dict[str, Any]:
    """Mean over seeds and ratio to scratch; empty where no run of that arm got so far."""
    empty = {"updates": None, "seeds": 0, "ours": None, "ours_to_scratch": None}
    for group in grouping.groups:
        for env, cell in group.cells.items():
            if arm(group) != wanted.arm or not cell.runs or cell.measure != "return":
                continue
            ours = _values(cell, wanted)
            scratch = baseline(grouping, group, env)
            ratios = paired(ours, _values(scratch, wanted)) if scratch is not None else np.empty(0)
            if ours:
                return {
                    "updates": round(wanted.share * _budget(cell.runs)),
                    "seeds": len(ours),
                    "ours": measured(np.array([*ours.values()])),
                    "ours_to_scratch": measured(ratios) if len(ratios) else None,
                }
    return empty


def _values(cell: Cell, wanted: Published) -> dict[int | None, float]:
    """By seed, linear between measurements; runs that were not measured on both sides of the moment are left out."""
    found: dict[int | None, float] = {}
    for run in cell.runs:
        line = LINES[wanted.measure](run, "updates")
        value = _between(line, wanted.share * _budget([run]))
        if value is not None:
            found[run.seed] = value
    return found


def _between(line: Line, moment: float) -> float | None:
    x, y = line
    inside = len(x) and x[0] <= moment <= x[-1]
    return float(np.interp(moment, x, y)) if inside else None


def _budget(runs: Sequence[Run]) -> float:
    return max(run.count("updates") or 0.0 for run in runs)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """With every estimate as a number and its two ends."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if name not in ("ours", "ours_to_scratch"):
            found[name] = value
            continue
        for suffix, part in (("", "value"), ("_low", "low"), ("_high", "high")):
            found[f"{name}{suffix}"] = None if value is None else getattr(value, part)
    return found


def _told(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Without columns that hold nothing, such as ratios to an arm that was not run."""
    empty = {name for name in (rows[0] if rows else ()) if all(row[name] == NONE for row in rows)}
    return [{name: cell for name, cell in row.items() if name not in empty} for row in rows]


def _shown(row: Mapping[str, Any]) -> dict[str, str]:
    ours: Estimate | None = row["ours"]
    return {
        "measure": row["measure"],
        "share": f"{100 * row['share']:g} %",
        "arm": row["arm"],
        "ours": estimate(ours),
        "ours / scratch": estimate(row["ours_to_scratch"]),
        "theirs": number(row["original"]),
        "theirs / scratch": number(row["original_to_scratch"]),
        "after": NONE if row["updates"] is None else f"{row['updates']:,} and {row['original_updates']:,}",
    }
