"""Which rows hold which step of which episode, in memory and vectorised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from worldmodels.core.errors import StoreError
from worldmodels.data.growing import Growing

_START_BITS = 32  # a piece is found under (episode << 32) + first step


@dataclass(frozen=True)
class Pieces:
    """Pieces of different episodes that were written together: steps `start` to `start + length` of each.

    They lie at `row` and after, except for the observation after the last step, which lies at `last`. `return_` sums
    the rewards from the episode's beginning to the end of the piece.
    """

    number: Int64[np.ndarray, " n"]
    start: Int64[np.ndarray, " n"]
    length: Int64[np.ndarray, " n"]
    row: Int64[np.ndarray, " n"]
    last: Int64[np.ndarray, " n"]
    terminated: Bool[np.ndarray, " n"]
    truncated: Bool[np.ndarray, " n"]
    return_: Float64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.number)

    @property
    def ended(self) -> Bool[np.ndarray, " n"]:
        return self.terminated | self.truncated

    def some(self, chosen: Bool[np.ndarray, " n"]) -> Pieces:
        return Pieces(**{name: column[chosen] for name, column in vars(self).items()})


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
    """Pieces in the order in which they were written, so with growing rows; `before` counts the steps before each."""

    place: Growing
    start: Growing
    length: Growing
    row: Growing
    before: Growing


class Table:
    """Pieces sorted by episode and step, and episodes in the order in which they began.

    "Episode" here means its place in that order, 0 to N - 1; `places` turns a recording's own numbers into it.
    """

    def __init__(self) -> None:
        self.key, self.row, self.start, self.last = (Growing("int64") for _ in range(4))
        self.number, self.length = Growing("int64"), Growing("int64")
        self.return_, self.terminated, self.truncated = Growing("float64"), Growing("bool"), Growing("bool")
        self.arrived = Arrivals(*(Growing("int64") for _ in Arrivals._fields))
        self.source: list[Mapping[str, Any]] = []
        self.place: dict[int, int] = {}
        self.steps, self.highest = 0, -1  # the latter: of the numbers

    def __len__(self) -> int:
        return self.number.size

    def reached(self, number: int) -> tuple[int | None, float]:
        """The step at which the episode's next piece has to begin, None if it has ended; and its return so far."""
        place = self.place.get(number)
        if place is None:
            return 0, 0.0
        ended = self.terminated.values[place] or self.truncated.values[place]
        return None if ended else int(self.length.values[place]), float(self.return_.values[place])

    def find(self, pieces: Pieces) -> tuple[Int64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """The place of each piece's episode, -1 for a new one; and whether the piece is the next one of it."""
        place = np.full(len(pieces), -1)
        old = np.flatnonzero(pieces.number <= self.highest)  # few: most are new
        place[old] = [self.place.get(number, -1) for number in pieces.number[old].tolist()]
        known = np.flatnonzero(place >= 0)
        fits = pieces.start == 0
        there = place[known]
        over = self.terminated.values[there] | self.truncated.values[there]
        fits[known] = (pieces.start[known] == self.length.values[there]) & ~over
        return place, fits

    def demand(self, pieces: Pieces) -> None:
        """StoreError unless each piece is the next one of its episode."""
        _, fits = self.find(pieces)
        if not fits.all():
            at = int(np.argmin(fits))
            number, start = int(pieces.number[at]), int(pieces.start[at])
            raise self.gap(number, start, self.reached(number)[0])

    def gap(self, number: int, start: int, reached: int | None) -> StoreError:
        """That a piece does not go on where its episode is."""
        return StoreError(
            f"a piece of episode {number} from step {start}",
            "none, it has ended" if reached is None else f"a piece from step {reached}",
            f"number new episodes from {self.highest + 1} on, and leave out no piece",
        )

    def add(self, pieces: Pieces, place: Int64[np.ndarray, " n"], row: int, source: Mapping[str, Any]) -> None:
        """Pieces and places as `find` told and approved; their rows count from `row` on."""
        new = place < 0
        count = int(np.count_nonzero(new))
        if count:
            place[new] = range(len(self), len(self) + count)
            self.place.update(zip(pieces.number[new].tolist(), place[new].tolist(), strict=True))
            self.source.extend([source] * count)
            self.number.append(pieces.number[new])
            self.highest = max(self.highest, int(pieces.number.max()))
            for column in (self.length, self.return_, self.terminated, self.truncated):
                column.append(np.zeros(count))
        rows, key = pieces.row + row, (place << _START_BITS) + pieces.start
        order = np.argsort(key)
        at = np.searchsorted(self.key.values, key[order])
        for column, values in ((self.key, key), (self.row, rows), (self.start, pieces.start)):
            column.weave(at, values[order])
        self.last.weave(at, pieces.last[order] + row)
        before = self.steps + np.cumsum(pieces.length) - pieces.length
        for column, values in zip(self.arrived, (place, pieces.start, pieces.length, rows, before), strict=True):
            column.append(values)
        self.length.values[place] = pieces.start + pieces.length
        self.return_.values[place] = pieces.return_
        self.terminated.values[place], self.truncated.values[place] = pieces.terminated, pieces.truncated
        self.steps += int(pieces.length.sum())

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
        length = self.length.values[place]
        key = (place << _START_BITS) + np.minimum(step, length - 1)
        piece = np.searchsorted(self.key.values, key, side="right") - 1
        row = self.row.values[piece] + step - self.start.values[piece]
        return np.where(step == length, self.last.values[piece], row)

    def recorded(self, place: Int64[np.ndarray, " n"], step: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """How many steps had been recorded before each of these, none of them a final observation."""
        row = self.rows(place, step)
        piece = np.searchsorted(self.arrived.row.values, row, side="right") - 1
        return self.arrived.before.values[piece] + row - self.arrived.row.values[piece]

    def recording(self, when: Int64[np.ndarray, " n"]) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Places and steps of what was recorded after so many others."""
        place, start, _, _, before = (column.values for column in self.arrived)
        piece = np.searchsorted(before, when, side="right") - 1
        return place[piece], start[piece] + when - before[piece]

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
        labels: Int64[np.ndarray, " N"] | None = None,
    ) -> tuple[Int64[np.ndarray, "B T"], Int64[np.ndarray, "B T"]]:
        """Places and steps of windows that go on in the next of the episodes `among`; the first follows the last.

        With labels, a window goes on in episodes of one label only.
        """
        ring = None if among is None else np.unique(among)
        if labels is not None:
            places, steps = np.zeros((2, len(place), count), np.int64)
            for label in np.unique(labels[place]):
                mine = labels[place] == label
                same = np.flatnonzero(labels == label) if ring is None else ring[labels[ring] == label]
                places[mine], steps[mine] = self.across(place[mine], first[mine], count, same)
            return places, steps
        if ring is not None and not np.all(np.isin(place, ring)):
            raise StoreError("a window in an episode that is not among those to use", "one of them", "draw from them")
        at = place if ring is None else np.searchsorted(ring, place)
        length = self.length.values if ring is None else self.length.values[ring]
        step = first[:, None] + np.arange(count)
        which = np.broadcast_to(at[:, None], step.shape).copy()
        # From episode to episode, as far as windows reach: a sum over all episodes would cost more with each of them.
        while (over := step > length[which]).any():
            step[over] -= length[which[over]] + 1
            which[over] = (which[over] + 1) % len(length)
        return which if ring is None else ring[which], step
