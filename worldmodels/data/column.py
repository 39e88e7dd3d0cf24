"""One array of a store as a flat file of rows."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from worldmodels.core.errors import StoreError
from worldmodels.core.spec import ArraySpec
from worldmodels.data.readers import cores, together

_RESERVE = 16 << 20  # bytes by which a file grows at least
_IOV_MAX = 1024
_LONG = 32 << 10  # bytes from which on a run of rows is read and not mapped
_SHARED = 4 << 20  # bytes from which on several threads read


class Rows:
    """Rows to take, of any shape, and the runs of consecutive ones among them."""

    def __init__(self, index: Int64[np.ndarray, "..."]) -> None:
        self.index, flat = index, index.reshape(-1)
        self.last = int(flat.max())
        at = np.concatenate([[0], np.flatnonzero(np.diff(flat) != 1) + 1])
        count = np.diff(at, append=len(flat))
        self.mean_run = len(flat) / len(at)
        self.runs: list[tuple[int, int, int]] = list(zip(at.tolist(), flat[at].tolist(), count.tolist(), strict=True))


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
        self.size = os.fstat(self.file).st_size
        self.rows = np.empty((0, *self.shape), self.dtype)  # what is mapped

    @property
    def available(self) -> int:
        """Rows that the file has room for."""
        return os.fstat(self.file).st_size // self.row_bytes

    def pack(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The arrays (n, ...) as they lie in the file."""
        return [np.ascontiguousarray(array) for array in arrays]

    def write(self, row: int, packed: Sequence[np.ndarray]) -> None:
        """Put packed arrays one behind another from `row` on. OSError if they do not fit on the disk."""
        buffers = list(packed)
        offset, size = row * self.row_bytes, sum(buffer.nbytes for buffer in buffers)
        if offset + size > self.size:
            self.size = offset + size + max(_RESERVE, offset // 4)
            os.ftruncate(self.file, self.size)
        for at in range(0, len(buffers), _IOV_MAX):
            offset = self._write(buffers[at : at + _IOV_MAX], offset)

    def read(self, row: int, count: int) -> np.ndarray:
        """Rows (count, ...) as a read-only view of the file."""
        self._reach(row + count)
        return self.rows[row : row + count]

    def take(self, rows: Rows) -> np.ndarray:
        """Copies of the rows, in the order and shape asked for.

        Long runs are announced to the kernel all at once and then read: from a disk that is about ten times as fast as
        faulting them in through the map, page by page, and no slower from the page cache.
        """
        if rows.mean_run * self.row_bytes < _LONG:
            self._reach(rows.last + 1)
            return np.take(self.rows, rows.index, axis=0, mode="clip")  # "clip" skips a pass; the rows exist
        out = np.empty((*rows.index.shape, *self.shape), self.dtype)
        buffer = out.reshape(-1).view(np.uint8).data
        size = self.row_bytes
        for _, row, count in rows.runs:
            os.posix_fadvise(self.file, row * size, count * size, os.POSIX_FADV_WILLNEED)
        shares = cores() if out.nbytes >= _SHARED else 1
        together([partial(self._read_runs, buffer, part) for part in _shared(rows.runs, shares)])
        return out

    def trim(self, rows: int) -> None:
        self.size = rows * self.row_bytes
        os.ftruncate(self.file, self.size)

    def sync(self) -> None:
        os.fdatasync(self.file)

    def close(self) -> None:
        os.close(self.file)

    def _write(self, buffers: list[np.ndarray], offset: int) -> int:
        """The byte after the last one written."""
        end = offset + sum(buffer.nbytes for buffer in buffers)
        offset += os.pwritev(self.file, [buffer.data for buffer in buffers], offset)
        if offset < end:  # a signal, or the disk is about to be full
            rest = memoryview(b"".join(buffer.tobytes() for buffer in buffers))
            while offset < end:
                offset += os.pwrite(self.file, rest[offset - end :], offset)
        return offset

    def _read_runs(self, buffer: memoryview, runs: Sequence[tuple[int, int, int]]) -> None:
        size = self.row_bytes
        for at, row, count in runs:
            self._read(buffer[at * size : (at + count) * size], row * size)

    def _read(self, buffer: memoryview, offset: int) -> None:
        while buffer:
            count = os.preadv(self.file, [buffer], offset)
            if not count:
                raise StoreError(
                    f"{self.path} ends at byte {offset}", "a longer file", "run worldmodels inspect --verify"
                )
            buffer, offset = buffer[count:], offset + count

    def _reach(self, rows: int) -> None:
        if rows > len(self.rows):
            count = self.available
            if count < rows:
                raise StoreError(f"{self.path} has {count} rows", f"{rows}", "run worldmodels inspect --verify")
            mapped = mmap.mmap(self.file, count * self.row_bytes, access=mmap.ACCESS_READ)
            self.rows = np.frombuffer(mapped, self.dtype).reshape(count, *self.shape)


def _shared(runs: Sequence[tuple[int, int, int]], shares: int) -> list[Sequence[tuple[int, int, int]]]:
    """Runs one behind another in about equal parts, none of them empty unless there are none at all."""
    part = max(1, -(-len(runs) // shares))
    return [runs[begin : begin + part] for begin in range(0, len(runs), part)] or [runs]
