"""Which rows hold which step of which episode, in memory and vectorised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from worldmodels.core.errors import StoreError

_START_BITS = 32  # a piece is found under (episode << 32) + first step


@dataclass(frozen=True)
class Piece:
    """One line of the index: steps `start` to `start + length` of an episode lie at `row` and after.

    `return_` sums the rewards from the episode's beginning to the end of this piece. `crc` has one checksum per array,
    over the length + 1 rows, and `at` the byte and number of bytes of each compressed one.
    """

    number: int
    start: int
    length: int
    row: int
    terminated: bool
    truncated: bool
    return_: float
    source: Mapping[str, Any] = field(default_factory=dict)
    crc: Mapping[str, int] = field(default_factory=dict)
    at: dict[str, Sequence[int]] = field(default_factory=dict)


class Growing:
    """A numpy vector with room at its end."""

    def __init__(self, dtype: str) -> None:
        self.room, self.size = np.zeros(64, dtype), 0

    @property
    def values(self) -> np.ndarray:
        return self.room[: self.size]

    def insert(self, position: int, value: Any) -> None:
        """Cheap near the end, where new pieces belong: only what stands behind `position` moves."""
        if self.size == len(self.room):
            self.room = np.concatenate([self.room, np.zeros_like(self.room)])
        if position < self.size:
            self.room[position + 1 : self.size + 1] = self.room[position : self.size]
        self.room[position] = value
        self.size += 1

    def append(self, value: Any) -> None:
        self.insert(self.size, value)


@dataclass(frozen=True)
class Episodes:
    """One entry per episode, in the order in which they began; `ended` is False while one is still running."""

    number: Int64[np.ndarray, " N"]
    length: Int64[np.ndarray, " N"]
    return_: Float64[np.ndarray, " N"]
    terminated: Bool[np.ndarray, " N"]
    truncated: Bool[np.ndarray, " N"]
    source: Sequence[Mapping[str, Any]]

    @property
    def ended(self) -> Bool[np.ndarray, " N"]:
        return self.terminated | self.truncated


class Arrivals(NamedTuple):
    """Pieces in the order in which they were written, so with growing rows."""

    place: Growing
    start: Growing
    length: Growing
    row: Growing


class Table:
    """Pieces sorted by episode and step, and episodes in the order in which they began.

    "Episode" here means its place in that order, 0 to N - 1; `places` turns a recording's own numbers into it.
    """

    def __init__(self) -> None:
        self.key, self.row, self.start = Growing("int64"), Growing("int64"), Growing("int64")
        self.number, self.length = Growing("int64"), Growing("int64")
        self.return_, self.terminated, self.truncated = Growing("float64"), Growing("bool"), Growing("bool")
        self.arrived = Arrivals(Growing("int64"), Growing("int64"), Growing("int64"), Growing("int64"))
        self.source: list[Mapping[str, Any]] = []
        self.place: dict[int, int] = {}
        self.steps = 0

    def __len__(self) -> int:
        return self.number.size

    def reached(self, number: int) -> tuple[int | None, float]:
        """The step at which the episode's next piece has to begin, None if it has ended; and its return so far."""
        place = self.place.get(number)
        if place is None:
            return 0, 0.0
        ended = self.terminated.values[place] or self.truncated.values[place]
        return None if ended else int(self.length.values[place]), float(self.return_.values[place])

    def add(self, piece: Piece) -> None:
        """The caller has asked `reached`."""
        place = self.place.get(piece.number)
        if place is None:
            place = self.place[piece.number] = len(self)
            self.source.append(piece.source)
            for column in (self.number, self.length, self.return_, self.terminated, self.truncated):
                column.append(0)
            self.number.values[place] = piece.number
        key = (place << _START_BITS) + piece.start
        position = int(np.searchsorted(self.key.values, key))
        for column, value in ((self.key, key), (self.row, piece.row), (self.start, piece.start)):
            column.insert(position, value)
        for column, value in zip(self.arrived, (place, piece.start, piece.length, piece.row), strict=True):
            column.append(value)
        self.length.values[place] = piece.start + piece.length
        self.return_.values[place] = piece.return_
        self.terminated.values[place], self.truncated.values[place] = piece.terminated, piece.truncated
        self.steps += piece.length

    def episodes(self) -> Episodes:
        values = (self.number, self.length, self.return_, self.terminated, self.truncated)
        return Episodes(*(column.values.copy() for column in values), source=tuple(self.source))

    def places(self, numbers: Sequence[int] | np.ndarray) -> Int64[np.ndarray, " n"]:
        """Where these episodes stand; StoreError for one that the store does not have."""
        try:
            return np.fromiter((self.place[n] for n in np.asarray(numbers).tolist()), np.int64)
        except KeyError as missing:
            raise StoreError(
                f"episode {missing.args[0]} is not in the store", f"one of its {len(self)} episodes", "see `.episodes`"
            ) from None

    def rows(self, place: Int64[np.ndarray, "..."], step: Int64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
        """The row of each step; step = length is the final observation."""
        key = (place << _START_BITS) + np.minimum(step, self.length.values[place] - 1)
        piece = np.searchsorted(self.key.values, key, side="right") - 1
        return self.row.values[piece] + step - self.start.values[piece]

    def inside(
        self, place: Int64[np.ndarray, " B"], first: Int64[np.ndarray, " B"], count: int
    ) -> tuple[Int64[np.ndarray, "B T"], Int64[np.ndarray, "B T"]]:
        """Places and steps of windows of `count` observations that stay at their episode's final one."""
        step = np.minimum(first[:, None] + np.arange(count), self.length.values[place][:, None])
        return np.broadcast_to(place[:, None], step.shape), step

    def across(
        self,
        place: Int64[np.ndarray, " B"],
        first: Int64[np.ndarray, " B"],
        count: int,
        among: Int64[np.ndarray, " n"] | None,
    ) -> tuple[Int64[np.ndarray, "B T"], Int64[np.ndarray, "B T"]]:
        """Places and steps of windows that go on in the next of the episodes `among`; the first follows the last."""
        ring = np.arange(len(self)) if among is None else np.unique(among)
        ends = np.cumsum(self.length.values[ring] + 1)
        begins = ends - self.length.values[ring] - 1
        if among is not None and not np.all(np.isin(place, ring)):
            raise StoreError("a window in an episode that is not among those to use", "one of them", "draw from them")
        flat = (begins[np.searchsorted(ring, place)] + first)[:, None] + np.arange(count)
        flat %= ends[-1]
        which = np.searchsorted(ends, flat, side="right")
        return ring[which], flat - begins[which]
