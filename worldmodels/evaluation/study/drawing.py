"""Drawings of a study: scores with their intervals, curves with bands, errors by horizon. One colour per group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from worldmodels.evaluation.figures import COLOURS, INK, STYLE, by_horizon, finish, svg
from worldmodels.evaluation.study import curves
from worldmodels.evaluation.study.curves import Axis, Curve, Line
from worldmodels.evaluation.study.group import Group, Grouping, best
from worldmodels.evaluation.study.results import Result
from worldmodels.evaluation.study.run import Run
from worldmodels.evaluation.study.tables import told

# Stand-ins for --g0 to --g7 of the page, distinct in light and dark and to colour-blind eyes; of more groups, the
# style of the line tells those apart that share a colour.
GROUPS = {f"#0b{at:02x}0c": f"var(--g{at})" for at in range(8)}
LINES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1, 2)))
ROWS, CURVES = 40, 8  # groups in a drawing of intervals, and of curves: of more, the best
AXES: tuple[Axis, ...] = ("env_steps", "minutes")
JUDGED: tuple[Axis, ...] = ("updates", "env_steps")  # where models are judged, which learn by updates


def style(at: int) -> dict[str, Any]:
    """Of the group with this number."""
    return {"color": list(GROUPS)[at % len(GROUPS)], "linestyle": LINES[at // len(GROUPS) % len(LINES)]}


def numbers(grouping: Grouping) -> dict[int, int]:
    """By which a group, named by its id, has its colour: groups of several studies that are alike share one."""
    kinds: dict[tuple[str, ...], int] = {}
    for group in grouping.groups:
        kinds.setdefault(_kind(group), len(kinds))
    return {id(group): kinds[_kind(group)] for group in grouping.groups}


def _kind(group: Group) -> tuple[str, ...]:
    """What tells it from the others of its study, where there are columns that do; of transfer, its arm."""
    arms = {str(run.config.get("arm", "")) for run in group.runs} - {""}
    return tuple(arms) if len(arms) == 1 else (group.study, *group.values.values(), group.label)


def intervals(results: Sequence[Result], grouping: Grouping) -> str:
    """Mean of every group with its interval, and every run as a dot; a frame per environment."""
    frames = list(dict.fromkeys((result.env, result.scale) for result in results if result.scores))
    groups = grouping.groups if len(grouping.groups) <= ROWS else best(grouping.groups, ROWS)
    across = min(3, len(frames))
    lines = -(-len(frames) // across)
    number = numbers(grouping)
    with mpl.rc_context({**STYLE, "font.size": 8, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(8.6, lines * (0.55 + 0.24 * len(groups))), layout="constrained")
        grid = figure.subplots(lines, across, squeeze=False, sharey=True)
        for axes, (env, scale) in zip(grid.flat, frames, strict=False):
            here = {id(each.group): each for each in results if (each.env, each.scale) == (env, scale) and each.scores}
            for at, group in enumerate(groups):
                if id(group) in here:
                    _interval(axes, at, here[id(group)], style(number[id(group)])["color"])
            measure = next(iter(here.values())).measure
            kind = scale or ("" if measure == "return" else told(measure))
            axes.set_title(f"{env}, {kind}" if kind else env)
            axes.set_yticks(range(len(groups)), [_cut(group.label) for group in groups])
            axes.set_ylim(len(groups) - 0.4, -0.6)
            axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
            axes.spines["left"].set_visible(False)
        for axes in list(grid.flat)[len(frames) :]:
            axes.set_visible(False)
        return svg(figure, {**COLOURS, **GROUPS})


def on_page(figure: Figure) -> str:
    """In the colours of the page, whose legend stands beside it."""
    return svg(figure, {**COLOURS, **GROUPS})


def learning(
    grouping: Grouping,
    env: str,
    line: Callable[[Run, Axis], Line],
    finished: Callable[[Figure], str] = on_page,
) -> str:
    """Curves of all groups in one environment, over env steps and over time; empty if there are none.

    Over updates and env steps where world models were judged, and over updates and time if none of them acts.
    """
    number = numbers(grouping)
    groups = best(grouping.groups, CURVES, env)
    runs = [run for group in groups for run in group.cells[env].runs]
    stepped = curves.stepped(runs)
    axes_of = JUDGED if stepped and any(run.judged for run in runs) else AXES
    found = {axis: curves.of_groups(groups, env, line, axis) for axis in axes_of}
    if not any(found.values()):
        return ""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 2.7), layout="constrained")
        for axes, axis in zip(figure.subplots(1, 2, sharey=True), axes_of, strict=True):
            steps = "env steps" if stepped and axis == "env_steps" else "updates"
            unit, size = _unit([curve for _, curve in found[axis]]) if axis == "minutes" else (steps, 1.0)
            for group, curve in found[axis]:
                _band(axes, number[id(group)], curve, size, group.label)
            finish(axes, unit)
            axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
            if line is curves.judged:  # which falls from hundreds to tens
                _logarithmic(axes)
        return finished(figure)


def horizons(grouping: Grouping, env: str, quantities: Sequence[str]) -> str:
    """Open-loop errors by horizon in one environment: a frame per quantity, a curve per group."""
    number = numbers(grouping)

    def draw(axes: Axes, quantity: str) -> None:
        for group in imagining(grouping, env):
            at, runs = number[id(group)], group.cells[env].runs
            curve = curves.ahead(runs, f"{quantity}/open")
            if curve is not None:
                _band(axes, at, curve)
            still = curves.ahead(runs, f"{quantity}/copy")
            if still is not None:
                axes.plot(still.x, still.middle, color=INK, linewidth=0.8, linestyle=":", alpha=0.7)

    with mpl.rc_context({**STYLE, "font.size": 8}):
        return svg(by_horizon(quantities, draw), {**COLOURS, **GROUPS})


def measured(grouping: Grouping, env: str) -> list[str]:
    """Quantities whose open-loop error some run that counts has measured in this environment."""
    runs = [run for group in grouping.groups if env in group.cells for run in group.cells[env].runs]
    names = {name for run in runs for row in run.ahead for name, value in row.items() if value is not None}
    return sorted(name.removesuffix("/open") for name in names if name.endswith("/open"))


def imagining(grouping: Grouping, env: str) -> list[Group]:
    """The best groups among those that have errors by horizon."""
    able = [group for group in grouping.groups if env in group.cells and any(r.ahead for r in group.cells[env].runs)]
    return best(able, CURVES, env)


def _interval(axes: Axes, at: int, result: Result, colour: Any) -> None:
    every = np.concatenate(result.scores)
    axes.plot(every, np.full(len(every), at + 0.24), "o", color=colour, markersize=2.6, alpha=0.55, markeredgewidth=0)
    found = result.estimates["mean"]
    if found.low is not None and found.high is not None:
        axes.plot([found.low, found.high], [at, at], color=colour, linewidth=4, alpha=0.35, solid_capstyle="butt")
    axes.plot([found.value], [at], "|", color=colour, markersize=10, markeredgewidth=2)


def _unit(found: Sequence[Curve]) -> tuple[str, float]:
    """Of time, and how many there are in a minute."""
    longest = max((curve.x[-1] for curve in found), default=1.0)
    if longest < 3:
        return "seconds of training", 60.0
    return ("hours of training", 1 / 60) if longest > 180 else ("minutes of training", 1.0)


def _logarithmic(axes: Axes) -> None:
    """With plain numbers beside it."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def _band(axes: Axes, at: int, curve: Curve, size: float = 1.0, label: str | None = None) -> None:
    """A curve whose x is multiplied by `size`."""
    look, x = style(at), curve.x * size
    if curve.low is not None and curve.high is not None:
        axes.fill_between(x, curve.low, curve.high, color=look["color"], alpha=0.16, linewidth=0)
    axes.plot(x, curve.middle, linewidth=1.7, label=label, **look)


def _cut(text: str, most: int = 34) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
