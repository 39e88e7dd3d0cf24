"""All arrays of a store as one: written together, taken together."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from worldmodels.core.errors import StoreError
from worldmodels.data.column import Column, Rows
from worldmodels.data.layout import Layout
from worldmodels.data.packed import Packed
from worldmodels.data.table import Piece


class Arrays:
    """The files that a layout asks for: flat ones, and compressed ones where it says so."""

    def __init__(self, folder: Path, layout: Layout, *, write: bool) -> None:
        names = {f"obs.{name}" for name in layout.packed}
        self.packed = {
            name: Packed(folder / f"{name}.z", spec, write=write)
            for name, spec in layout.columns.items()
            if name in names
        }
        self.flat = {
            name: Column(folder / f"{name}.raw", spec, write=write)
            for name, spec in layout.columns.items()
            if name not in names
        }
        self.columns: dict[str, Column | Packed] = {**self.flat, **self.packed}

    @property
    def available(self) -> int:
        """Rows that every flat file has."""
        return min(column.available for column in self.flat.values())

    def write(self, row: int, given: Sequence[Mapping[str, Sequence[np.ndarray]]], lines: Sequence[Piece]) -> None:
        """Put what pieces hold from `row` on, and tell their lines where. OSError if the disk is full."""
        for name, column in self.flat.items():
            column.write(row, [array for arrays in given for array in arrays[name]])
        for name, column in self.packed.items():
            places = column.write([array for arrays in given for array in arrays[name]])
            for line, place in zip(lines, places, strict=True):
                line.at[name] = place

    def take(self, rows: Int64[np.ndarray, "..."], *, brief: bool = False) -> dict[str, np.ndarray]:
        """Every array at these rows; `brief` leaves the last moment to observations alone."""
        moments = Rows(rows)
        steps = Rows(np.ascontiguousarray(rows[..., :-1])) if brief else moments
        return {name: c.take(moments if name.startswith("obs.") else steps) for name, c in self.columns.items()}

    def differing(self, piece: Piece) -> list[str]:
        """The arrays that no longer hold what was written."""
        return [name for name, column in self.columns.items() if _stored(column, piece) != piece.crc.get(name)]

    def sync(self) -> None:
        for column in self.columns.values():
            column.sync()

    def close(self, trim: int | None = None) -> None:
        """With `trim`, files end after that many rows."""
        for column in self.columns.values():
            if trim is not None:
                column.trim(trim)
            column.close()


def checksum(arrays: Sequence[np.ndarray]) -> int:
    """CRC-32 of arrays behind one another."""
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array), value)  # pyright: ignore[reportArgumentType]
    return value


def _stored(column: Column | Packed, piece: Piece) -> int | None:
    try:
        return checksum([column.read(piece.row, piece.length + 1)])
    except StoreError:
        return None
