"""A report's tables as CSV with every digit, and as Markdown and LaTeX for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worldmodels.evaluation.study.config import NONE
from worldmodels.evaluation.study.group import Grouping, scale
from worldmodels.evaluation.study.latex import tabular
from worldmodels.evaluation.study.results import Result, Results
from worldmodels.evaluation.study.run import Run
from worldmodels.evaluation.study.statistics import Estimate
from worldmodels.evaluation.study.swept import natural

TEXTS = ("commit", "folder", "remarks")  # columns that hold no numbers, whatever their cells begin with


@dataclass(frozen=True)
class Table:
    """Rows of raw values. `shown` has the same rows in fewer columns, as text for people."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    shown: Sequence[Mapping[str, str]]

    def csv(self) -> str:
        file = io.StringIO()
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in self.rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in self.rows)
        return file.getvalue()

    def markdown(self) -> str:
        if not self.shown:
            return "nothing to show\n"
        heads = list(self.shown[0])
        ruler = ["---:" if numeric(self.shown, head) else "---" for head in heads]
        lines = [heads, ruler, *([cell.replace("|", "\\|") for cell in row.values()] for row in self.shown)]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def latex(self) -> str:
        """A tabular for the package booktabs."""
        if not self.shown:
            return "% nothing to show\n"
        sides = "".join("r" if numeric(self.shown, head) else "l" for head in self.shown[0])
        return tabular([list(self.shown[0]), *(list(row.values()) for row in self.shown)], sides)


def runs(grouping: Grouping) -> Table:
    """One row per run, those that count for nothing too."""
    several = len({run.study for run in grouping.runs}) > 1
    raw = [_run(run, grouping) for run in _ordered(grouping)]
    shown = [
        {
            **({"study": row["study"]} if several else {}),
            **{key: str(row[key]) for key in grouping.columns},
            "environment": row["environment"] or NONE,
            "seed": NONE if row["seed"] is None else str(row["seed"]),
            "state": row["state"],
            "counted": row["used"],
            "env steps": number(row["env_steps"], whole=True),
            "updates": number(row["updates"], whole=True),
            **_scores(row, raw),
            "minutes": number(row["minutes"]),
            "commit": (row["commit"] or NONE)[:10] + (" + changes" if row["dirty"] else ""),
            "folder": row["folder"],
        }
        for row in raw
    ]
    return Table("runs", raw, shown)


def groups(results: Results, columns: Sequence[str], *, labelled: bool = False) -> Table:
    """One row per group and environment, then those on published scales; `labelled` shows labels, not columns."""
    every = (*results.cells, *results.scaled)
    raw = [_group(result, columns) for result in every]
    several = len({result.group.study for result in every}) > 1
    measures = {result.measure for result in every} - {""}
    shown = [
        {
            **({"group": result.group.label} if labelled else _values(result, columns, several)),
            "environment": result.env or NONE,
            **({"measure": result.scale or told(result.measure)} if measures - {"return"} or results.scaled else {}),
            "seeds": seeds(result),
            **{title: estimate(result.estimates.get(name)) for name, title in TITLES.items()},
            "remarks": "; ".join(result.notes) or NONE,
        }
        for result in every
    ]
    return Table("groups", raw, shown)


def _values(result: Result, columns: Sequence[str], several: bool) -> dict[str, str]:
    return {**({"study": result.group.study} if several else {}), **{key: result.group.values[key] for key in columns}}


TITLES = {"mean": "mean", "median": "median", "iqm": "IQM"}


def pairs(results: Results) -> Table:
    """One row per comparison of two groups."""
    raw, shown = list[dict[str, Any]](), list[dict[str, str]]()
    for pair in results.pairs:
        found = pair.probability
        numbers = {"probability": found and found.value, "low": found and found.low, "high": found and found.high}
        sides = {"group": pair.ours.label, "other": pair.other.label}
        raw.append({**sides, **numbers, "environments": " ".join(pair.envs)})
        if pair.envs:
            shown.append({**sides, "P(group better)": estimate(found), "in": ", ".join(pair.envs)})
    return Table("pairs", raw, shown)


def estimate(found: Estimate | None) -> str:
    """A number with its interval; a dash where there is none."""
    if found is None:
        return NONE
    between = f"{number(found.low)}, {number(found.high)}" if found.known else NONE
    return f"{number(found.value)} [{between}]"


