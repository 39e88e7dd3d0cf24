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
from jaxtyping import Bool, Int64

from worldmodels.data.table import Pieces

_ENDS = np.frombuffer(b".tcb", np.uint8)  # by terminated + 2 * truncated


class Chunks(NamedTuple):
    """Where a compressed array begins in its file, and for each chunk of it the rows and the bytes."""

    offset: int
    rows: list[int]
    sizes: list[int]


@dataclass(frozen=True)
class Line:
    """A block of pieces that lie behind one another from `row` on; the rows of `pieces` count from there.

    Every `lane` steps, or behind each piece where that is None, a row follows that holds what was seen then and zeros.
    With lanes, the final observations of ended episodes stand behind all of them, in the order of the pieces. `source`
    is where new episodes come from. `sums` has a checksum per array, of its bytes in the file.
    """

    row: int
    lane: int | None
    pieces: Pieces
    source: Mapping[str, Any]
    sums: dict[str, int]
    packed: dict[str, Chunks] = field(default_factory=dict)

    @property
    def parts(self) -> list[int]:
        """The rows that were written from one array each."""
        if self.lane is None:
            return (self.pieces.length + 1).tolist()
        steps = int(self.pieces.length.sum())
        return [steps + steps // self.lane, int(np.count_nonzero(self.pieces.ended))]

    @property
    def rows(self) -> int:
        return sum(self.parts)


def encode(line: Line) -> bytes:
    """The line as JSON that a person can read, a blank, and the checksum of that JSON in hexadecimal.

    `end` has a letter per piece: t terminated, c cut off (truncated), b both, and a dot where the episode runs on.
    `start` has only the pieces that do not begin at step 0. Rows follow from the lengths and are left out.
    """
    pieces, going = line.pieces, np.flatnonzero(line.pieces.start)
    tree: dict[str, Any] = {
        "row": line.row,
        "lane": line.lane,
        "number": pieces.number.tolist(),
        "start": dict(zip(going.tolist(), pieces.start[going].tolist(), strict=True)),
        "length": pieces.length.tolist(),
        "return": pieces.return_.tolist(),
        "end": _ENDS[pieces.terminated + 2 * pieces.truncated].tobytes().decode(),
        "source": line.source,
        "sums": line.sums,
        **({"packed": line.packed} if line.packed else {}),
    }
    body = json.dumps(tree, separators=(",", ":")).encode()
    return body + b" %08x\n" % zlib.crc32(body)


def decode(text: bytes) -> Line | None:
    """None if the line is not what was written."""
    body, _, digest = text.rstrip(b"\n").rpartition(b" ")
    if digest != b"%08x" % zlib.crc32(body):
        return None
    try:
        tree = json.loads(body)
        packed = {name: Chunks(*where) for name, where in tree.get("packed", {}).items()}
        return Line(tree["row"], tree["lane"], _pieces(tree), tree["source"], tree["sums"], packed)
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def _pieces(tree: Mapping[str, Any]) -> Pieces:
    length = np.array(tree["length"], np.int64)
    start = np.zeros_like(length)
    for at, step in tree["start"].items():
        start[int(at)] = step
    end = np.frombuffer(tree["end"].encode(), np.uint8)
    row, last = placed(length, end != _ENDS[0], tree["lane"])
    return Pieces(
        number=np.array(tree["number"], np.int64),
        start=start,
        length=length,
        row=row,
        last=last,
        terminated=(end == _ENDS[1]) | (end == _ENDS[3]),
        truncated=(end == _ENDS[2]) | (end == _ENDS[3]),
        return_=np.array(tree["return"], np.float64),
    )


def placed(
    length: Int64[np.ndarray, " n"], ended: Bool[np.ndarray, " n"], lane: int | None
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Where pieces begin and where their last observations lie, as `Line` says."""
    after = np.cumsum(length)
    begin = after - length
    row = begin + (np.arange(len(length)) if lane is None else begin // lane)
    last = row + length
    if lane is not None:
        final = np.cumsum(ended) + (after[-1] + after[-1] // lane - 1)
        last[ended] = final[ended]
    return row, last


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
