"""One boolean array of a store as a flat file of rows, eight values to a byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worldmodels.core.spec import ArraySpec
from worldmodels.data.column import Column, Rows


def worth(spec: ArraySpec) -> bool:
    """Whether rows of this array are kept as bits: those that fill a byte at least."""
    return np.dtype(spec.dtype) == bool and spec.size >= 8


def row_bytes(spec: ArraySpec) -> int:
    """What one row of this array takes in a store."""
    return -(-spec.size // 8) if worth(spec) else spec.size * np.dtype(spec.dtype).itemsize


class Bits:
    """Rows of bits, the first value in the highest bit; zeros fill the last byte. Is written and read as a `Column` is.

    An eighth of the bytes: writing to the page cache costs several times as much as packing, and what fits into memory
    is eight times as long.
    """

    def __init__(self, path: Path, spec: ArraySpec, *, write: bool) -> None:
        self.path, self.shape, self.size = path, spec.shape, spec.size
        self.file = Column(path, ArraySpec((-(-spec.size // 8),), "uint8"), write=write)

    @property
    def available(self) -> int:
        """Rows that the file has room for."""
        return self.file.available

    def pack(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The arrays (n, ...) as they lie in the file, (n, bytes)."""
        return [np.packbits(array.reshape(len(array), self.size), axis=1) for array in arrays]

    def write(self, row: int, packed: Sequence[np.ndarray]) -> None:
        """Put packed arrays one behind another from `row` on. OSError if they do not fit on the disk."""
        self.file.write(row, packed)

    def read(self, row: int, count: int) -> np.ndarray:
        """Packed rows (count, bytes) as a read-only view of the file."""
        return self.file.read(row, count)

    def take(self, rows: Rows) -> np.ndarray:
        """Copies of the rows, in the order and shape asked for."""
        packed = self.file.take(rows)
        return np.unpackbits(packed, axis=-1, count=self.size).view(bool).reshape(*rows.index.shape, *self.shape)

    def trim(self, rows: int) -> None:
        self.file.trim(rows)

    def sync(self) -> None:
        self.file.sync()

    def close(self) -> None:
        self.file.close()
