"""Which runs there are, and which of them is meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worldmodels.core.errors import ConfigError
from worldmodels.data.lock import owner
from worldmodels.evaluation.status import Status, observe
from worldmodels.evaluation.study.find import STEPS, steps

SWEEP = ".sweep.lock"  # held by the sweep that is at work in a study
ARCHIVE = "archive"  # within a study: what was put away


@dataclass(frozen=True)
class Run:
    """A run's folder, and what is true of it now. `step`: of a study of several."""

    folder: Path
    status: Status
    step: str = ""

    @property
    def name(self) -> str:
        return f"{self.step}/{self.folder.name}" if self.step else self.folder.name


def studies(root: Path) -> dict[str, Path]:
    """The folders of a place that hold runs, by their names as `study=` takes them: a/b lies within a."""
    if not root.is_dir():
        raise ConfigError(f"there is no folder {root}", "where runs lie", "start some, or give the place with --runs")
    return {folder.relative_to(root).as_posix(): folder for folder in _studies(root)}


def _studies(folder: Path) -> Iterator[Path]:
    """Folders with runs below this one, but for runs that were put away."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name != ARCHIVE and not _is_run(path):
            if _runs(path):
                yield path
            if not stepped(path):
                yield from _studies(path)


def study(root: Path, name: str) -> Path:
    """A study's folder by its name or its path."""
    for folder in (root / name, Path(name)):
        if folder.is_dir() and _runs(folder):
            return folder
    there = list(studies(root))
    close = difflib.get_close_matches(name, there, n=3)
    raise ConfigError(
        f"there is no study {name!r} in {root}",
        f"one of {', '.join(there) or 'none yet'}",
        f"did you mean {' or '.join(close)}?" if close else "`worldmodels jobs list` shows all",
    )


def runs(folder: Path) -> list[Run]:
    """Every run of a study, by name."""
    observed = ((path, observe(path)) for path in _runs(folder))
    several = stepped(folder)
    return [
        Run(path, status or Status("queued", error="not started"), path.parent.name if several else "")
        for path, status in observed
    ]


def stepped(folder: Path) -> bool:
    """It is a study of several steps, whose runs lie in a folder for each."""
    return (folder / STEPS).is_file()


def choose(folder: Path, text: str | None) -> list[Run]:
    """The runs that are meant: all, or the only one that has every word of the text, such as `seed=3 lr=0.1`.

    Words are looked for in a run's name and in its command line, for long names are cut; keys may be short.
    """
    known = runs(folder)
    if text is None:
        return known
    words = [text.split(), re.split("[ ,]+", text)]  # a comma may also be part of a value
    whole = [run for run in known if run.name == text or any(all(_has(run, word) for word in some) for some in words)]
    found = whole or [run for run in known if all(word in _told(run) for word in words[1])]
    if len(found) != 1:
        some = "\n    ".join(run.name for run in (found or known)[:8])
        raise ConfigError(
            f"{len(found) or 'no'} runs of {folder} have {text!r} in their names or words:\n    {some}",
            "words that only one run has",
            "give more of the name",
        )
    return found


def _has(run: Run, word: str) -> bool:
    """As `jobs status` shows it, or as the queue does, without the first parts of its key."""
    whole = {*run.name.split(","), *run.status.overrides}
    return word in whole or ("=" in word and any(each.endswith(f".{word}") for each in whole))


def _told(run: Run) -> str:
    return " ".join((run.name, *run.status.overrides))


def sweeping(folder: Path) -> int | None:
    """The process of the sweep that is at work in a study, as the kernel knows it; None if there is none."""
    return owner(folder / SWEEP)


def stranded(run: Run) -> bool:
    """It waits, and nothing is there to start it: the sweep was stopped, and it is no job of a cluster."""
    elsewhere = (run.status.launcher or "").startswith("submitit_")
    return run.status.state == "queued" and not elsewhere and sweeping(run.folder.parent) is None


def _runs(folder: Path) -> list[Path]:
    if stepped(folder):
        return [path for step in steps(folder, every=True) if step.is_dir() for path in _runs(step)]
    inside = (path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith("."))
    return [path for path in inside if _is_run(path)]


def _is_run(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in ("status.json", "done.json", "config.yaml"))
