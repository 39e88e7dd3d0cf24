"""What tells two runs apart: config, code, versions, machine, results."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worldmodels.evaluation.study import config, curves, drawing, find
from worldmodels.evaluation.study.config import NONE
from worldmodels.evaluation.study.group import Cell, Group, Grouping
from worldmodels.evaluation.study.run import Run, read
from worldmodels.evaluation.study.swept import shown
from worldmodels.evaluation.study.tables import number

FILES = 12  # of a diff that are listed


@dataclass(frozen=True)
class Difference:
    """A line of a comparison. `watching`: a key that changes neither what is learned nor how it is scored."""

    name: str
    a: str
    b: str
    watching: bool = False


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs, and their results side by side. `code`: lines of text, empty if it is the same."""

    a: Run
    b: Run
    config: tuple[Difference, ...]
    code: tuple[str, ...]
    versions: tuple[Difference, ...]
    machine: tuple[Difference, ...]
    results: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        parts = {name: getattr(self, name) for name in ("config", "versions", "machine", "results")}
        return {
            "runs": [str(self.a.folder), str(self.b.folder)],
            **{name: [asdict(each) for each in part] for name, part in parts.items()},
            "code": list(self.code),
            "problems": {str(run.folder): list(run.problems) for run in (self.a, self.b) if run.problems},
        }


def compare(a: Path, b: Path) -> Comparison:
    """Two run folders; anything else is refused."""
    one, other = (read(find.demand_run(folder), folder.resolve().parent.name) for folder in (a, b))
    facts = [_facts(run) for run in (one, other)]
    versions = [_versions(run) for run in (one, other)]
    return Comparison(
        one,
        other,
        tuple(_configs(one.config, other.config)),
        tuple(_code(one, other)),
        tuple(_differing(*versions)),
        tuple(_differing(*facts)),
        tuple(_results(one, other)),
    )


def overlaid(comparison: Comparison) -> dict[str, str]:
    """Curves of both runs in one drawing, by title; empty where they have nothing in common to draw."""
    runs = {"a": comparison.a, "b": comparison.b}
    groups = tuple(Group(name, run.study, {}, {"": Cell("", (run,), ())}) for name, run in runs.items())
    owners = dict(zip(runs.values(), groups, strict=True))
    both = Grouping(tuple(runs.values()), groups, (), {}, dict.fromkeys(runs.values(), ""), owners)
    sources = curves.sources([group.cells[""] for group in groups])
    found = {title: drawing.learning(both, "", line) for title, line in sources}
    return {title: figure for title, figure in found.items() if figure}


def _configs(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """Those that matter first."""
    found = [
        Difference(key, _leaf(a, key), _leaf(b, key), watching=config.watching(key)) for key in config.varying([a, b])
    ]
    return sorted(found, key=lambda each: each.watching)


def _leaf(leaves: Mapping[str, Any], key: str) -> str:
    return shown(leaves[key]) if key in leaves else NONE


def _code(a: Run, b: Run) -> list[str]:
    ends = [run.sessions[-1] if run.sessions else {} for run in (a, b)]
    if not all(end.get("commit") for end in ends):
        return ["the commit of at least one run is not known"]
    old, new = (str(end["commit"]) for end in ends)
    diffs = [str(end.get("diff") or "") for end in ends]
    lines = [f"{len(run.commits)} commits in its sessions: {run.folder.name}" for run in (a, b) if len(run.commits) > 1]
    if old != new:
        lines += [f"commit {old[:10]} -> {new[:10]}", *_between(old, new)]
    if diffs[0] == diffs[1]:
        return [*lines, "the same uncommitted changes in both:", *_touched(diffs[0])] if diffs[0] else lines
    for name, diff in zip("ab", diffs, strict=True):
        told = _touched(diff)
        lines += [f"{name}: uncommitted changes", *told] if told else [f"{name}: no uncommitted changes"]
    return lines


def _between(old: str, new: str) -> list[str]:
    """What git says about two commits, if this source tree knows both."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return []
    words = ["git", "-C", str(root), "diff", "--stat=100", old, new]
    try:
        told = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = [line.rstrip() for line in told.stdout.splitlines()]
    files, total = lines[:-1], lines[-1:]
    more = [f" and {len(files) - FILES} more files"] if len(files) > FILES else []
    return [*files[:FILES], *more, *total] if told.returncode == 0 else []


def _touched(diff: str) -> list[str]:
    """Files of a diff, with the lines added and removed in each."""
    found = list[str]()
    for part in re.split(r"^diff --git ", diff, flags=re.MULTILINE)[1:]:
        name = part.partition("\n")[0].rpartition(" b/")[2]
        added = len(re.findall(r"^\+(?!\+\+ )", part, flags=re.MULTILINE))
        removed = len(re.findall(r"^-(?!-- )", part, flags=re.MULTILINE))
        found.append(f" {name}  +{added} -{removed}")
    return [*found[:FILES], *([f" and {len(found) - FILES} more files"] if len(found) > FILES else [])]


def _versions(run: Run) -> dict[str, str]:
    end = run.sessions[-1] if run.sessions else {}
    told = {name: str(end[name]) for name in ("worldmodels", "python") if end.get(name)}
    return told | {name: str(value) for name, value in (end.get("versions") or {}).items()}


def _facts(run: Run) -> dict[str, str]:
    end = run.sessions[-1] if run.sessions else {}
    gpu = {"gpu": run.status.gpu} if run.status and run.status.gpu else {}
    return {name: str(end[name]) for name in ("host", "platform") if end.get(name)} | gpu


def _differing(a: Mapping[str, str], b: Mapping[str, str]) -> list[Difference]:
    names = dict.fromkeys([*a, *b])
    return [Difference(name, a.get(name, NONE), b.get(name, NONE)) for name in names if a.get(name) != b.get(name)]


def _results(a: Run, b: Run) -> list[Difference]:
    one, other = _told(a), _told(b)
    return [Difference(name, one.get(name, NONE), other.get(name, NONE)) for name in dict.fromkeys([*one, *other])]


def _told(run: Run) -> dict[str, str]:
    """A run's outcome in a reader's words."""
    star = "" if run.finished else " (last evaluation)"
    error = run.result.get("return_stderr")
    found = {"state": run.state, "seed": NONE if run.seed is None else str(run.seed)}
    found["error"] = (run.status.error or "").partition("\n")[0] if run.status else ""
    if run.measure:
        found[run.measure] = number(run.score) + (f" ± {number(error)}" if error is not None else "") + star
    if run.result.get("episodes"):
        lowest, highest = (number(run.result.get(name)) for name in ("return_min", "return_max"))
        found |= {"episodes": str(run.result["episodes"]), "lowest, highest": f"{lowest}, {highest}"}
    found |= {
        name.replace("_", " "): number(run.count(name), whole=name != "minutes")
        for name in ("env_steps", "updates", "minutes")
    }
    found["updates/s"] = number(run.result.get("updates_per_second"))
    found |= {name: number(value) for name, value in sorted((run.result.get("model") or {}).items())}
    return {name: value for name, value in found.items() if value not in ("", NONE)}
