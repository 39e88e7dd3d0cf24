"""What a reader must know before believing a number: which runs are left out, and how the others are not alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from worldmodels.evaluation.study.group import Cell, Grouping
from worldmodels.evaluation.study.run import Run

PACKAGES = ("torch", "pytorch-lightning", "gymnasium", "numpy", "minatar", "ale-py", "minigrid", "procgen")
SHOWN = 6  # of a list within a sentence


def of_cell(cell: Cell) -> list[str]:
    """Of the runs of one group in one environment that count."""
    runs, found = cell.runs, list[str]()
    waiting = sum(not run.finished for run in runs)
    found += [f"{waiting} of {len(runs)} not finished"] if waiting else []
    found += _code(runs)
    found += _episodes([run for run in runs if run.finished])
    steps = [steps for run in runs if (steps := run.count("env_steps") or run.count("updates")) is not None]
    if steps and max(steps) > 1.02 * min(steps):
        unit = "env steps" if any(run.count("env_steps") for run in runs) else "updates"
        found.append(f"from {min(steps):,.0f} to {max(steps):,.0f} {unit}")
    cut = sum(int(run.result.get("cut") or 0) for run in runs)
    found += [f"{cut} evaluation episodes cut at the limit"] if cut else []
    return found


def of_study(grouping: Grouping) -> list[str]:
    """Of all runs together, the gravest first."""
    counted = [run for run in grouping.runs if run not in grouping.reasons]
    found = _left_out(grouping) + _unfinished(counted)
    found += [f"the runs that count come from {line}" for line in _code(counted)]
    found += _versions(counted)
    found += [f"evaluations differ: {line}" for line in _episodes([run for run in counted if run.finished])]
    found += _seeds(grouping)
    damaged = [run for run in grouping.runs if run.problems]
    found += [f"{run.folder.name}: {'; '.join(run.problems)}" for run in damaged[:SHOWN]]
    found += [f"{len(damaged) - SHOWN} more runs have files that are missing or damaged"] * (len(damaged) > SHOWN)
    return found


def listed(words: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    every = list(words)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def _left_out(grouping: Grouping) -> list[str]:
    if not grouping.reasons:
        return []
    whys = ("of the same config and seed as another" if " as " in why else why for why in grouping.reasons.values())
    told = listed(f"{count} {why}" for why, count in Counter(whys).most_common())
    return [f"{len(grouping.reasons)} of {len(grouping.runs)} runs are in no average: {told}"]


def _unfinished(counted: Sequence[Run]) -> list[str]:
    waiting = [run for run in counted if not run.finished]
    if not waiting:
        return []
    return [f"{len(waiting)} runs that are not finished count with their last evaluation, as was asked for"]


def _code(runs: Sequence[Run]) -> list[str]:
    """Commits and uncommitted changes; silent if all of it is one and the same committed state."""
    found = list[str]()
    commits = dict.fromkeys(each for run in runs for each in run.commits if each)
    codes = {run.code for run in runs}
    dirty = sum(bool(run.dirty) for run in runs)
    if len(commits) > 1:
        found.append(f"{len(commits)} commits ({listed(each[:10] for each in commits)})")
    if dirty:
        alike = "the same" if len(codes) == 1 else "not all the same"
        found.append(f"uncommitted changes in {dirty} of {len(runs)} runs" + (f", {alike}" if dirty > 1 else ""))
    unknown = sum(not any(run.commits) for run in runs)
    found += [f"{unknown} of {len(runs)} runs without a known commit"] if unknown else []
    return found


def _versions(runs: Sequence[Run]) -> list[str]:
    found = list[str]()
    for name in PACKAGES:
        told = {str(each.get("versions", {}).get(name)) for run in runs for each in run.sessions} - {"None"}
        if len(told) > 1:
            found.append(f"runs with different versions of {name}: {listed(sorted(told))}")
    return found


def _episodes(runs: Sequence[Run]) -> list[str]:
    counts = sorted({int(run.result["episodes"]) for run in runs if run.result.get("episodes")})
    return [f"runs were evaluated on {listed(map(str, counts))} episodes"] if len(counts) > 1 else []


def _seeds(grouping: Grouping) -> list[str]:
    counts = sorted({len(cell.runs) for each in grouping.groups for cell in each.cells.values() if cell.runs})
    found = list[str]()
    if len(counts) > 1:
        found.append(f"groups have from {counts[0]} to {counts[-1]} seeds")
    if counts and counts[0] == 1:
        found.append("a group of one seed has no interval: a single run does not tell how much runs differ")
    if counts and 1 < counts[-1] < 5:
        found.append("intervals of fewer than five seeds are rough, and rather too narrow")
    return found
