"""The page of two runs side by side."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from worldmodels.core.errors import ConfigError
from worldmodels.core.files import write_text
from worldmodels.evaluation.page import document
from worldmodels.evaluation.study.compare import Comparison, Difference, overlaid
from worldmodels.evaluation.study.page import STYLE

_NAME = "two-runs"  # marks pages of ours, which may be written over


def write_page(comparison: Comparison, path: Path) -> None:
    """Differences as tables, and the learning curves overlaid. A file that is not such a page is not written over."""
    if path.is_dir() or (path.exists() and f'id="{_NAME}"' not in path.read_text(errors="replace")):
        expected = "a new file, or an earlier page of this kind"
        raise ConfigError(f"{path} is there already", expected, "give another --out")
    runs = {"a": comparison.a, "b": comparison.b}
    names = "".join(
        f"<li>{_line(at)}<span><b>{name}</b> {html.escape(str(run.folder))}</span></li>"
        for at, (name, run) in enumerate(runs.items())
    )
    parts = [
        f'<header id="{_NAME}"><h1>Two runs</h1></header>',
        f"<section><ul class='legend'>{names}</ul>{_problems(comparison)}</section>",
        _table("Results", comparison.results),
        *(_drawn(title, figure) for title, figure in overlaid(comparison).items()),
        _table("Config", [each for each in comparison.config if not each.watching]),
        _table("Config of how they were watched", [each for each in comparison.config if each.watching]),
        f"<section><h2>Code</h2><pre>{html.escape(chr(10).join(comparison.code) or 'the same')}</pre></section>",
        _table("Versions and machine", [*comparison.versions, *comparison.machine]),
    ]
    write_text(path, document("Two runs", parts, STYLE()))


def _drawn(title: str, figure: str) -> str:
    shown = f"<div class='figure'><figure>{figure}</figure></div>"
    return f"<section><h2>{html.escape(title.capitalize())}</h2>{shown}</section>"


def _table(title: str, rows: Sequence[Difference]) -> str:
    if not rows:
        return f"<section><h2>{title}</h2><p>No differences.</p></section>"
    lines = "".join(
        f"<tr>{''.join(f'<td class=text>{html.escape(cell)}</td>' for cell in (row.name, row.a, row.b))}</tr>"
        for row in rows
    )
    head = "<tr><th class='text'></th><th class='text'>a</th><th class='text'>b</th></tr>"
    return f"<section><h2>{title}</h2><div class='wide'><table>{head}{lines}</table></div></section>"


def _line(at: int) -> str:
    return (
        "<svg class='swatch' viewBox='0 0 26 8'>"
        f"<line x1='0' y1='4' x2='26' y2='4' stroke='var(--g{at})' stroke-width='3'/></svg>"
    )


def _problems(comparison: Comparison) -> str:
    told = [f"{run.folder.name}: {each}" for run in (comparison.a, comparison.b) for each in run.problems]
    return "".join(f"<p>{html.escape(each)}</p>" for each in told)
