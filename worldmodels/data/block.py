"""What N worlds lived through in the same T steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

from worldmodels.core.experience import Episode
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.journal import placed
from worldmodels.data.table import Pieces

Source = Mapping[str, str | int | float]


class Buffer:
    """Room for `piece` steps of N worlds, lane after lane: (N, piece + 1, ...) per array.

    A lane's row holds an observation and what was done on seeing it; the last one holds an observation and zeros. The
    views of single moments are made once, because making one costs as much as filling it.
    """

    def __init__(self, spec: EnvSpec, extras: Mapping[str, ArraySpec], width: int, piece: int) -> None:
        flag = ArraySpec((), "bool")
        self.columns = {
            **{f"obs.{name}": array for name, array in spec.obs.items()},
            **{"action": spec.action, "reward": ArraySpec((), "float32"), "terminated": flag, "truncated": flag},
            **{f"extras.{name}": array for name, array in extras.items()},
        }
        # Not zeros, which would touch all pages: nothing is read that was not written.
        self.arrays = {name: np.empty((width, piece + 1, *x.shape), x.dtype) for name, x in self.columns.items()}
        moments = {name: [array[:, t] for t in range(piece + 1)] for name, array in self.arrays.items()}
        self.action, self.reward = moments["action"], moments["reward"]
        self.terminated, self.truncated = moments["terminated"], moments["truncated"]
        self.obs = [(name, moments[f"obs.{name}"]) for name in spec.obs]
        self.extras = [(name, moments[f"extras.{name}"]) for name in extras]


@dataclass(frozen=True)
class Standing:
    """Where N lanes stand: the number of the running episode, its steps and its return so far; `next` is free."""

    number: Int64[np.ndarray, " N"]
    steps: Int64[np.ndarray, " N"]
    total: Float64[np.ndarray, " N"]
    next: int


class Block:
    """T steps of N worlds, and the observations in which episodes ended in them.

    `arrays` are (N, T + 1, ...) as a `Buffer` has them; where an episode ended, its lane goes on with the next one's
    first observation, and `finals` (E, ...) have the true final ones, in the order of their time and then their lane.
    """

    def __init__(
        self, buffer: Buffer, steps: int, finals: Mapping[str, np.ndarray], before: Standing, source: Source
    ) -> None:
        self.buffer, self.steps, self.finals, self.before, self.source = buffer, steps, finals, before, source
        self.arrays = {name: array[:, : steps + 1] for name, array in buffer.arrays.items()}
        self.width, self.columns = len(before.number), buffer.columns

    def __len__(self) -> int:
        """Env steps."""
        return self.width * self.steps

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def table(self) -> Pieces:
        """The pieces of episodes, lane after lane; rows count from the block's first one, finals come after lanes."""
        return self._table

    @cached_property
    def _table(self) -> Pieces:
        over = self._over
        stop = over.copy()
        stop[:, -1] = True
        lane, end = np.nonzero(stop)
        opens, before_end = np.ones(len(lane), bool), np.zeros_like(end)
        opens[1:], before_end[1:] = lane[1:] != lane[:-1], end[:-1]
        begin = np.where(opens, 0, before_end + 1)
        length, ended = end + 1 - begin, over[lane, end]
        row, last = placed(length, ended, self.steps)
        rank, past = self._rank, self.before
        reward = self.arrays["reward"][:, :-1].astype(np.float64).reshape(-1)
        return Pieces(
            number=np.where(opens, past.number[lane], past.next + rank[lane, before_end]),
            start=np.where(opens, past.steps[lane], 0),
            length=length,
            row=row,
            last=last,
            terminated=self.arrays["terminated"][lane, end],
            truncated=self.arrays["truncated"][lane, end],
            return_=np.add.reduceat(reward, row - lane) + np.where(opens, past.total[lane], 0),
        )

    @property
    def lane(self) -> int:
        """Steps in a lane."""
        return self.steps

    @cached_property
    def after(self) -> Standing:
        """Where the lanes stand at the block's end."""
        table = self.table
        over = self._over[:, -1]
        tail = np.searchsorted(table.row, np.arange(1, self.width + 1) * (self.steps + 1)) - 1  # each lane's last piece
        new = self.before.next + self._rank[:, -1]
        return Standing(
            number=np.where(over, new, table.number[tail]),
            steps=np.where(over, 0, table.start[tail] + table.length[tail]),
            total=np.where(over, 0.0, table.return_[tail]),
            next=self.before.next + int(np.count_nonzero(self._over)),
        )

    @cached_property
    def finished(self) -> list[tuple[int, float, int]]:
        """Lane, return and length of each episode that ended, in the order of their ends."""
        table = self.table
        ended = np.flatnonzero(table.ended)[np.argsort(self._ranks)]
        lane = table.row[ended] // (self.steps + 1)
        columns = (lane, table.return_[ended], table.start[ended] + table.length[ended])
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def lanes(self) -> list[list[Episode]]:
        """The pieces of each lane, with arrays of their own."""
        lanes: list[list[Episode]] = [[] for _ in range(self.width)]
        columns = vars(self.table).values()
        for number, start, length, row, last, terminated, truncated, _ in zip(
            *(c.tolist() for c in columns), strict=True
        ):
            lane, begin = divmod(row, self.steps + 1)
            given = {
                k: array[lane, begin : begin + length].copy() for k, array in self.arrays.items() if "obs." not in k
            }
            lanes[lane].append(
                Episode(
                    {name: self._seen(name, lane, (begin, length, last)) for name, _ in self.buffer.obs},
                    given["action"],
                    given["reward"],
                    terminated,
                    truncated,
                    {name: given[f"extras.{name}"] for name, _ in self.buffer.extras},
                    self.source,
                    number,
                    start,
                )
            )
        return lanes

    def pieces(self) -> list[Episode]:
        """All pieces, lane after lane, with arrays of their own."""
        return [piece for lane in self.lanes() for piece in lane]

    def parts(self, name: str) -> list[np.ndarray]:
        """An array's rows as a store keeps them, (n, ...) behind one another: all lanes, then the final moments."""
        array = self.arrays[name]
        return [array.reshape(-1, *array.shape[2:]), self._final(name)]

    def chunks(self, name: str) -> list[np.ndarray]:
        """The same rows in parts of which a window touches few."""
        return [*self.arrays[name], self._final(name)]

    def _final(self, name: str) -> np.ndarray:
        """Nothing was done on seeing a final observation."""
        if name.startswith("obs."):
            return self._finals[name.removeprefix("obs.")]
        return self.columns[name].zeros(self.after.next - self.before.next)

    def _seen(self, name: str, lane: int, span: tuple[int, int, int]) -> np.ndarray:
        begin, length, last = span
        frames, final = self.arrays[f"obs.{name}"][lane, begin : begin + length + 1].copy(), self._finals[name]
        if last >= self.width * (self.steps + 1):
            frames[-1] = final[last - self.width * (self.steps + 1)]
        return frames

    @cached_property
    def _over(self) -> np.ndarray:
        return self.arrays["terminated"][:, :-1] | self.arrays["truncated"][:, :-1]

    @cached_property
    def _rank(self) -> np.ndarray:
        """(N, T): how many episodes ended up to this moment in time and then lane, less one."""
        return np.cumsum(self._over.T).reshape(self.steps, self.width).T - 1

    @cached_property
    def _ranks(self) -> np.ndarray:
        """(E,): for each piece that ended its episode, how many episodes ended before."""
        return self._rank[self._over]

    @cached_property
    def _finals(self) -> dict[str, np.ndarray]:
        """(E, ...) in the order of the pieces."""
        return {name: frames[self._ranks] for name, frames in self.finals.items()}
