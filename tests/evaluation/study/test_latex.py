"""Tables that LaTeX takes as they are: its rules for signs, rows and options, held strictly."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from worldmodels.evaluation.study.latex import tabular

DASH = "\N{EN DASH}"
WORDS = {"backslash": "\\", "asciitilde": "~", "asciicircum": "^", "less": "<", "greater": ">", "bar": "|"}
# A command for a sign, an empty group that parts two signs, a formula, a dash, the end of a cell, or a sign as it is.
TOKEN = re.compile(
    r"\\text(?P<word>[a-z]+)\{\}|\\(?P<sign>[&%$#_{}])|(?P<part>\{\})|\$(?P<formula>\\pm|-)\$|(?P<dash>--)(?!-)"
    r"|(?P<end> ?& ?)|(?P<plain>[^\\~^&%$#_{}<>|±])"
)
CELLS = st.text("ab1 .-[]*<>|\\~^&%$#_{}±" + DASH, max_size=6)


def read(text: str) -> list[list[str]]:
    """The rows of a tabular; what LaTeX would not take, or would take for something else, fails."""
    found = re.fullmatch(
        r"(?s)\\begin\{tabular\}\{([lr]+)\}\n\\toprule\n(.*)\\midrule\n(.*)\\bottomrule\n\\end\{tabular\}\n", text
    )
    assert found is not None
    lines = [line for part in found.groups()[1:] for line in part.splitlines()]
    assert all(line.endswith(r" \\") for line in lines)
    assert not any(line.startswith(("[", "*")) for line in lines), "an option of the line break or the rule before it"
    rows = [cells(line.removesuffix(r" \\")) for line in lines]
    assert all(len(row) == len(found[1]) for row in rows)
    return rows


def cells(line: str) -> list[str]:
    row, at = [""], 0
    while at < len(line):
        token = TOKEN.match(line, at)
        assert token is not None, line[at:]
        at = token.end()
        if token["end"]:
            row.append("")
        elif token["word"]:
            row[-1] += WORDS[token["word"]]
        elif token["formula"]:
            row[-1] += "±" if token["formula"] == r"\pm" else "-"
        else:
            row[-1] += DASH if token["dash"] else token["sign"] or token["plain"] or ""
    return [cell.strip() for cell in row]


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=2, max_size=4))
def test_every_cell_comes_back_as_it_was(rows: list[list[str]]) -> None:
    assert read(tabular(rows, "lr")) == [[cell.strip() for cell in row] for row in rows]


def test_a_sign_before_a_number_is_a_minus_and_any_other_a_hyphen() -> None:
    assert r"$-$1.5 [$-$2, $-$1] \\" in tabular([["a"], ["-1.5 [-2, -1]"]], "r")
    assert r"lr=1e-4,a-{}-b \\" in tabular([["a"], ["lr=1e-4,a--b"]], "l")
