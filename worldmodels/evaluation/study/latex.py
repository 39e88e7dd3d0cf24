"""Rows of text as a table for LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from worldmodels.evaluation.study.config import NONE

_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",  # these three are other signs in LaTeX's first font encoding
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    NONE: "--",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def tabular(rows: Sequence[Sequence[str]], sides: str) -> str:
    """Needs the package booktabs. The first row is the heading; sides: l or r for each column."""
    head, *body = (_line(row) for row in rows)
    parts = [f"\\begin{{tabular}}{{{sides}}}", "\\toprule", head, "\\midrule", *body, "\\bottomrule", "\\end{tabular}"]
    return "\n".join(parts) + "\n"


def _line(row: Sequence[str]) -> str:
    """A row; one that begins with a bracket or a star would be read as an option of the line break before it."""
    line = " & ".join(map(_escaped, row))
    return f"{'{}' if line.startswith(('[', '*')) else ''}{line} \\\\"


def _escaped(text: str) -> str:
    """Signs that mean something else to LaTeX; hyphens that stay hyphens, and minus signs before numbers."""
    minus = {match.start() for match in re.finditer(r"(?<![\w.=-])-(?=\d)", text)}
    told = ""
    for at, sign in enumerate(text):
        piece = "$-$" if at in minus else _SIGNS.get(sign, sign)
        told += f"{{}}{piece}" if told.endswith("-") and piece.startswith("-") else piece  # -- is a dash
    return told
