"""All arrays of a store as one: written together, taken together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from worldmodels.core.errors import StoreError
from worldmodels.data.bits import Bits
from worldmodels.data.checksum import checksum
from worldmodels.data.column import Column, Rows
from worldmodels.data.journal import Chunks, Line
from worldmodels.data.layout import Layout
from worldmodels.data.packed import Packed
from worldmodels.data.table import Pieces


@runtime_checkable
class Sheet(Protocol):
    """What is written at once: the rows (n, ...) of each array, the same numbers of them for all."""

    source: Mapping[str, Any]  # of the episodes that begin here

    @property
    def table(self) -> Pieces:
        """The pieces in it, their rows counted from its first one."""
        ...

    @property
    def lane(self) -> int | None:
        """Steps between the rows that hold no action; see `journal.Line`."""
        ...

    def parts(self, name: str) -> list[np.ndarray]: ...

    def chunks(self, name: str) -> list[np.ndarray]:
        """The rows again, in parts that are compressed each by itself."""
        ...


class Arrays:
    """The files that a layout asks for: flat ones of values or bits, and compressed ones where it says so."""

    def __init__(self, folder: Path, layout: Layout, *, write: bool) -> None:
        names = {f"obs.{name}" for name in layout.packed}
        bits = set(layout.bits)
        self.packed = {
            name: Packed(folder / f"{name}.z", spec, write=write)
            for name, spec in layout.columns.items()
            if name in names
        }
        self.flat = {
            name: Bits(folder / f"{name}.bits", spec, write=write)
            if name in bits
            else Column(folder / f"{name}.raw", spec, write=write)
            for name, spec in layout.columns.items()
            if name not in names
        }
        self.columns: dict[str, Column | Bits | Packed] = {**self.flat, **self.packed}

    @property
    def available(self) -> int:
        """Rows that every flat file has."""
        return min(column.available for column in self.flat.values())

    def write(self, row: int, sheet: Sheet) -> tuple[dict[str, int], dict[str, Chunks]]:
        """Put a sheet at `row`; its checksums, and where compressed arrays lie. OSError if the disk is full."""
        sums, packed = dict[str, int](), dict[str, Chunks]()
        for name, column in self.flat.items():
            parts = column.pack(sheet.parts(name))
            column.write(row, parts)
            sums[name] = checksum(parts)
        for name, column in self.packed.items():
            packed[name], sums[name] = column.write(sheet.chunks(name))
        return sums, packed

    def rewind(self) -> None:
        """What was written since the last line that counts is given up."""
        for column in self.packed.values():
            column.tip = column.end

    def take(self, rows: Int64[np.ndarray, "..."], *, brief: bool = False) -> dict[str, np.ndarray]:
        """Every array at these rows; `brief` leaves the last moment to observations alone."""
        moments = Rows(rows)
        steps = Rows(np.ascontiguousarray(rows[..., :-1])) if brief else moments
        return {name: c.take(moments if name.startswith("obs.") else steps) for name, c in self.columns.items()}

    def differing(self, line: Line) -> list[str]:
        """The arrays that no longer hold what was written."""
        return [name for name, column in self.columns.items() if _stored(column, line) != line.sums.get(name)]

    def sync(self) -> None:
        for column in self.columns.values():
            column.sync()

    def close(self, trim: int | None = None) -> None:
        """With `trim`, files end after that many rows."""
        for column in self.columns.values():
            if trim is not None:
                column.trim(trim)
            column.close()


def _stored(column: Column | Bits | Packed, line: Line) -> int | None:
    try:
        return checksum(_stored_parts(column, line))
    except StoreError:
        return None


def _stored_parts(column: Column | Bits | Packed, line: Line) -> Sequence[np.ndarray]:
    if isinstance(column, Packed):
        return [column.bytes(line)]
    whole = column.read(line.row, line.rows)
    return np.split(whole, np.cumsum(line.parts)[:-1])
