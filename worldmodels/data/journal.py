"""The index of a store: one checksummed line of JSON per block of pieces, appended after the block's data."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from worldmodels.data.table import Pieces


class Chunks(NamedTuple):
    """Where a compressed array begins in its file, and for each chunk of it the rows and the bytes."""

    offset: int
    rows: list[int]
    sizes: list[int]


@dataclass(frozen=True)
class Line:
    """A block: its rows lie at `row` and after, in `parts` of so many rows each. The rows of `pieces` count from there.

    `source` is where new episodes come from. `sums` has a checksum per array over all rows (of their bytes in the file).
    """

    row: int
    parts: list[int]
    pieces: Pieces
    source: Mapping[str, Any]
    sums: dict[str, int]
    packed: dict[str, Chunks] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(self.parts)


def encode(line: Line) -> bytes:
    """The line as JSON, a blank, and the checksum of that JSON in hexadecimal."""
    tree = {**vars(line), "pieces": {name: column.tolist() for name, column in vars(line.pieces).items()}}
    for flag in ("terminated", "truncated"):
        tree["pieces"][flag] = np.flatnonzero(getattr(line.pieces, flag)).tolist()
    body = json.dumps(tree, separators=(",", ":")).encode()
    return body + b" %08x\n" % zlib.crc32(body)


def decode(text: bytes) -> Line | None:
    """None if the line is not what was written."""
    body, _, digest = text.rstrip(b"\n").rpartition(b" ")
    if digest != b"%08x" % zlib.crc32(body):
        return None
    try:
        tree = json.loads(body)
        columns = tree.pop("pieces")
        for flag in ("terminated", "truncated"):
            marked, columns[flag] = columns[flag], np.zeros(len(columns["number"]), bool)
            columns[flag][marked] = True
        numbers = {n: np.array(c, np.float64 if n == "return_" else np.int64) for n, c in columns.items() if n[0] != "t"}
        packed = {name: Chunks(*where) for name, where in tree.pop("packed").items()}
        return Line(**tree, pieces=Pieces(**{**columns, **numbers}), packed=packed)
    except (ValueError, TypeError, KeyError, IndexError):
        return None


class Journal:
    """Lines behind one another. A line counts once it stands whole; what follows the last whole one is overwritten."""

    def __init__(self, path: Path, *, write: bool) -> None:
        self.file = os.open(path, os.O_RDWR | os.O_CREAT if write else os.O_RDONLY, 0o644)
        self.ends = [0]  # ends[n]: byte at which n lines end
        self.last = b""

    def __len__(self) -> int:
        return len(self.ends) - 1

    def read(self) -> list[Line | None] | None:
        """The lines that came since the last call, None for an unreadable one; None alone if the past was rewritten.

        After the latter, ask again: it begins anew.
        """
        begin = self.ends[-1]
        data = os.pread(self.file, max(os.fstat(self.file).st_size - begin + len(self.last), 0), begin - len(self.last))
        if not data.startswith(self.last):
            self.ends, self.last = [0], b""
            return None
        lines = data[len(self.last) :].splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        for line in whole:
            self._count(line)
        return [decode(line) for line in whole]

    def append(self, lines: Sequence[Line]) -> None:
        """OSError if the disk is full; the lines are then taken back."""
        texts = [encode(line) for line in lines]
        data, offset = b"".join(texts), self.ends[-1]
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self.file, data[written:], offset + written)
        except OSError:
            os.ftruncate(self.file, offset)
            raise
        for text in texts:
            self._count(text)

    def line(self, place: int) -> bytes:
        """As it stands in the file; nothing for place = -1."""
        begin, end = (self.ends[place], self.ends[place + 1]) if place >= 0 else (0, 0)
        return os.pread(self.file, end - begin, begin)

    def cut(self, lines: int) -> None:
        """Take all but the first `lines` lines out of the file, and any unfinished one; `read` begins anew."""
        os.ftruncate(self.file, self.ends[lines])
        self.ends, self.last = [0], b""

    def trim(self) -> None:
        """Take out an unfinished line."""
        os.ftruncate(self.file, self.ends[-1])

    def sync(self) -> None:
        os.fsync(self.file)

    def close(self) -> None:
        os.close(self.file)

    def _count(self, line: bytes) -> None:
        self.ends.append(self.ends[-1] + len(line))
        self.last = line
