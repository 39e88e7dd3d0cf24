"""The index of a store: one checksummed line of JSON per piece, appended after the piece's data."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from worldmodels.data.table import Piece


def encode(piece: Piece) -> bytes:
    """The piece as JSON, a blank, and the checksum of that JSON in hexadecimal."""
    body = json.dumps(vars(piece), separators=(",", ":")).encode()
    return body + b" %08x\n" % zlib.crc32(body)


def decode(line: bytes) -> Piece | None:
    """None if the line is not what was written."""
    body, _, digest = line.rstrip(b"\n").rpartition(b" ")
    if digest != b"%08x" % zlib.crc32(body):
        return None
    try:
        return Piece(**json.loads(body))
    except (ValueError, TypeError):
        return None


class Journal:
    """Lines behind one another. A line counts once it stands whole; what follows the last whole one is overwritten."""

    def __init__(self, path: Path, *, write: bool) -> None:
        self.file = os.open(path, os.O_RDWR | os.O_CREAT if write else os.O_RDONLY, 0o644)
        self.ends = [0]  # ends[n]: byte at which n lines end
        self.last = b""

    def __len__(self) -> int:
        return len(self.ends) - 1

    def read(self) -> list[Piece | None] | None:
        """The pieces that came since the last call, None for an unreadable line; None alone if the past was rewritten.

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

    def append(self, pieces: Sequence[Piece]) -> None:
        """OSError if the disk is full; the lines are then taken back."""
        lines = [encode(piece) for piece in pieces]
        data, offset = b"".join(lines), self.ends[-1]
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self.file, data[written:], offset + written)
        except OSError:
            os.ftruncate(self.file, offset)
            raise
        for line in lines:
            self._count(line)

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
