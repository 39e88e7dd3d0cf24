"""One array of a store as a flat file of rows."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from worldmodels.core.errors import StoreError
from worldmodels.core.spec import ArraySpec

_RESERVE = 16 << 20  # bytes by which a file grows at least
_IOV_MAX = 1024


class Column:
    """Rows of one shape and dtype, appended with pwrite and read through a shared read-only memory map.

    Not written through the map: on a full disk that kills the process with SIGBUS, where pwrite returns ENOSPC. The
    file is a sparse one, longer than its contents, so that the map seldom has to be made anew; `trim` cuts the rest.
    """

    def __init__(self, path: Path, spec: ArraySpec, *, write: bool) -> None:
        self.path, self.dtype, self.shape = path, np.dtype(spec.dtype), spec.shape
        self.row_bytes = spec.size * self.dtype.itemsize
        try:
            self.file = os.open(path, os.O_RDWR | os.O_CREAT if write else os.O_RDONLY, 0o644)
        except FileNotFoundError as missing:
            raise StoreError(f"{path} is missing", "one file per array", "copy the store again, whole") from missing
        self.rows = np.empty((0, *self.shape), self.dtype)  # what is mapped

    @property
    def available(self) -> int:
        """Rows that the file has room for."""
        return os.fstat(self.file).st_size // self.row_bytes

    def write(self, row: int, arrays: Sequence[np.ndarray]) -> None:
        """Put arrays (n, ...) one behind another from `row` on. OSError if they do not fit on the disk."""
        buffers = [memoryview(array).cast("B") for array in map(_bytes, arrays) if array.size]
        offset = row * self.row_bytes
        end = offset + sum(len(buffer) for buffer in buffers)
        if end > os.fstat(self.file).st_size:
            os.ftruncate(self.file, end + max(_RESERVE, end // 4))
        while buffers:
            written = os.pwritev(self.file, buffers[:_IOV_MAX], offset)
            offset += written
            while buffers and written >= len(buffers[0]):
                written -= len(buffers.pop(0))
            if written:
                buffers[0] = buffers[0][written:]

    def read(self, row: int, count: int) -> np.ndarray:
        """Rows (count, ...) as a read-only view of the file."""
        self._reach(row + count)
        return self.rows[row : row + count]

    def take(self, rows: Int64[np.ndarray, "..."], last: int) -> np.ndarray:
        """Copies of the rows; `last` is the greatest of them."""
        self._reach(last + 1)
        return np.take(self.rows, rows, axis=0, mode="clip")  # "clip" skips a pass; the rows were checked before

    def trim(self, rows: int) -> None:
        os.ftruncate(self.file, rows * self.row_bytes)

    def sync(self) -> None:
        os.fdatasync(self.file)

    def close(self) -> None:
        os.close(self.file)

    def _reach(self, rows: int) -> None:
        if rows > len(self.rows):
            count = self.available
            if count < rows:
                raise EOFError(f"{self.path} holds {count} rows, not {rows}")
            mapped = mmap.mmap(self.file, count * self.row_bytes, access=mmap.ACCESS_READ)
            self.rows = np.frombuffer(mapped, self.dtype).reshape(count, *self.shape)


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
