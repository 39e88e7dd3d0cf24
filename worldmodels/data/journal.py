"""The index of a store: one checksummed line of JSON per block of pieces, appended after the block's data."""

from __future__ import annotations

import json
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from worldmodels.data.table import Pieces

_COLUMNS = {
    "number": "<i8",
    "start": "<u4",
    "length": "<u4",
    "row": "<u4",
    "last": "<u4",
    "terminated": "?",
    "truncated": "?",
    "return_": "<f8",
}
_WIDE = {"<u4": "<i8"}


class Chunks(NamedTuple):
    """Where a compressed array begins in its file, and for each chunk of it the rows and the bytes."""

    offset: int
    rows: list[int]
    sizes: list[int]


@dataclass(frozen=True)
class Line:
    """A block: its rows lie at `row` and after, in `parts` of so many rows each. The rows of `pieces` count from there.

    `source` is where new episodes come from. `sums` has a checksum per array, of its bytes in the file.
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
    """The line as JSON, a blank, and the checksum of that JSON in hexadecimal.

    Columns are base64 of little-endian numbers: as lists, they would cost several times the rest of recording a block.
    """
    columns = {name: getattr(line.pieces, name).astype(kind).tobytes() for name, kind in _COLUMNS.items()}
    tree = {**vars(line), "pieces": {name: b64encode(data).decode() for name, data in columns.items()}}
    body = json.dumps(tree, separators=(",", ":")).encode()
    return body + b" %08x\n" % zlib.crc32(body)


def decode(text: bytes) -> Line | None:
    """None if the line is not what was written."""
    body, _, digest = text.rstrip(b"\n").rpartition(b" ")
    if digest != b"%08x" % zlib.crc32(body):
        return None
    try:
        tree = json.loads(body)
        given = {name: np.frombuffer(b64decode(text), _COLUMNS[name]) for name, text in tree.pop("pieces").items()}
        pieces = Pieces(
            **{name: column.astype(_WIDE.get(column.dtype.str, column.dtype)) for name, column in given.items()}
        )
        packed = {name: Chunks(*where) for name, where in tree.pop("packed").items()}
        return Line(**tree, pieces=pieces, packed=packed)
    except (ValueError, TypeError, KeyError):
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
