"""Pieces that somebody made elsewhere, in the form in which a store takes blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worldmodels.core.experience import Episode
from worldmodels.core.spec import ArraySpec
from worldmodels.data.table import Pieces


class Listed:
    """Pieces of different episodes from one source. Each lies whole, its final observation behind its steps.

    `arrays` has, for each piece, the rows (T + 1, ...) of every array, and `returns` what its episode has yielded at
    its end.
    """

    def __init__(
        self, pieces: Sequence[Episode], arrays: Sequence[Mapping[str, np.ndarray]], returns: Sequence[float]
    ) -> None:
        self.arrays = arrays
        self.source: Mapping[str, Any] = pieces[0].source
        self.rows = [len(piece) + 1 for piece in pieces]
        length = np.array(self.rows) - 1
        row = np.cumsum(self.rows) - self.rows
        self.table = Pieces(
            number=np.array([piece.number for piece in pieces], np.int64),
            start=np.array([piece.start for piece in pieces], np.int64),
            length=length,
            row=row,
            last=row + length,
            terminated=np.array([piece.terminated for piece in pieces]),
            truncated=np.array([piece.truncated for piece in pieces]),
            return_=np.array(returns, np.float64),
        )

    @property
    def columns(self) -> dict[str, ArraySpec]:
        return {name: ArraySpec(array.shape[1:], array.dtype.name) for name, array in self.arrays[0].items()}

    def parts(self, name: str) -> list[np.ndarray]:
        return [arrays[name] for arrays in self.arrays]

    def chunks(self, name: str) -> list[np.ndarray]:
        return self.parts(name)


def alike(pieces: Sequence[Episode]) -> list[list[int]]:
    """The places of pieces that may lie in one block, in order: one per episode, from one source."""
    groups: list[list[int]] = []
    numbers: set[int] = set()
    for at, piece in enumerate(pieces):
        if not groups or piece.number in numbers or piece.source != pieces[groups[-1][0]].source:
            groups.append([])
            numbers = set()
        groups[-1].append(at)
        numbers.add(piece.number)
    return groups
