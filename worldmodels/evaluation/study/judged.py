"""World models on a recording that none of them learns from: losses at equal updates, and beside those from scratch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from worldmodels.evaluation.study import statistics
from worldmodels.evaluation.study.group import Cell, Group, Grouping
from worldmodels.evaluation.study.run import Run
from worldmodels.evaluation.study.statistics import Estimate
from worldmodels.evaluation.study.tables import Table, estimate

LOSS, KL = "loss/total", "kl"
SCRATCH = "scratch"  # the arm that the others are measured by
MOMENTS = (0, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)  # updates, as far as measured
TOLD = {  # by table: its title, and what it holds
    "judged": (
        "World models on frames that no run learns from",
        "The loss of training, on the same windows for all runs, by updates: mean over seeds with its "
        f"{statistics.COVERAGE:.0%} interval.",
    ),
    "relative": (
        "Relative to scratch",
        "The same loss, divided by that of the arm scratch with the same seed: mean ratio with its "
        f"{statistics.COVERAGE:.0%} interval; below 1 is better than from scratch.",
    ),
    "kl": (
        "What the same models did not expect",
        "KL divergence of what they believe after looking from what they believed before, in nats per frame, on the "
        "same windows: what a recurrence that can not follow the game leaves to be seen. A model that tells nothing "
        "apart has little of it, too.",
    ),
}


@dataclass(frozen=True)
class Judged:
    """One group in one environment after so many updates. `relative`: run by run of the same seed, from scratch = 1."""

    group: Group
    env: str
    updates: int
    seeds: int
    loss: Estimate
    kl: Estimate
    relative: Estimate | None
    relative_kl: Estimate | None


def judgements(grouping: Grouping) -> list[Judged]:
    """Of every group whose runs were judged, at the moments when all of them were."""
    return [
        _one(group, cell, updates, baseline(grouping, group, env))
        for group in grouping.groups
        for env, cell in group.cells.items()
        if cell.runs and all(run.judged for run in cell.runs)
        for updates in _moments(grouping, group, env)
    ]


def arm(group: Group) -> str:
    """What a transfer experiment calls this group; empty if it is part of none."""
    told = {str(run.config.get("arm", "")) for run in group.runs}
    return told.pop() if len(told) == 1 else ""


def baseline(grouping: Grouping, group: Group, env: str) -> Cell | None:
    """The runs from scratch of the same study in the same environment."""
    for other in grouping.groups:
        if other.study == group.study and arm(other) == SCRATCH and env in other.cells and other.cells[env].runs:
            return other.cells[env]
    return None


def tables(grouping: Grouping) -> list[Table]:
    """Losses, losses relative to those from scratch, and divergences; none if nothing was judged."""
    found = judgements(grouping)
    if not found:
        return []
    made = [Table("judged", [_raw(each) for each in found], _wide(found, lambda each: each.loss))]
    if any(each.relative for each in found):
        rows = _wide([each for each in found if each.relative], lambda each: each.relative)
        made.append(Table("relative", [_raw(each) for each in found if each.relative], rows))
    made.append(Table("kl", [_raw(each) for each in found], _wide(found, lambda each: each.kl)))
    return made


def paired(ours: Mapping[int | None, float], others: Mapping[int | None, float]) -> Float[np.ndarray, " seeds"]:
    """Ratios of the seeds that both have."""
    return np.array([ours[seed] / others[seed] for seed in ours if others.get(seed)])


def at(run: Run, updates: int, name: str = LOSS) -> float | None:
    """What was measured after exactly so many updates."""
    return next((float(row[name]) for row in run.judged if row["updates"] == updates), None)


def measured(values: Float[np.ndarray, " seeds"]) -> Estimate:
    return statistics.aggregate([values])["mean"]


def _moments(grouping: Grouping, group: Group, env: str) -> list[int]:
    """Moments that all groups of the study in that environment share; the last one, too."""
    cells = [other.cells[env] for other in grouping.groups if other.study == group.study and env in other.cells]
    runs = [run for cell in cells for run in cell.runs if run.judged]
    shared = set.intersection(*({int(row["updates"]) for row in run.judged} for run in runs))
    return sorted(shared & {*MOMENTS, max(shared, default=0)})


def _one(group: Group, cell: Cell, updates: int, scratch: Cell | None) -> Judged:
    loss, kl = ({run.seed: value for run in cell.runs if (value := at(run, updates, name)) is not None}
                for name in (LOSS, KL))  # fmt: skip
    return Judged(
        group, cell.env, updates, len(loss), measured(np.array([*loss.values()])), measured(np.array([*kl.values()])),
        _ratio(loss, scratch, updates, LOSS), _ratio(kl, scratch, updates, KL),
    )  # fmt: skip


def _ratio(ours: Mapping[int | None, float], scratch: Cell | None, updates: int, name: str) -> Estimate | None:
    if scratch is None:
        return None
    others = {run.seed: value for run in scratch.runs if (value := at(run, updates, name)) is not None}
    ratios = paired(ours, others)
    return measured(ratios) if len(ratios) else None


def _raw(each: Judged) -> dict[str, Any]:
    numbers = {"loss": each.loss, "kl": each.kl, "loss_to_scratch": each.relative, "kl_to_scratch": each.relative_kl}
    return {
        "study": each.group.study,
        "group": each.group.label,
        "arm": arm(each.group),
        "environment": each.env,
        "updates": each.updates,
        "seeds": each.seeds,
        **{
            f"{name}{suffix}": found and getattr(found, part)
            for name, found in numbers.items()
            for suffix, part in (("", "value"), ("_low", "low"), ("_high", "high"))
        },
    }


def _wide(found: Sequence[Judged], cell: Callable[[Judged], Estimate | None]) -> list[dict[str, str]]:
    """A row per group, a column per moment."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    moments = sorted({each.updates for each in found})
    for each in found:
        key = (each.group.study, each.group.label, each.env)
        head = {"group": each.group.label, "environment": each.env}
        empty = dict.fromkeys((f"{moment:,}" for moment in moments), "")
        row = rows.setdefault(key, {**head, **empty})
        row[f"{each.updates:,}"] = estimate(cell(each))
    return [*rows.values()]
