"""Runs that differ in nothing but their seeds belong together; which of them count, and why the others do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from worldmodels.evaluation.study import config
from worldmodels.evaluation.study.reference import Reference, reference
from worldmodels.evaluation.study.run import Run
from worldmodels.evaluation.study.swept import apart, natural, swept


@dataclass(frozen=True)
class Cell:
    """The runs of one group in one environment: those that count, and those that do not, with the reason."""

    env: str
    runs: tuple[Run, ...]
    left: tuple[tuple[Run, str], ...]

    @property
    def scores(self) -> Float[np.ndarray, " runs"]:
        return np.array([run.score for run in self.runs], float)

    @property
    def measure(self) -> str:
        return self.runs[0].measure if self.runs else ""

    @property
    def better(self) -> int:
        """1 where more is better, -1 for losses and errors."""
        return 1 if self.measure in ("return", "") else -1

    @property
    def scale(self) -> Reference | None:
        """The published one of its world, if its runs are scored by their returns."""
        return scale(self.runs[0]) if self.runs else None


@dataclass(frozen=True)
class Group:
    """One config apart from seed and environment. `values`: what tells it from the other groups, by column."""

    label: str
    study: str
    values: Mapping[str, str]
    cells: Mapping[str, Cell]

    @property
    def runs(self) -> list[Run]:
        """Those that count."""
        return [run for cell in self.cells.values() for run in cell.runs]


@dataclass(frozen=True)
class Grouping:
    """All runs. `reasons`: why some do not count. `envs`: of each run; a run without a config is in no group."""

    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    columns: tuple[str, ...]
    reasons: Mapping[Run, str]
    envs: Mapping[Run, str]
    group_of: Mapping[Run, Group]

    @property
    def worlds(self) -> list[str]:
        return sorted(set(self.envs.values()), key=natural)


def group(runs: Sequence[Run], *, unfinished: bool = False) -> Grouping:
    """Groups in the order of their values. With `unfinished`, runs that have a score count before they are done."""
    known = [run for run in runs if run.config]
    envs = _envs(known)
    parts = defaultdict[tuple[str, str], list[Run]](list)
    for run in known:
        parts[run.study, repr(sorted(config.method(run.config).items()))].append(run)
    reasons = {run: why for run in runs if (why := _reason(run, unfinished))}
    for part in parts.values():
        reasons |= _twins([run for run in part if run not in reasons], envs)
    columns, rows = swept(list(parts.values()))
    names = _labels(rows, [study for study, _ in parts])
    made = [_group(part, name, row, envs, reasons) for part, name, row in zip(parts.values(), names, rows, strict=True)]
    owners = {run: each for each, part in zip(made, parts.values(), strict=True) for run in part}
    made.sort(key=lambda each: (each.study, [natural(each.values[key]) for key in columns]))
    return Grouping(tuple(runs), tuple(made), tuple(columns), reasons, envs, owners)


def best(groups: Sequence[Group], most: int, env: str | None = None) -> list[Group]:
    """Those with the best mean scores in an environment or, without one, by their mean rank over environments.

    Ranks, since scores of different games can not be added. They come in the order of `groups`.
    """
    ranks: dict[int, list[float]] = {id(group): [] for group in groups}
    for world in [env] if env is not None else {each for group in groups for each in group.cells}:
        cells = [(group, cell) for group in groups if (cell := group.cells.get(world)) and cell.runs]
        order = sorted(cells, key=lambda pair: -pair[1].better * float(pair[1].scores.mean()))
        for rank, (group, _) in enumerate(order):
            ranks[id(group)].append(rank / len(order))
    able = [group for group in groups if ranks[id(group)]]
    chosen = sorted(able, key=lambda group: float(np.mean(ranks[id(group)])))[:most]
    return [group for group in able if group in chosen]


def scale(run: Run) -> Reference | None:
    if run.measure != "return":
        return None
    return reference({key.removeprefix("env."): value for key, value in config.world(run.config).items()})


def _envs(runs: Sequence[Run]) -> dict[Run, str]:
    worlds = {run: config.world(run.config) for run in runs}
    different = {repr(sorted(part.items())): part for part in worlds.values()}
    names = dict(zip(different, config.labels(list(different.values())), strict=True))
    return {run: names[repr(sorted(part.items()))] for run, part in worlds.items()}


def _reason(run: Run, unfinished: bool) -> str:
    """Why a run can not count; empty if it can."""
    if not run.config:
        return run.state if run.state == "queued" else f"{run.state}, with a config that can not be read"
    if run.state == "done" and not run.result:
        return "with a result that can not be read"
    if not run.finished and not (unfinished and run.state != "queued"):
        return "not finished" if run.state == "unknown" else run.state
    if run.score is None:
        return "with a score that is not a number" if run.finished and run.measure else "without a score"
    return ""


def _twins(runs: Sequence[Run], envs: Mapping[Run, str]) -> dict[Run, str]:
    """Runs of the same seed are not independent: the one that began last counts, if it is finished."""
    found: dict[Run, str] = {}
    newest: dict[tuple[str, int | None], Run] = {}
    for run in sorted(runs, key=lambda run: (run.finished, run.began, run.folder)):
        place = (envs[run], run.seed)
        if place in newest:
            found[newest[place]] = f"the same config and seed as {run.folder.name}, which counts"
        newest[place] = run
    return found


def _labels(rows: Sequence[Mapping[str, str]], studies: Sequence[str]) -> list[str]:
    """What tells each group from the others, in as few words as that takes; empty of a single group."""
    table = [{"": study, **row} for study, row in zip(studies, rows, strict=True)]
    keys = ["", *rows[0]] if rows else []
    removable = [key for key in keys if key or len(set(studies)) == 1]
    for key in reversed(removable):
        fewer = [each for each in keys if each != key]
        if apart(table, fewer) == len(table):
            keys = fewer
    told = [{key: row[key] for key in keys if row[key] != config.NONE} for row in table]
    return [" ".join(f"{config.short(key)}={value}" if key else value for key, value in row.items()) for row in told]


def _group(
    runs: Sequence[Run], name: str, values: Mapping[str, str], envs: Mapping[Run, str], reasons: Mapping[Run, str]
) -> Group:
    cells = {}
    for env in sorted({envs[run] for run in runs}, key=natural):
        here = sorted((run for run in runs if envs[run] == env), key=lambda run: (natural(str(run.seed)), run.folder))
        counted = tuple(run for run in here if run not in reasons)
        cells[env] = Cell(env, counted, tuple((run, reasons[run]) for run in here if run in reasons))
    kind = str(runs[0].config.get("stage._target_", "")).rpartition(".")[2]
    return Group(name or kind or runs[0].study, runs[0].study, values, cells)
