"""Make one page and tables from many runs: scores, curves, intervals, errors, films.

worldmodels report <study> [<study or run> ...] [--out DIR] [--include-unfinished] [--films N] [--json]

    worldmodels report runs/mine                          writes runs/mine/report/
    worldmodels report runs/a runs/b --out runs/a-and-b   two studies side by side; their runs are not mixed
    worldmodels report runs/mine --include-unfinished     runs that have a score count before they end, and are marked
    worldmodels report runs/mine --json                   all numbers for a program

What is written: report.html, which opens offline; {runs,groups,pairs}.{csv,md,tex}; curves.csv and figures/*.svg, the
learning curves as numbers and as drawings for a paper; report.json with all other numbers.

Runs that differ in seeds alone are a group. Only finished runs count, and what is left out is named. Intervals are 95 %
stratified bootstrap intervals over seeds; a group of one seed has none. docs/report.md says more.

Exit codes: 0 written, 2 something to mend.
"""

from __future__ import annotations

import argparse
import json


def main(argv: list[str]) -> int:
    asked = _parser().parse_args(argv)
    from rich.console import Console

    from worldmodels.evaluation.study.report import report

    made = report(asked.folders, asked.out, include_unfinished=asked.include_unfinished, films=asked.films)
    if asked.json:
        print(json.dumps(made.to_json(), indent=1, ensure_ascii=False))
    else:
        Console(highlight=False).print(made.console(), soft_wrap=False)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "worldmodels report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", metavar="folder", help="a study, such as runs/<study>, or a run")
    parser.add_argument("--out", metavar="DIR", help="where to write; default: report/ in the study's folder")
    parser.add_argument(
        "--include-unfinished", action="store_true", help="count runs that did not end, by their last score"
    )
    parser.add_argument("--films", type=_count, default=12, metavar="N", help="films on the page, at most (default 12)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than 0")
    return number