def told(measure: str) -> str:
    """A measure by its name, with its direction where that is not what one expects."""
    return measure if measure in ("return", "") else f"{measure} (less is better)"


def seeds(result: Result) -> str:
    """How many runs count, and of how many if some do not."""
    return f"{result.seeds} of {result.seeds + result.left}" if result.left else str(result.seeds)


def number(value: float | None, *, whole: bool = False) -> str:
    """Three digits or so; thousands apart."""
    if value is None:
        return NONE
    size = abs(value)
    if whole or size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 0.1 or size == 0 else f"{value:.3g}"


def _run(run: Run, grouping: Grouping) -> dict[str, Any]:
    group = grouping.group_of.get(run)
    scaled = scale(run) if run.config else None
    score = run.score
    reason = grouping.reasons.get(run)
    return {
        "study": run.study,
        "group": group.label if group else "",
        **{key: group.values[key] if group else "" for key in grouping.columns},
        "environment": grouping.envs.get(run, ""),
        "seed": run.seed,
        "state": run.state,
        "used": f"no: {reason}" if reason else "yes" if run.finished else "yes, unfinished",
        "env_steps": run.count("env_steps"),
        "updates": run.count("updates"),
        "measure": run.measure,
        "score": score,
        "stderr": run.result.get("return_stderr"),
        "episodes": run.result.get("episodes"),
        "normalised": scaled(score) if scaled and score is not None else None,
        "scale": scaled.name if scaled else "",
        "minutes": run.count("minutes"),
        "commit": run.commits[-1] if run.commits else "",
        "commits": len(run.commits),
        "dirty": run.dirty,
        "began": run.began,
        "folder": run.folder.name,
        "path": str(run.folder),
        "error": (run.status.error or "") if run.status else "",
        "problems": "; ".join(run.problems),
    }


def _ordered(grouping: Grouping) -> list[Run]:
    """By group, environment and seed; those without a group first, since something is wrong with them."""
    place = {id(group): at for at, group in enumerate(grouping.groups)}

    def key(run: Run) -> tuple[int, Any, Any, str]:
        group = grouping.group_of.get(run)
        rank = -1 if group is None else place[id(group)]
        return rank, natural(grouping.envs.get(run, "")), natural(str(run.seed)), str(run.folder)

    return sorted(grouping.runs, key=key)


def _scores(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The score, under the name of its measure if all share one, and the normalised one if there is any."""
    measures = {each["measure"] for each in rows} - {""}
    title = measures.pop() if len(measures) == 1 else "score"
    star = "*" if row["score"] is not None and row["state"] != "done" else ""
    error = f" ± {number(row['stderr'])}" if row["stderr"] is not None and row["score"] is not None and not star else ""
    kind = f" ({row['measure']})" if title == "score" and row["measure"] else ""
    found = {title: number(row["score"]) + error + star + kind}
    if any(each["normalised"] is not None for each in rows):
        found["normalised"] = number(row["normalised"]) + star
    return found


def _group(result: Result, columns: Sequence[str]) -> dict[str, Any]:
    values = {f"{name}{suffix}": value for name in TITLES for suffix, value in _parts(result.estimates.get(name))}
    every = [float(score) for scores in result.scores for score in scores]
    runs = [run for cell in result.group.cells.values() for run in cell.runs if result.env in (cell.env, "")]
    return {
        "study": result.group.study,
        "group": result.group.label,
        **{key: result.group.values[key] for key in columns},
        "environment": result.env,
        "measure": result.measure,
        "scale": result.scale,
        "seeds": result.seeds,
        "left_out": result.left,
        **values,
        "lowest": min(every, default=None),
        "highest": max(every, default=None),
        "minutes": sum(run.count("minutes") or 0 for run in runs) / len(runs) if runs else None,
        "remarks": "; ".join(result.notes),
    }


def _parts(found: Estimate | None) -> list[tuple[str, float | None]]:
    return [("", found and found.value), ("_low", found and found.low), ("_high", found and found.high)]


def numeric(shown: Sequence[Mapping[str, str]], head: str) -> bool:
    """Whether a column is one of numbers, which stand at the right."""
    return head not in TEXTS and all(row[head][:1] in f"{NONE}-+0123456789" for row in shown)
