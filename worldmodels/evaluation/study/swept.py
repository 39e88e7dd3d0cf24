"""The columns that tell groups of runs apart: what the command lines varied, or else what differs in the configs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from worldmodels.evaluation.study import config
from worldmodels.evaluation.study.config import NONE
from worldmodels.evaluation.study.run import Run


def swept(parts: Sequence[Sequence[Run]]) -> tuple[list[str], list[dict[str, str]]]:
    """Columns, and the values of every part. A part is a group: its runs differ in seed and world alone.

    No two parts have the same values. Words of the command line come first; keys that differ in the configs although
    no word tells it, as after a default was changed, are added until all parts are told apart.
    """
    methods = [config.method(part[0].config) for part in parts]
    words = [_words(part[0]) for part in parts]
    keys = dict.fromkeys(key for each in words for key in each)
    told = [{key: _value(key, m, w) for key in keys} for m, w in zip(methods, words, strict=True)]
    columns = [key for key in keys if len({row[key] for row in told}) > 1]
    rest = config.varying(methods)
    rows = [{key: _value(key, m, w) for key in (*columns, *rest)} for m, w in zip(methods, words, strict=True)]
    while (found := apart(rows, columns)) < len(parts) and apart(rows, [*columns, *rest]) > found:
        best = max(rest, key=lambda key: apart(rows, [*columns, key]))
        if apart(rows, [*columns, best]) == found:  # no single one helps
            best = next(key for key in rest if key not in columns)
        columns.append(best)
    return columns, [{key: row[key] for key in columns} for row in rows]


def natural(text: str) -> list[tuple[int, float, str]]:
    """A sorting key by which 3e-4 comes before 1e-3, and level 9 before level 10."""
    pieces = re.split(r"([-+]?\d+\.?\d*(?:e[-+]?\d+)?)", text)
    return [(0, float(each), "") if at % 2 else (1, 0.0, each) for at, each in enumerate(pieces) if each]


def shown(value: Any) -> str:
    """A leaf of a config as a cell of a table."""
    return f"{value:g}" if isinstance(value, float) else "null" if value is None else str(value)


def _words(run: Run) -> dict[str, str]:
    """Of its command line, those that can tell groups apart; whose weights it began with only if nothing else does."""
    worldly = {"seed", "env", *config.world(run.config)}
    return {
        key: value
        for key, value in run.overrides.items()
        if key not in worldly and key.split(".")[0] not in ("env", "init") and not config.watching(key)
    }


def _value(key: str, method: Mapping[str, Any], words: Mapping[str, str]) -> str:
    return shown(method[key]) if key in method else words.get(key, NONE)


def apart(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> int:
    """How many different rows there are in these columns."""
    return len({tuple(row[key] for key in columns) for row in rows})
