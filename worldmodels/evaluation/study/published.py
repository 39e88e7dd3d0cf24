"""What of a study goes into a paper: its curves as numbers, and as drawings with legends, in files of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from worldmodels.evaluation import page
from worldmodels.evaluation.figures import COLOURS, INK, alone
from worldmodels.evaluation.study import curves, drawing
from worldmodels.evaluation.study.group import Grouping
from worldmodels.evaluation.study.tables import Table

ACROSS = 120  # letters of a legend, side by side
AXES: tuple[curves.Axis, ...] = ("env_steps", "updates", "minutes")


def numbers(grouping: Grouping) -> str:
    """All curves of all groups as CSV, a row per point: mean over runs, and its interval, empty for one run."""
    return Table("curves", list(_points(grouping)), []).csv()


def drawings(grouping: Grouping) -> dict[str, str]:
    """Learning curves as SVG files by name, in the page's light colours on white."""
    drawn = {
        f"{re.sub(r'[^A-Za-z0-9.=-]+', '-', env)}-{line.__name__.replace('_', '-')}.svg": drawing.learning(
            grouping, env, line, partial(_finished, f"{env}: {title}")
        )
        for env in grouping.worlds
        for title, line in curves.sources([group.cells[env] for group in grouping.groups if env in group.cells])
    }
    return {name: text for name, text in drawn.items() if text}


def _points(grouping: Grouping) -> Iterator[dict[str, Any]]:
    for env in grouping.worlds:
        groups = [group for group in grouping.groups if env in group.cells and group.cells[env].runs]
        stepped = curves.stepped([run for group in groups for run in group.cells[env].runs])
        for _, line in curves.sources([group.cells[env] for group in groups]):
            for axis in AXES if stepped else AXES[1:]:
                for group, curve in curves.of_groups(groups, env, line, axis):
                    where = {"study": group.study, "group": group.label, "environment": env}
                    what = {"curve": line.__name__, "runs": curve.runs, "axis": axis}
                    for at, (x, middle) in enumerate(zip(curve.x, curve.middle, strict=True)):
                        low, high = (None if side is None else float(side[at]) for side in (curve.low, curve.high))
                        yield {**where, **what, "x": float(x), "mean": float(middle), "low": low, "high": high}


def _finished(title: str, figure: Figure) -> str:
    """With title and legend, for no page stands around it."""
    lines = [line for axes in figure.axes for line in zip(*axes.get_legend_handles_labels(), strict=True)]
    known = {label: handle for handle, label in lines}
    columns = min(4, max(1, ACROSS // (8 + max(map(len, known), default=0))))
    figure.set_figheight(figure.get_figheight() + 0.25 + 0.22 * -(-len(known) // columns))
    manner = {"loc": "outside upper left", "alignment": "left", "frameon": False, "labelcolor": INK}
    legend = figure.legend(list(known.values()), list(known), title=title, ncols=columns, **manner)
    legend.get_title().set_color(INK)
    return alone(figure, _light())


def _light() -> dict[str, str]:
    """Stand-ins by the colours that the page has in daylight, which come first in its style."""
    sheet = page.STYLE() + (Path(__file__).parent / "page.css").read_text()
    colours = dict(reversed(re.findall(r"(--\w+): (#\w+)", sheet)))
    return {stand_in: colours[name[4:-1]] for stand_in, name in {**COLOURS, **drawing.GROUPS}.items()}
