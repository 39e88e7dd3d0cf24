"""One run as it lies on disk, whatever is missing or damaged in it."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float

from worldmodels.evaluation.status import Status, observe
from worldmodels.evaluation.study.config import flat
from worldmodels.evaluation.table import read_json

Columns = Mapping[str, Float[np.ndarray, " rows"]]
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is there
HELD = "held-out loss"  # the sum of what held/loss/... tell, which is what training lessens
DAMAGE = (OSError, UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError, csv.Error, ValueError, KeyError, TypeError)


@dataclass(frozen=True, eq=False)
class Run:
    """A run's folder. `problems` names every file that could not be used, and why.

    state: one of evaluation.status.STATES; "unknown" where nothing tells.
    config: leaves by dotted key; empty if there is none that can be read.
    scores: lines of evaluation.jsonl. columns: those of metrics.csv that curves need.
    ahead: open-loop errors by horizon, one row per horizon, of the newest film.
    judged: lines of judged.jsonl, losses on a recording that the run did not learn from.
    """

    folder: Path
    study: str
    state: str
    status: Status | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    sessions: Sequence[Mapping[str, Any]] = ()
    scores: Sequence[Mapping[str, Any]] = ()
    columns: Columns = field(default_factory=dict)
    ahead: Sequence[Mapping[str, Any]] = ()
    film: Path | None = None
    problems: tuple[str, ...] = ()
    judged: Sequence[Mapping[str, Any]] = ()

    @property
    def seed(self) -> int | None:
        return self.config.get("seed")

    @property
    def began(self) -> str:
        """When its first session began; empty if nothing tells."""
        return str(self.sessions[0].get("time", "")) if self.sessions else ""

    @property
    def finished(self) -> bool:
        return self.state == "done" and bool(self.result)

    @property
    def overrides(self) -> Mapping[str, str]:
        """The words of its command line by key, as far as its status tells them."""
        words = self.status.overrides if self.status else ()
        pairs = (word.lstrip("+~").partition("=") for word in words)
        return {key.partition("@")[0].replace("/", "."): value for key, _, value in pairs}

    @property
    def measure(self) -> str:
        """What its score is: the return of episodes or, of a model alone, its held-out loss, of which less is better.

        Empty if there is nothing to score it by.
        """
        if "return_mean" in self.result or self.scores:
            return "return"
        if held_loss(self.result.get("model", {})) is not None or len(self.columns.get(HELD, ())):
            return HELD
        return ""

    @property
    def score(self) -> float | None:
        """Of the final evaluation; of a run that is not finished, the last there is."""
        if not self.measure:
            return None
        if self.measure == HELD:
            told = held_loss(self.result.get("model", {}))
            value = _last(self.columns.get(HELD)) if told is None else told
        else:
            value = self.result.get("return_mean", self.scores[-1].get("return_mean") if self.scores else None)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    def count(self, name: str) -> float | None:
        """env_steps, updates or minutes: as the result tells it, or else as far as the run got."""
        if name in self.result:
            return self.result[name]
        if name == "minutes":
            seconds = _last(self.columns.get("seconds"))
            return None if seconds is None else seconds / 60
        return _last(self.columns.get(name))

    @property
    def commits(self) -> tuple[str, ...]:
        """Of its sessions, in order."""
        return tuple(dict.fromkeys(str(each.get("commit") or "") for each in self.sessions))

    @property
    def dirty(self) -> bool | None:
        """Some session ran code that was not committed; None if no session knows."""
        told = [each.get("dirty") for each in self.sessions]
        return None if all(each is None for each in told) else any(told)

    @property
    def code(self) -> tuple[str, ...]:
        """What tells the code of its sessions from that of others: commits, with a hash of the changes beside them."""
        marks = []
        for each in self.sessions:
            diff = str(each.get("diff") or "")
            marks.append(f"{each.get('commit')}{hashlib.sha1(diff.encode()).hexdigest()[:8] if diff else ''}")
        return tuple(dict.fromkeys(marks))


def read(folder: Path, study: str) -> Run:
    """What there is of a run. Films are looked for, not read."""
    problems: list[str] = []

    def attempt(name: str, parse: Callable[[Path], Any], otherwise: Any) -> Any:
        path = folder / name
        if not path.is_file():
            return otherwise
        try:
            return parse(path)
        except DAMAGE as damage:
            problems.append(f"{name} can not be read: {_short(damage)}")
            return otherwise

    config = attempt("config.yaml", _config, {})
    result = attempt("done.json", _mapping, {})
    sessions = attempt("provenance.json", lambda path: tuple(map(dict, _mapping(path)["sessions"])), ())
    scores = attempt("evaluation.jsonl", _scores, ())
    columns = attempt("metrics.csv", read_columns, {})
    judged = attempt("judged.jsonl", _judged, ())
    films = sorted((folder / "films").glob("*.gif"))
    tables = sorted((folder / "films").glob("*.json"))  # also where there is no film, for want of a decoder
    told = f"films/{tables[-1].name}" if tables else ""
    ahead = attempt(told, lambda path: tuple(map(dict, _mapping(path)["rows"])), ()) if tables else ()
    status = observe(folder)
    state = status.state if status else "unknown"
    problems += _missing(folder, state, result)
    return Run(
        folder, study, state, status, config, result, sessions, scores, columns, ahead,
        films[-1] if films else None, tuple(problems), judged,
    )  # fmt: skip


def read_columns(path: Path) -> Columns:
    """The columns of metrics.csv that a curve is drawn from; a last line that a crash cut short is left out."""
    with path.open(newline="") as file:
        lines = list(csv.reader(line for line in file if line.endswith("\n")))
    header = lines[0] if lines else []
    rows = [line for line in lines[1:] if len(line) == len(header)]
    if len(rows) < len(lines) - 1:
        raise ValueError(f"{len(lines) - 1 - len(rows)} of its lines have another number of cells than its header")

    def column(name: str) -> np.ndarray:
        at = header.index(name)
        return np.array([float(row[at] or "nan") for row in rows])

    found = {name: column(name) for name in ("env_steps", "updates", "seconds", "return") if name in header}
    held = [column(name) for name in _parts(header)]
    return found | ({HELD: np.sum(held, axis=0)} if held else {})


def held_loss(told: Mapping[str, float]) -> float | None:
    """The whole loss on held-out windows, from the losses by name; None if none was held out."""
    parts = [told[name] for name in _parts(told)]
    return float(sum(parts)) if parts else None


def _parts(names: Iterable[str]) -> list[str]:
    """held/loss/total alone if that is told, or else what it is the sum of; what probes lose is not the model's."""
    held = [name for name in names if name.startswith("held/loss/") and not name.startswith("held/loss/probe/")]
    return [name for name in held if name == "held/loss/total"] or held


