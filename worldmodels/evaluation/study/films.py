"""Which films a report shows: the best run of all, and of every group the run in the middle."""

from __future__ import annotations

from worldmodels.evaluation.study.group import Cell, Grouping
from worldmodels.evaluation.study.run import Run

LARGEST = 40_000_000  # bytes of all films together, so that the page still opens


def chosen(grouping: Grouping, most: int) -> list[tuple[str, Run]]:
    """Titles and runs, those that have a film; a run is shown once."""
    found: dict[Run, str] = {}
    cells = [(group, cell) for group in grouping.groups for cell in group.cells.values()]
    for env in grouping.worlds:
        here = [run for _, cell in cells if cell.env == env for run in cell.runs if run.film]
        if here:
            sign = next(cell.better for _, cell in cells if cell.env == env and cell.runs)
            found[max(here, key=lambda run: sign * (run.score or 0.0))] = f"{env}: the best run of all"
    for group, cell in cells:
        middle = _middle(cell)
        if middle is not None:
            title = f"{cell.env}: {group.label}, the run in the middle"
            found[middle] = f"{found[middle]}, and in the middle of {group.label}" if middle in found else title
    return _fitting([(title, run) for run, title in found.items()], most)


def _middle(cell: Cell) -> Run | None:
    """The run with the median score, of two the worse; of those that have a film."""
    ranked = sorted((run for run in cell.runs if run.film), key=lambda run: cell.better * (run.score or 0.0))
    return ranked[(len(ranked) - 1) // 2] if ranked else None


def _fitting(films: list[tuple[str, Run]], most: int) -> list[tuple[str, Run]]:
    kept, total = list[tuple[str, Run]](), 0
    for title, run in films[:most]:
        total += run.film.stat().st_size if run.film else 0
        if total > LARGEST:
            break
        kept.append((title, run))
    return kept
