"""Which runs lie in the folders that were given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from worldmodels.core.errors import ConfigError
from worldmodels.evaluation.study.run import Run, read

MARKS = ("config.yaml", "status.json", "done.json")  # any of them makes a folder that of a run
_ASIDE = re.compile(r"\.old-\d+$")  # of a run that was started over


def runs(folders: Sequence[Path]) -> list[Run]:
    """The runs of studies, and those named one by one; each once, in the order of their names."""
    if not folders:
        raise ConfigError("no folder", "a study, or runs", "give the folder of a study, such as runs/<study>")
    found: dict[Path, Path] = {}
    for folder in folders:
        for path in _runs_in(folder):
            found.setdefault(path.resolve(), path)
    paths = sorted(found.values())
    studies = _names({path.parent.resolve() for path in paths})
    return [read(path, studies[path.parent.resolve()]) for path in paths]


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
