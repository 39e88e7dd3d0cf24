"""One array of a store, compressed piece by piece."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worldmodels.core.errors import StoreError
from worldmodels.core.spec import ArraySpec
from worldmodels.data.column import Column, Rows
from worldmodels.data.table import Growing, Piece

_LEVEL = 1  # higher ones cost several times the time for a few per cent


class Packed:
    """Pieces of rows, deflated and appended; a window costs the pieces that it touches. Is read as a
    `Column` is.

    Where a piece lies is told by its line in the index: `learn` takes that in. What was written and never counted is
    overwritten.
    """

    def __init__(self, path: Path, spec: ArraySpec, *, write: bool) -> None:
        self.name, self.dtype, self.shape = path.stem, np.dtype(spec.dtype), spec.shape
        self.file = Column(path, ArraySpec((), "uint8"), write=write)
        self.forget()

    def forget(self) -> None:
        self.row, self.offset, self.size, self.end = Growing("int64"), Growing("int64"), Growing("int64"), 0

    def learn(self, piece: Piece) -> None:
        offset, size = piece.at[self.name]
        for column, value in ((self.row, piece.row), (self.offset, offset), (self.size, size)):
            column.append(value)
        self.end = max(self.end, offset + size)

    def holds(self, piece: Piece) -> bool:
        """The file is long enough."""
        return self.name in piece.at and sum(piece.at[self.name]) <= self.file.available

    def write(self, arrays: Sequence[np.ndarray]) -> list[tuple[int, int]]:
        """Append pieces; the byte and the number of bytes of each. OSError if they do not fit on the disk."""
        packed = [np.frombuffer(zlib.compress(np.ascontiguousarray(x), _LEVEL), np.uint8) for x in arrays]  # pyright: ignore[reportArgumentType]
        ends = self.end + np.cumsum([len(x) for x in packed])
        self.file.write(self.end, packed)
        return [(int(end) - len(x), len(x)) for end, x in zip(ends, packed, strict=True)]

    def read(self, row: int, count: int) -> np.ndarray:
        """Rows (count, ...) of one piece; StoreError if it is damaged."""
        return self._unpack(self._block(row))[:count]

    def take(self, rows: Rows) -> np.ndarray:
        """Copies of the rows, in the order and shape asked for."""
        flat = rows.index.reshape(-1)
        out = np.empty((len(flat), *self.shape), self.dtype)
        blocks = np.searchsorted(self.row.values, flat, side="right") - 1
        for block in np.unique(blocks).tolist():
            here = np.flatnonzero(blocks == block)
            out[here] = self._unpack(block)[flat[here] - self.row.values[block]]
        return out.reshape(*rows.index.shape, *self.shape)

    def trim(self, rows: int) -> None:  # noqa: ARG002
        self.file.trim(self.end)

    def sync(self) -> None:
        self.file.sync()

    def close(self) -> None:
        self.file.close()

    def _block(self, row: int) -> int:
        return int(np.searchsorted(self.row.values, row, side="right")) - 1

    def _unpack(self, block: int) -> np.ndarray:
        data = os.pread(self.file.file, int(self.size.values[block]), int(self.offset.values[block]))
        try:
            return np.frombuffer(zlib.decompress(data), self.dtype).reshape(-1, *self.shape)
        except (zlib.error, ValueError) as broken:
            raise StoreError(
                f"{self.name} from row {self.row.values[block]} can not be unpacked: {broken}",
                "what was written",
                "see which episode it is with worldmodels inspect --verify, and leave that one out",
            ) from broken
