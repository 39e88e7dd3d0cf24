"""The numbers of a report: groups in every environment, over environments, and against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from worldmodels.evaluation.study import statistics
from worldmodels.evaluation.study.group import Cell, Group, Grouping, best
from worldmodels.evaluation.study.notes import of_cell
from worldmodels.evaluation.study.statistics import Estimate

EVERY_PAIR = 8  # groups; of more, each is compared with the best one alone


@dataclass(frozen=True)
class Result:
    """One group in one environment, or over those that share a published scale; raw scores have no `scale`."""

    group: Group
    env: str
    scores: Sequence[Float[np.ndarray, " _"]]
    estimates: Mapping[str, Estimate]
    scale: str = ""
    measure: str = "return"
    left: int = 0
    notes: tuple[str, ...] = ()

    @property
    def seeds(self) -> int:
        return sum(map(len, self.scores))


@dataclass(frozen=True)
class Pair:
    """How probable it is that a run of `ours` does better than one of `other` in the same environment."""

    ours: Group
    other: Group
    probability: Estimate | None
    envs: tuple[str, ...]


@dataclass(frozen=True)
class Results:
    """cells: raw scores. scaled: on published scales. pairs: groups against each other."""

    cells: tuple[Result, ...]
    scaled: tuple[Result, ...]
    pairs: tuple[Pair, ...]


def compute(grouping: Grouping, *, resamples: int = statistics.RESAMPLES) -> Results:
    cells = [
        _raw(group, cell, resamples) for env in grouping.worlds for group in grouping.groups
        if (cell := group.cells.get(env)) is not None
    ]  # fmt: skip
    scaled = [result for group in grouping.groups for result in _scaled(group, resamples)]
    envs = len({result.env for result in cells})
    return Results(tuple(cells), tuple(scaled), tuple(_pairs(grouping.groups, resamples)) if envs else ())


def _raw(group: Group, cell: Cell, resamples: int) -> Result:
    scores = [cell.scores] if cell.runs else []
    estimates = statistics.aggregate(scores, resamples=resamples) if scores else {}
    return Result(group, cell.env, scores, estimates, "", cell.measure, len(cell.left), tuple(of_cell(cell)))


def _scaled(group: Group, resamples: int) -> list[Result]:
    """Over the environments that share a published scale; those without one have no place in such a mean."""
    scales = {cell.env: cell.scale for cell in group.cells.values()}
    found = list[Result]()
    for name in dict.fromkeys(scale.name for scale in scales.values() if scale):
        cells = [cell for cell in group.cells.values() if (scale := scales[cell.env]) and scale.name == name]
        scores = [np.array([scales[cell.env](score) for score in cell.scores]) for cell in cells]  # type: ignore[misc]
        notes = [f"{cell.env}: {note}" for cell in cells for note in of_cell(cell)]
        notes += ["environments with different numbers of seeds"] if len({*map(len, scores)}) > 1 else []
        empty = [cell.env for cell in group.cells.values() if not cell.runs]
        notes += [f"without {', '.join(empty)}"] if empty else []
        left = sum(len(cell.left) for cell in cells)
        env = cells[0].env if len(cells) == 1 else f"{len(cells)} environments"
        estimates = statistics.aggregate(scores, resamples=resamples)
        found.append(Result(group, env, scores, estimates, name, "return", left, tuple(notes)))
    return found


def _pairs(groups: Sequence[Group], resamples: int) -> list[Pair]:
    able = [group for group in groups if group.runs]
    if len(able) <= EVERY_PAIR:
        return [_pair(a, b, resamples) for a, b in combinations(able, 2)]
    first = best(groups, 1)[0]
    return [_pair(first, other, resamples) for other in able if other is not first]


def _pair(ours: Group, other: Group, resamples: int) -> Pair:
    shared = [
        (cell, rival) for env, cell in ours.cells.items()
        if (rival := other.cells.get(env)) and cell.runs and rival.runs and cell.measure == rival.measure
    ]  # fmt: skip
    x, y = ([cell.better * cell.scores for cell in side] for side in zip(*shared, strict=True)) if shared else ([], [])
    probability = statistics.improvement(x, y, resamples=resamples)
    return Pair(ours, other, probability, tuple(cell.env for cell, _ in shared))
