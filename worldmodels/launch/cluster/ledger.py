"""Which job of a scheduler does which run: kept in the study's folder, so that no job is forgotten."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "jobs.jsonl"


@dataclass(frozen=True)
class Entry:
    """One submission. `folder` is submitit's for it, with %j where the id goes; `submitted` in unix seconds."""

    job: str
    executor: str
    folder: str
    words: tuple[str, ...]
    submitted: float

    @property
    def key(self) -> tuple[str, ...]:
        """The same for the same run, whatever the order of its words."""
        return tuple(sorted(self.words))


class Ledger:
    """`.submitit/jobs.jsonl`: one line per job, in the order of submission; it is only ever added to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def add(self, entries: Sequence[Entry]) -> None:
        """On disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(asdict(entry)) + "\n" for entry in entries))
            file.flush()
            os.fsync(file.fileno())

    def newest(self, executor: str) -> dict[tuple[str, ...], Entry]:
        """The last job of each run on that executor. A line that was cut by a crash counts for nothing."""
        found: dict[tuple[str, ...], Entry] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []:
            entry = _read(line)
            if entry is not None and entry.executor == executor:
                found[entry.key] = entry
        return found


def _read(line: str) -> Entry | None:
    try:
        told = json.loads(line)
        return Entry(**{**told, "words": tuple(told["words"])})
    except (json.JSONDecodeError, KeyError, TypeError):
        return None
