"""Many runs become tables, drawings and one page: `report(folders)`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from worldmodels.core.errors import ConfigError
from worldmodels.core.files import write_text
from worldmodels.evaluation.study import find, judged, notes, original, published, results, tables
from worldmodels.evaluation.study.group import Grouping, group
from worldmodels.evaluation.study.page import page
from worldmodels.evaluation.study.results import Result, Results
from worldmodels.evaluation.study.tables import Table

PAGE, MARK = "report.html", "report.json"  # the mark tells a folder that we wrote from any other
CURVES, FIGURES = "curves.csv", "figures"
FILMS = 12


@dataclass(frozen=True)
class Report:
    """What was found in runs, and the folder that it is written to."""

    out: Path
    grouping: Grouping
    results: Results
    notes: tuple[str, ...]
    more: tuple[Table, ...] = ()  # of what only some studies have

    @property
    def files(self) -> list[Path]:
        """All that was written."""
        drawn = sorted((self.out / FIGURES).glob("*.svg"))
        return [*(self.out / name for name in (PAGE, MARK, CURVES, *self.texts())), *drawn]

    def tables(self) -> tuple[Table, ...]:
        """Of runs, groups, and comparisons of groups, and what else there is."""
        groups = tables.groups(self.results, self.grouping.columns)
        return tables.runs(self.grouping), groups, tables.pairs(self.results), *self.more

    def texts(self) -> dict[str, str]:
        """The tables as files: name and content."""
        kinds = {"csv": Table.csv, "md": Table.markdown, "tex": Table.latex}
        return {f"{table.name}.{kind}": text(table) for table in self.tables() for kind, text in kinds.items()}

    def console(self) -> RenderableType:
        """The groups as a table, with what a reader must know, and where the files are."""
        rows = [_line(result) for result in (*self.results.cells, *self.results.scaled)]
        told = [f"{each.group.label}, {each.env}: {note}" for each in self.results.cells for note in each.notes]
        parts: list[RenderableType] = [_grid(rows)] if rows else []
        parts += [Text(f"note     {note}", "yellow") for note in (*self.notes, *told)]
        parts.append(Text(f"page     {self.out / PAGE}"))
        names = ",".join(table.name for table in self.tables())
        parts.append(Text(f"tables   {self.out}/{{{names}}}.{{csv,md,tex}}"))
        parts.append(Text(f"curves   {self.out / CURVES}, {self.out / FIGURES}/"))
        return Stack(*parts)

    def to_json(self) -> dict[str, Any]:
        """All numbers, with null for those that are not there."""
        return {
            "out": str(self.out),
            "columns": list(self.grouping.columns),
            "notes": list(self.notes),
            **{table.name: [_plain(row) for row in table.rows] for table in self.tables()},
            "files": [str(path) for path in self.files],
        }


def report(
    folders: Sequence[Path | str],
    out: Path | str | None = None,
    *,
    include_unfinished: bool = False,
    films: int = FILMS,
) -> Report:
    """Read the runs in these folders, and write the page and the tables to `out`.

    Of one study, `out` is its folder's `report`; of several, or of single runs, it must be given. Files of an earlier
    report are replaced; a folder with anything else in it is refused.
    """
    paths = [Path(folder) for folder in folders]
    runs = find.runs(paths)
    folder = _out(paths, out)
    grouping = group(runs, unfinished=include_unfinished)
    found = results.compute(grouping)
    wanted = find.reference(paths[0]) if len(paths) == 1 else None
    beside = original.table(grouping, wanted) if wanted else None
    more = [*judged.tables(grouping), *([beside] if beside and beside.shown else [])]
    told = [*notes.of_study(grouping), *([original.NOTHING] if beside and not beside.shown else [])]
    made = Report(folder, grouping, found, tuple(told), tuple(more))
    title = " and ".join(dict.fromkeys(run.study for run in runs))
    if find.steps(paths[0]) != paths[:1]:
        title = f"{paths[0].resolve().name}: {title}"
    shown = {**made.texts(), PAGE: page(title, grouping, found, made.notes, films, made.more, wanted)}
    drawn = {f"{FIGURES}/{name}": text for name, text in published.drawings(grouping).items()}
    for name, text in {**shown, CURVES: published.numbers(grouping), **drawn}.items():
        write_text(folder / name, text)
    for path in (folder / FIGURES).glob("*.svg"):
        if f"{FIGURES}/{path.name}" not in drawn:
            path.unlink()  # of an earlier report
    write_text(folder / MARK, json.dumps(made.to_json(), indent=1, ensure_ascii=False) + "\n")
    return made


def _out(paths: Sequence[Path], out: Path | str | None) -> Path:
    if out is None:
        if len(paths) > 1 or find.is_run(paths[0]):
            name = "-".join(path.name for path in paths)
            suggestion = paths[0].parent / f"report-{name if len(name) < 60 else '<name>'}"
            found = f"{len(paths)} folders" if len(paths) > 1 else f"{paths[0]}, which is one run"
            raise ConfigError(f"no place for a report of {found}", "--out", f"add --out {suggestion}")
        out = paths[0] / "report"
    folder = Path(out)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        found = f"{folder} holds files that are not of a report"
        raise ConfigError(found, "an empty or new folder", "give another --out")
    return folder


def _line(result: Result) -> dict[str, str]:
    """For the console, which is narrow."""
    kind = result.scale or ("" if result.measure == "return" else tables.told(result.measure))
    return {
        "group": result.group.label,
        "environment": f"{result.env}, {kind}" if kind else result.env,
        "seeds": tables.seeds(result),
        "mean": tables.estimate(result.estimates.get("mean")),
        "IQM": tables.estimate(result.estimates.get("iqm")),
    }


def _grid(rows: Sequence[dict[str, str]]) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        right = tables.numeric(rows, name)
        grid.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row.values()))
    return grid


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
