"""Which runs lie in the folders that were given."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worldmodels.core.errors import ConfigError
from worldmodels.evaluation.study.run import Run, read

STEPS = "study.json"  # in the folder of a study of steps: which there are, and which a report is of
MARKS = ("config.yaml", "status.json", "done.json")  # any of them makes a folder that of a run
_ASIDE = re.compile(r"\.old-\d+$")  # of a run that was started over


def runs(folders: Sequence[Path]) -> list[Run]:
    """The runs of studies, and those named one by one; each once, in the order of their names."""
    if not folders:
        raise ConfigError("no folder", "a study, or runs", "give the folder of a study, such as runs/<study>")
    found: dict[Path, Path] = {}
    parts = [step for each in folders for step in steps(each)]
    if not parts:
        do = "wait for them, or report the folder of another step"
        raise ConfigError(f"none of the runs to report in {folders[0]} has begun", "a step that has runs", do)
    for folder in parts:
        for path in _runs_in(folder):
            found.setdefault(path.resolve(), path)
    paths = sorted(found.values())
    studies = _names({path.parent.resolve() for path in paths})
    return [read(path, studies[path.parent.resolve()]) for path in paths]


def steps(folder: Path, *, every: bool = False) -> list[Path]:
    """The folders of the steps that a report of a study is of, or of all of them; of any other folder, itself."""
    told = _told(folder)
    names = told["steps" if every else "report"] if told else []
    begun = [folder / name for name in names if (folder / name).is_dir() and _children(folder / name)]
    return begun if told else [folder]


def reference(folder: Path) -> str | None:
    """The name of published numbers that a study wants to be shown beside."""
    return (_told(folder) or {}).get("reference")


def _told(folder: Path) -> dict[str, Any] | None:
    file = folder / STEPS
    if not file.is_file():
        return None
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        lists = {key: [str(name) for name in told[key]] for key in ("steps", "report")}
        return {**lists, "reference": told.get("reference")}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as damage:
        do = "start the study again, which writes it anew, or report one of its steps"
        raise ConfigError(f"{file} can not be read: {damage!r}", "what a study of steps wrote", do) from damage


def is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in MARKS)


def demand_run(folder: Path) -> Path:
    """The folder itself, if it is that of a run."""
    if is_run(folder):
        return folder
    found = f"{folder} is not a run folder" if folder.exists() else f"{folder} does not exist"
    hint = ""
    if folder.is_dir():
        inner = _children(folder)
        hint = f"; it holds {len(inner)} runs, such as {inner[0].name}" if inner else ""
    raise ConfigError(f"{found}{hint}", "the folder of one run, with a config.yaml", "give runs/<study>/<name>")


def _runs_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ConfigError(f"{folder} {what}", "the folder of a study or of a run", "give runs/<study>")
    if is_run(folder):
        return [folder]
    inner = _children(folder)
    if inner:
        return inner
    studies = [each.name for each in sorted(folder.iterdir()) if each.is_dir() and _children(each)]
    hint = f"give one of its studies: {', '.join(studies[:6])}" if studies else "train first, or give another folder"
    raise ConfigError(f"{folder} holds no runs", "a folder whose subfolders are runs", hint)


def _children(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if is_run(each) and not _ASIDE.search(each.name))


def _names(studies: set[Path]) -> dict[Path, str]:
    """Studies by the names of their folders, or by more of their paths where two share a name."""
    names = {path: path.name for path in studies}
    alike = {path for path in studies if list(names.values()).count(path.name) > 1}
    return {path: f"{path.parent.name}/{path.name}" if path in alike else name for path, name in names.items()}
