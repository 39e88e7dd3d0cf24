"""What stands in a store: the journal on disk and the table in memory, kept in step."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from worldmodels.core.errors import ResumeError
from worldmodels.data.journal import Journal, Line, decode
from worldmodels.data.table import Table


class Damage(NamedTuple):
    """A block that can not be trusted, or some of it: its line in the index, the episodes concerned, and why.

    No episode is named where the line itself can not be read.
    """

    line: int
    episodes: tuple[int, ...]
    reason: str


@runtime_checkable
class Follower(Protocol):
    """What has to know where blocks lie: compressed arrays."""

    def forget(self) -> None: ...

    def learn(self, line: Line) -> None: ...

    def holds(self, line: Line) -> bool: ...


class Index:
    """Blocks that count, in the order in which they were written, and `damage` for those that do not.

    A piece that is lost hides what follows of its episode; everything else stays readable.
    """

    def __init__(self, journal: Journal, followers: Sequence[Follower] = ()) -> None:
        self.journal, self.followers = journal, followers
        self._forget()

    def _forget(self) -> None:
        for follower in self.followers:
            follower.forget()
        self.table, self.rows, self.version = Table(), 0, 0
        self.damage: list[Damage] = []
        self._lost: set[int] = set()  # lines whose data can not be read at all

    def refresh(self, available: int) -> None:
        """Take in the lines that came since. `available` rows are in the files; blocks beyond are damaged."""
        lines = self.journal.read()
        if lines is None:
            self._forget()
            lines = self.journal.read() or []
        for place, line in enumerate(lines, len(self.journal) - len(lines)):
            if line is None:
                self._lose(place, (), "its line in the index is damaged")
            elif line.row + line.rows > available or not all(follower.holds(line) for follower in self.followers):
                self._lose(place, tuple(line.pieces.number.tolist()), "its data is missing")
            elif orphans := self._count(line):
                self.damage.append(Damage(place, orphans, "the piece before it is missing or damaged"))

    def append(self, lines: Sequence[Line]) -> None:
        """From now on these count. OSError if they can not be written."""
        self.journal.append(lines)
        for line in lines:
            self._count(line)

    def snapshot(self) -> dict[str, Any]:
        return {"lines": len(self.journal), "rows": self.rows, "last": zlib.crc32(self.journal.last)}

    def restore(self, state: Mapping[str, Any], available: int) -> None:
        """Cut back to the cursor; ResumeError if what it names is not there."""
        found, lines = len(self.journal), int(state["lines"])
        if found < lines or zlib.crc32(self.journal.line(lines - 1)) != state["last"]:
            raise ResumeError(
                f"the store holds {found} blocks, and not the {lines} that the checkpoint saw",
                "the store that belongs to the checkpoint",
                "they are from different runs: give the run its own folder, or remove its checkpoints to start over",
            )
        self.journal.cut(lines)
        self._forget()
        self.refresh(available)

    def clear(self) -> None:
        self.journal.cut(0)
        self._forget()

    def counted(self) -> Iterator[tuple[int, Line]]:
        """The blocks that have data, with their lines' places, from the disk."""
        for place in range(len(self.journal)):
            line = decode(self.journal.line(place))
            if place not in self._lost and line is not None:
                yield place, line

    def _lose(self, place: int, episodes: tuple[int, ...], reason: str) -> None:
        self._lost.add(place)
        self.damage.append(Damage(place, episodes, reason))

    def _count(self, line: Line) -> tuple[int, ...]:
        """Episodes that this block does not continue from where they are."""
        place, fits = self.table.find(line.pieces)
        whole = bool(np.all(fits))
        pieces = line.pieces if whole else line.pieces.some(fits)
        if len(pieces):
            self.table.add(pieces, place[fits], line.row, line.source)
        for follower in self.followers:
            follower.learn(line)
        self.rows = max(self.rows, line.row + line.rows)
        self.version += 1
        return () if whole else tuple(line.pieces.number[~fits].tolist())
