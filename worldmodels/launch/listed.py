"""From a list of runs to their command lines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worldmodels.core.errors import ConfigError
from worldmodels.launch import json_list
from worldmodels.launch.compose import plain
from worldmodels.launch.multirun import Compose, decisive
from worldmodels.launch.naming import seed_names
from worldmodels.launch.words import with_demo


def from_objects(
    file: str, common: Sequence[str], *, seeds: Sequence[int] | None, style: str, compose: Compose
) -> list[list[str]]:
    """A line per object of a JSON file, and per seed; words in `common` hold for all, and come first.

    A line that chooses nothing to learn from is the demo.
    Every value is held against the config before anything starts. `style=seed` names runs by `launch.naming`.
    """
    if style not in ("safe", "seed"):
        raise ConfigError(f"style={style}", "safe or seed", "choose how run folders are named")
    if style == "seed" and seeds is not None:
        raise ConfigError("style=seed with seeds", "one run per name", "take style=safe, whose names have the seed")
    items = json_list.read(file)
    names = seed_names([item.values for item in items]) if style == "seed" else None
    lines = [with_demo([*common, *item.words]) for item in items]
    known = {}
    for item, line in zip(items, lines, strict=True):
        shape = tuple(decisive(line))
        if shape not in known:
            known[shape] = plain(compose(list(shape)))
        json_list.demand(file, item, known[shape])
    if names is not None:
        return [[*line, f"name={json_list.word(name)}"] for line, name in zip(lines, names, strict=True)]
    return with_seeds(lines, seeds)


def from_words(file: str, common: Sequence[str]) -> list[list[str]]:
    """A line per list of words of a JSON file; `write_words` writes such."""
    return [with_demo([*common, *line]) for line in json.loads(Path(file).read_text(encoding="utf-8"))]


def combinations(grid: Mapping[str, Any] | None, listed: Sequence[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    """What is listed, and every combination of a grid; one of nothing if there is neither."""
    grid = grid or {}
    for key, values in grid.items():
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise ConfigError(f"grid.{key}={values!r}", "a list of values", f"write [{values}]")
    rows = [*(listed or [])]
    if grid or not rows:
        rows += [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return rows


def with_seeds(lines: Sequence[Sequence[str]], seeds: Sequence[int] | None) -> list[list[str]]:
    """Each line with each seed, seed by seed, so that the first seed of all is there first."""
    if seeds is None:
        return [list(line) for line in lines]
    return [[*line, f"seed={seed}"] for seed in seeds for line in lines]
