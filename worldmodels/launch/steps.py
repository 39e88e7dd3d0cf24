"""A study of several steps as a plan: which runs each step has, and what each of them takes from those of other steps.

A step's words may hold places for folders of earlier steps: `{agents}` is the folder of the run that has the same
seed, or of the only one, `{agents arm=all}` of the one that differs so, `{agents/*}` a pattern for all of them. Of a
recording they are the stores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldmodels.core.errors import ConfigError
from worldmodels.launch.folder import run_name
from worldmodels.launch.json_list import word
from worldmodels.launch.listed import combinations
from worldmodels.launch.near import near

VERBS = ("train", "record")
KEYS = {"verb": "train", "words": [], "grid": {}, "list": None, "seeds": None}  # of a step, with what they are unsaid
STORE = "episodes"  # of a recording's folder: its status lies beside it
_PLACE = re.compile(r"\{(?P<step>\w+)(?P<all>/\*)?(?P<which>(?:\s+[^\s{}=]+=[^\s{}]+)*)\}")


@dataclass(frozen=True, eq=False)
class Row:
    """One run of a step. `common`: words that the step's other runs have, too; `needs`: what must be finished first."""

    step: str
    verb: str
    seed: int
    values: Mapping[str, str]
    common: tuple[str, ...]
    words: tuple[str, ...]
    folder: Path
    needs: tuple[Row, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        return f"{self.step}/{self.folder.name}"

    @property
    def line(self) -> list[str]:
        return [*self.common, *self.words]

    @property
    def result(self) -> Path:
        """What later steps begin with."""
        return self.folder / STORE if self.verb == "record" else self.folder


@dataclass(frozen=True)
class Step:
    """Runs of one verb."""

    name: str
    verb: str
    rows: tuple[Row, ...]


def steps(
    told: Mapping[str, Mapping[str, Any]], root: Path, seeds: Sequence[int], more: Mapping[str, Sequence[str]]
) -> list[Step]:
    """The steps of a study in their order. `more` are further words for each of them, `seeds` those of steps without.

    ConfigError for a step that is none, and for a place that names no earlier run, or several.
    """
    found: dict[str, Step] = {}
    for name, tree in told.items():
        _demand(name, tree)
        full = {**KEYS, **tree}
        common = [*full["words"], *more.get(name, ())]
        own = full["seeds"] if full["seeds"] is not None else seeds
        rows = [
            _row(name, full["verb"], seed, values, common, root, found)
            for seed in own
            for values in combinations(full["grid"], full["list"])
        ]
        found[name] = Step(name, full["verb"], tuple(rows))
    return list(found.values())


def _demand(name: str, tree: Any) -> None:
    if not re.fullmatch(r"\w+", name) or not isinstance(tree, Mapping):
        raise ConfigError(f"the step {name!r}", "a name of letters, with the step's keys below it", "correct it")
    for key in tree:
        if key not in KEYS:
            raise ConfigError(f"steps.{name} has {key!r}", f"some of {', '.join(KEYS)}{near(key, KEYS)}", "correct it")
    if tree.get("verb", "train") not in VERBS:
        raise ConfigError(f"steps.{name}.verb={tree['verb']}", f"one of {', '.join(VERBS)}", "correct it")


def _row(
    step: str,
    verb: str,
    seed: int,
    values: Mapping[str, Any],
    common: Sequence[str],
    root: Path,
    before: Mapping[str, Step],
) -> Row:
    needs: list[Row] = []

    def place(found: re.Match[str]) -> str:
        path, rows = _located(found, step, seed, before)
        needs.extend(rows)
        return path

    told = {key: _text(value) for key, value in values.items()}
    own = {key: value for key, value in told.items() if not _PLACE.search(value)}
    name = run_name([f"{key}={value}" for key, value in own.items()] + [f"seed={seed}"])
    folder = root / step / name
    shared = tuple(each for each in common if not _PLACE.search(each))
    inherited = [_PLACE.sub(lambda m: word(place(m)), each) for each in common if _PLACE.search(each)]
    words = [*inherited, *(f"{key}={word(_filled(value, place))}" for key, value in values.items()), f"seed={seed}"]
    words += [f"name={word(name)}"] if verb == "train" else [f"store={word(str(folder / STORE))}"]
    return Row(step, verb, seed, own, shared, tuple(words), folder, tuple(dict.fromkeys(needs)))


def _filled(value: Any, place: Callable[[re.Match[str]], str]) -> Any:
    if isinstance(value, list | tuple):
        return [_filled(each, place) for each in value]
    return _PLACE.sub(place, value) if isinstance(value, str) else value


def _text(value: Any) -> str:
    """As a place would name it."""
    return value if isinstance(value, str) else word(value)


def _located(found: re.Match[str], step: str, seed: int, before: Mapping[str, Step]) -> tuple[str, list[Row]]:
    """The path that a place means, and the runs that have to be there."""
    name = found["step"]
    if name not in before:
        raise ConfigError(
            f"steps.{step}: {found[0]} names no earlier step",
            f"one of {', '.join(before)}{near(name, before)}" if before else "a step above it",
            "correct the name, or change the order",
        )
    rows = before[name].rows
    if found["all"]:
        any_of_them = rows[0].folder.with_name("*")
        return str(any_of_them / STORE if rows[0].verb == "record" else any_of_them), list(rows)
    wanted = dict(part.split("=", 1) for part in found["which"].split())
    fit = [row for row in rows if all(row.values.get(key) == value for key, value in wanted.items())]
    fit = [row for row in fit if row.seed == seed] or [row for row in fit if len({each.seed for each in fit}) == 1]
    if len(fit) != 1:
        there = ", ".join(row.folder.name for row in rows[:8])
        raise ConfigError(
            f"steps.{step}: {found[0]} of seed {seed} means {len(fit) or 'none'} of the {len(rows)} runs of {name}",
            f"one of {there}",
            f"say which, such as {{{name} key=value}}, or {{{name}/*}} for all",
        )
    return str(fit[0].result), fit