def _missing(folder: Path, state: str, result: Mapping[str, Any]) -> list[str]:
    begun = state not in ("queued", "unknown")
    found = [f"{name} is missing" for name in ("config.yaml", "metrics.csv") if begun and not (folder / name).is_file()]
    if state == "done" and not result and not (folder / "done.json").is_file():
        found.append("done.json is missing, although its status says that it is done")
    return found


def _config(path: Path) -> Mapping[str, Any]:
    tree = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    if not isinstance(tree, dict) or "seed" not in tree:
        raise ValueError("it is not the config of a run")
    return flat(tree)


def _mapping(path: Path) -> Mapping[str, Any]:
    tree = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(tree, dict):
        raise ValueError(f"it holds a {type(tree).__name__} where there should be names with values")
    return tree


def _scores(path: Path) -> tuple[Mapping[str, Any], ...]:
    rows = read_json(path)
    for name in ("updates", "env_steps", "return_mean"):
        [float(row[name]) for row in rows]  # or else it is damaged
    return tuple(rows)


def _judged(path: Path) -> tuple[Mapping[str, Any], ...]:
    rows = read_json(path)
    for name in ("updates", "env_steps", "loss/total", "kl"):
        [float(row[name]) for row in rows]  # or else it is damaged
    return tuple(rows)


def _last(values: Float[np.ndarray, " rows"] | None) -> float | None:
    """The last that is a number."""
    known = values[np.isfinite(values)] if values is not None else np.empty(0)
    return float(known[-1]) if len(known) else None


def _short(damage: Exception) -> str:
    text = f"it lacks {damage}" if isinstance(damage, KeyError) else str(damage)
    return " ".join(text.split())[:160] or type(damage).__name__
