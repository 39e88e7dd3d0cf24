"""Say what differs between two runs: config, code, versions, machine, results.

worldmodels compare run=<folder> run=<folder> [--out page.html] [--json]

    worldmodels compare run=runs/mine/seed=0 run=runs/mine/seed=1
    worldmodels compare run=runs/mine/a run=runs/mine/b --out a-b.html     also a page with both learning curves
    worldmodels compare run=runs/mine/a run=runs/mine/b --json             the same facts for a program

Keys that only say how a run is watched, such as callbacks and loggers, are listed apart. Two runs say nothing about
other seeds: `worldmodels report` compares groups of them.

Exit codes: 0 compared, 2 something to mend, such as a folder that is not of a run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from worldmodels.core.errors import ConfigError

if TYPE_CHECKING:
    from worldmodels.evaluation.study.compare import Comparison, Difference


def main(argv: list[str]) -> int:
    asked = _parser().parse_args(argv)
    if len(asked.runs) != 2:
        found = f"{len(asked.runs)} runs"
        raise ConfigError(found, "two", "give run=<folder> twice; `worldmodels report` takes more")
    from worldmodels.evaluation.study.compare import compare

    found = compare(*(Path(word.removeprefix("run=")) for word in asked.runs))
    if asked.json:
        print(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        _print(found)
    if asked.out:
        from worldmodels.evaluation.study.beside import write_page

        write_page(found, Path(asked.out))
        if not asked.json:
            print(f"\npage: {asked.out}")
    return 0


def _print(found: Comparison) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for name, run in (("a", found.a), ("b", found.b)):
        console.print(Text(f"{name}  {run.folder}"))
        for problem in run.problems:
            console.print(Text(f"   {problem}", "yellow"))
    _section(console, "config", [each for each in found.config if not each.watching], "the same")
    _section(console, "config of how they were watched", [each for each in found.config if each.watching], "")
    console.print(Text("\ncode", "bold"))
    for line in found.code or ("the same commit, nothing uncommitted",):
        console.print(Text(f"  {line}"))
    _section(console, "versions", found.versions, "the same")
    _section(console, "machine", found.machine, "the same")
    _section(console, "results", found.results, "none")
    console.print(Text("  one run each: the difference says nothing about other seeds", "dim"))


def _section(console: object, title: str, rows: list[Difference] | tuple[Difference, ...], otherwise: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    assert isinstance(console, Console)
    if not rows and not otherwise:
        return
    console.print(Text(f"\n{title}", "bold"))
    if not rows:
        console.print(Text(f"  {otherwise}"))
        return
    table = Table("", "a", "b", box=None, pad_edge=True, padding=(0, 2), header_style="dim")
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in (row.name, row.a, row.b)))
    console.print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "worldmodels compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="run=<folder>", help="the folders of two runs")
    parser.add_argument("--out", metavar="HTML", help="also write a page with both learning curves")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser
