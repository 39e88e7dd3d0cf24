"""One array of a store, compressed chunk by chunk."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worldmodels.core.errors import StoreError
from worldmodels.core.spec import ArraySpec
from worldmodels.data.checksum import checksum
from worldmodels.data.column import Column, Rows
from worldmodels.data.growing import Growing
from worldmodels.data.journal import Chunks, Line

_LEVEL = 1  # higher ones cost several times the time for a few per cent


class Packed:
    """Chunks of rows, deflated and appended; a window costs the chunks that it touches. Is read as a `Column` is.

    Where a chunk lies is told by its block's line in the index: `learn` takes that in. What was written and never
    counted is overwritten.
    """

    def __init__(self, path: Path, spec: ArraySpec, *, write: bool) -> None:
        self.name, self.dtype, self.shape = path.stem, np.dtype(spec.dtype), spec.shape
        self.file = Column(path, ArraySpec((), "uint8"), write=write)
        self.forget()

    def forget(self) -> None:
        self.row, self.offset, self.size, self.end = Growing("int64"), Growing("int64"), Growing("int64"), 0
        self.tip = 0  # where to write next; lines for what lies between `end` and here are to come

    def learn(self, line: Line) -> None:
        where = line.packed[self.name]
        rows, sizes = np.array(where.rows, np.int64), np.array(where.sizes, np.int64)
        self.row.append(line.row + np.cumsum(rows) - rows)
        self.offset.append(where.offset + np.cumsum(sizes) - sizes)
        self.size.append(sizes)
        self.end = max(self.end, where.offset + int(sizes.sum()))
        self.tip = max(self.tip, self.end)

    def holds(self, line: Line) -> bool:
        """The file is long enough."""
        where = line.packed.get(self.name)
        return where is not None and where.offset + sum(where.sizes) <= self.file.available

    def write(self, chunks: Sequence[np.ndarray]) -> tuple[Chunks, int]:
        """Append chunks; where they lie, and their checksum. OSError if they do not fit on the disk."""
        given = [chunk for chunk in chunks if len(chunk)]
        packed = [np.frombuffer(zlib.compress(np.ascontiguousarray(x).data, _LEVEL), np.uint8) for x in given]
        self.file.write(self.tip, packed)
        where = Chunks(self.tip, [len(x) for x in given], [len(x) for x in packed])
        self.tip += sum(where.sizes)
        return where, checksum([np.concatenate(packed)])

    def bytes(self, line: Line) -> np.ndarray:
        """A block as it lies in the file; StoreError if it ends too early."""
        where = line.packed[self.name]
        return self.file.read(where.offset, sum(where.sizes))

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
