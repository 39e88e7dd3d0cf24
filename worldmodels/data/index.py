"""What stands in a store: the journal on disk and the table in memory, kept in step."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from worldmodels.core.errors import ResumeError
from worldmodels.data.journal import Journal, decode
from worldmodels.data.table import Piece, Table


class Damage(NamedTuple):
    """A piece that can not be trusted: its line in the index, its episode and first step (-1 if unknown), and why."""

    line: int
    number: int
    start: int
    reason: str


@runtime_checkable
class Follower(Protocol):
    """What has to know where pieces lie: compressed arrays."""

    def forget(self) -> None: ...

    def learn(self, piece: Piece) -> None: ...

    def holds(self, piece: Piece) -> bool: ...


class Index:
    """Pieces that count, in the order in which they were written, and `damage` for lines that do not.

    A damaged piece hides what follows of its episode; everything else stays readable.
    """

    def __init__(self, journal: Journal, followers: Sequence[Follower] = ()) -> None:
        self.journal, self.followers = journal, followers
        self._forget()

    def _forget(self) -> None:
        for follower in self.followers:
            follower.forget()
        self.table, self.rows, self.version = Table(), 0, 0
        self.damage: list[Damage] = []

    def refresh(self, available: int) -> None:
        """Take in the lines that came since. `available` rows are in the files; pieces beyond are damaged."""
        pieces = self.journal.read()
        if pieces is None:
            self._forget()
            pieces = self.journal.read() or []
        for line, piece in enumerate(pieces, len(self.journal) - len(pieces)):
            reason = self._reason(piece, available)
            if piece is not None and reason is None:
                self._count(piece)
            else:
                at = (piece.number, piece.start) if piece else (-1, -1)
                self.damage.append(Damage(line, *at, reason or ""))

    def append(self, pieces: Sequence[Piece]) -> None:
        """From now on these count. OSError if their lines can not be written."""
        self.journal.append(pieces)
        for piece in pieces:
            self._count(piece)

    def snapshot(self) -> dict[str, Any]:
        return {"pieces": len(self.journal), "rows": self.rows, "last": zlib.crc32(self.journal.last)}

    def restore(self, state: Mapping[str, Any], available: int) -> None:
        """Cut back to the cursor; ResumeError if what it names is not there."""
        found, pieces = len(self.journal), int(state["pieces"])
        if found < pieces or zlib.crc32(self.journal.line(pieces - 1)) != state["last"]:
            raise ResumeError(
                f"the store holds {found} pieces, and not the {pieces} that the checkpoint saw",
                "the store that belongs to the checkpoint",
                "they are from different runs: give the run its own folder, or remove its checkpoints to start over",
            )
        self.journal.cut(pieces)
        self._forget()
        self.refresh(available)

    def clear(self) -> None:
        self.journal.cut(0)
        self._forget()

    def counted(self) -> Iterator[tuple[int, Piece]]:
        """The pieces that count, with their lines, from the disk."""
        damaged = {damage.line for damage in self.damage}
        for line in range(len(self.journal)):
            piece = decode(self.journal.line(line))
            if line not in damaged and piece is not None:
                yield line, piece

    def _count(self, piece: Piece) -> None:
        self.table.add(piece)
        for follower in self.followers:
            follower.learn(piece)
        self.rows = max(self.rows, piece.row + piece.length + 1)
        self.version += 1

    def _reason(self, piece: Piece | None, available: int) -> str | None:
        if piece is None:
            return "its line in the index is damaged"
        if piece.row + piece.length >= available or not all(f.holds(piece) for f in self.followers):
            return "its data is missing"
        if self.table.reached(piece.number)[0] != piece.start:
            return "the piece before it is missing or damaged"
        return None
