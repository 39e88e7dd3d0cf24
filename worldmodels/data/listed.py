"""Pieces that somebody made elsewhere, in the form in which a store takes blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worldmodels.core.experience import Episode
from worldmodels.core.spec import ArraySpec
from worldmodels.data.journal import placed
from worldmodels.data.layout import Layout
from worldmodels.data.table import Pieces, Table


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
        self.lane = None
        length = np.array([len(piece) for piece in pieces], np.int64)
        terminated = np.array([piece.terminated for piece in pieces])
        truncated = np.array([piece.truncated for piece in pieces])
        row, last = placed(length, terminated | truncated, None)
        self.table = Pieces(
            number=np.array([piece.number for piece in pieces], np.int64),
            start=np.array([piece.start for piece in pieces], np.int64),
            length=length,
            row=row,
            last=last,
            terminated=terminated,
            truncated=truncated,
            return_=np.array(returns, np.float64),
        )

    def parts(self, name: str) -> list[np.ndarray]:
        return [arrays[name] for arrays in self.arrays]

    def chunks(self, name: str) -> list[np.ndarray]:
        return self.parts(name)


def listed(pieces: Sequence[Episode], layout: Layout, table: Table) -> list[Listed]:
    """The pieces in as few sheets as they fit in, in their order.

    SpecError for other arrays than the layout's, StoreError for pieces that do not continue what the table has.
    """
    arrays, returns = [layout.arrays(piece) for piece in pieces], _returns(pieces, table)
    for one in arrays:
        layout.demand({name: ArraySpec(array.shape[1:], array.dtype.name) for name, array in one.items()})
    return [
        Listed([pieces[i] for i in group], [arrays[i] for i in group], [returns[i] for i in group])
        for group in _alike(pieces)
    ]


def _returns(pieces: Sequence[Episode], table: Table) -> list[float]:
    """Each episode's return up to the end of the piece."""
    reached, returns = dict[int, tuple[int | None, float]](), list[float]()
    for piece in pieces:
        step, so_far = reached.get(piece.number) or table.reached(piece.number)
        if step != piece.start:
            raise table.gap(piece.number, piece.start, step)
        returns.append(so_far + float(piece.reward.sum(dtype=np.float64)))
        reached[piece.number] = (None if piece.ended else piece.start + len(piece), returns[-1])
    return returns


def _alike(pieces: Sequence[Episode]) -> list[list[int]]:
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
