"""Which windows to learn from: every step that can begin one is a candidate, however long its episode or piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from worldmodels.core.errors import ConfigError, StoreError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Count, Positive, Rate
from worldmodels.core.rng import Rng
from worldmodels.data.online import Online
from worldmodels.data.store import EpisodeStore
from worldmodels.data.table import Table
from worldmodels.data.weights import Weights

TRIES = 8  # rounds of draws before starts are counted one by one


class Runs(NamedTuple):
    """Consecutive steps of one episode that may begin a window."""

    place: Int64[np.ndarray, " n"]
    first: Int64[np.ndarray, " n"]
    spans: Int64[np.ndarray, " n"]


@dataclass
class Uniform:
    """`batch` windows of `length` steps, each possible start as likely as any other.

    By default a window lies whole inside an episode. `pad` lets it begin at any step, and masks what would come after
    the episode's end; `cross` also lets it begin anywhere, and goes on in the next episode: of a mixture in the next
    one of the same world, unless `mix` lets worlds meet. `among` are the numbers of the episodes to draw from, by
    default all. `balance` draws the world of a mixture first, each equally likely, and then a start in it. `capacity`
    keeps to starts among the last so many steps that were recorded, in whichever episodes: a buffer of that size.
    `online` serves what was lived last once, before anything is drawn; see `data.online`.
    """

    length: Count
    batch: Count
    cross: bool = False
    pad: bool = False
    among: Int64[np.ndarray, " n"] | None = None
    mix: bool = False
    balance: bool = False
    capacity: Count | None = None
    online: bool = False
    newest: Online = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.newest = Online(self.length)
        if self.online and self.among is not None:
            raise ConfigError("online=true for some of the episodes", "all of them", "set data.sampler.online=false")
        if self.length < 1 or self.batch < 1:
            found = f"length={self.length}, batch={self.batch}"
            raise ConfigError(found, "windows of at least one step, and one at a time", "raise them")

    def over(self, numbers: Int64[np.ndarray, " n"]) -> Uniform:
        """The same for these episodes alone, such as one side of `store.split`."""
        return replace(self, among=numbers)

    def sample(self, store: EpisodeStore, rng: Rng) -> Batch:
        """StoreError if no window fits, or if it is longer than all that there is to draw from."""
        return self._windows(store, self.keys(store, rng))

    def keys(self, store: EpisodeStore, rng: Rng) -> Int64[np.ndarray, "B 2"]:
        """Where windows are to begin: episode number and step. Errors as for `sample`."""
        drawn = self._drawn(store, rng)
        if not self.online:
            return drawn
        served = self.newest.take(store.index.table, self.batch)
        return np.concatenate([served, drawn[len(served) :]])

    def _drawn(self, store: EpisodeStore, rng: Rng) -> Int64[np.ndarray, "B 2"]:
        latest = self._latest(store.index.table, rng)
        if latest is not None:
            return latest
        runs = self._runs(store)
        ends = np.cumsum(runs.spans)
        self._demand(store, int(ends[-1]) if len(ends) else 0)
        labels = store.labels() if self.balance else None
        if labels is None:
            drawn = rng.numpy.integers(ends[-1], size=self.batch)
        else:
            runs, low, high = _by_label(runs, labels)
            ends = np.cumsum(runs.spans)
            world = rng.numpy.integers(len(low), size=self.batch)
            drawn = rng.numpy.integers(low[world], high[world])
        run = np.searchsorted(ends, drawn, side="right")
        first = runs.first[run] + drawn - (ends - runs.spans)[run]
        return np.stack([store.index.table.number.values[runs.place[run]], first], 1)

    def rows(self, store: EpisodeStore, key: Int64[Tensor, "B 2"]) -> Int64[np.ndarray, "B moments"]:
        """Where the observations of windows lie in the store."""
        moments = store.moments(key.numpy(), self.length, cross=self.cross, mix=self.mix, among=self.among)
        return store.index.table.rows(*moments)

    def update(self, key: Int64[Tensor, "B 2"], priority: Float[Tensor, " B"]) -> None:
        """Uniform draws do not care."""

    def snapshot(self) -> dict[str, Any]:
        return self.newest.snapshot() if self.online else {}

    def restore(self, state: dict[str, Any]) -> None:
        if self.online:
            self.newest.restore(state)

    def _windows(self, store: EpisodeStore, keys: Int64[np.ndarray, "B 2"]) -> Batch:
        return store.windows(keys, self.length, cross=self.cross, mix=self.mix, among=self.among)

    @property
    def _needed(self) -> int:
        """Steps from a start to its episode's end."""
        return 1 if self.cross or self.pad else self.length

    def _latest(self, table: Table, rng: Rng) -> Int64[np.ndarray, "B 2"] | None:
        """Starts within `capacity`, drawn until they fit, at a cost that does not grow with the store.

        None where there is no capacity, or too few starts to be found so.
        """
        begin = self._begin(table)
        if self.capacity is None or self.balance or self.among is not None or table.steps - begin < self.length:
            return None
        keys = np.zeros((0, 2), np.int64)
        for _ in range(TRIES):
            place, step = table.recording(rng.numpy.integers(begin, table.steps, size=self.batch))
            fits = step + self._needed <= table.length.values[place]
            keys = np.concatenate([keys, np.stack([table.number.values[place[fits]], step[fits]], 1)])
            if len(keys) >= self.batch:
                return keys[: self.batch]
        return None

    def _begin(self, table: Table) -> int:
        """How many of the recorded steps came too early to be a start."""
        return 0 if self.capacity is None else max(table.steps - self.capacity, 0)

    def _runs(self, store: EpisodeStore) -> Runs:
        table = store.index.table
        if self.capacity is not None:
            return self._recent(table, self._begin(table))
        place = np.arange(len(table)) if self.among is None else table.places(self.among)
        count = np.maximum(table.length.values[place] - self._needed + 1, 0)
        return Runs(place, np.zeros_like(place), count)

    def _recent(self, table: Table, begin: int) -> Runs:
        first = max(int(np.searchsorted(table.arrived.before.values, begin, side="right")) - 1, 0)
        place, start, length, _, before = (column.values[first:] for column in table.arrived)
        if self.among is not None:
            kept = np.isin(place, table.places(self.among))
            place, start, length, before = place[kept], start[kept], length[kept], before[kept]
        last = np.minimum(start + length, table.length.values[place] - self._needed + 1)
        start = start + np.maximum(begin - before, 0)
        return Runs(place, start, np.maximum(last - start, 0))

    def _demand(self, store: EpisodeStore, starts: int) -> None:
        """Of windows that cross or are padded, a wrong length would ask for more memory than there is."""
        if starts >= self.length:
            return
        lengths = store.index.table.length.values
        if self.among is not None:
            lengths = lengths[store.index.table.places(self.among)]
        if not starts:
            raise self._nothing(store, lengths)
        if lengths.sum() < self.length:
            raise StoreError(
                f"windows of {self.length} steps from {store.folder}, which holds {lengths.sum()} to draw from",
                "windows no longer than that",
                f"set data.sampler.length={lengths.sum()} or less, or record more first",
            )

    def _nothing(self, store: EpisodeStore, lengths: Int64[np.ndarray, " n"]) -> StoreError:
        where = f"{store.folder}, of which {len(lengths)} episodes are to be used,"
        if not len(lengths):
            do = "record more first; where the run itself lives the experience, raise data.warmup"
            return StoreError(f"{where} has nothing to draw from", "at least one episode", do)
        return StoreError(
            f"{where} has no window of {self.length} steps; the longest episode has {lengths.max()}",
            f"an episode of at least {self.length} steps",
            f"set data.sampler.length={lengths.max()} or less, data.sampler.pad=true or data.sampler.cross=true",
        )


def _by_label(
    runs: Runs, labels: Int64[np.ndarray, " N"]
) -> tuple[Runs, Int64[np.ndarray, " L"], Int64[np.ndarray, " L"]]:
    """The runs that hold a start, label after label; and of each label its first start and the one after its last."""
    held = np.flatnonzero(runs.spans)
    order = held[np.argsort(labels[runs.place[held]], kind="stable")]
    runs = Runs(*(column[order] for column in runs))
    _, opens = np.unique(labels[runs.place], return_index=True)
    begins = np.cumsum(runs.spans) - runs.spans
    low = begins[opens]
    return runs, low, np.append(low[1:], runs.spans.sum())


@dataclass
class Prioritised(Uniform):
    """Windows drawn in proportion to priority ** alpha. Schaul et al. (2016), sec. 3.3, proportional variant.

    New ones get the greatest priority seen so far, until they are told another (see `fresh`). `weight` of the batch is
    (N p) ** -beta, divided by its greatest in the batch (the paper: in the memory), so that updates are only ever
    scaled down.
    """

    alpha: Rate = 0.6
    beta: Rate = 0.4
    epsilon: Positive = 1e-6  # added to priorities, so that no window is lost for good
    weights: Weights = field(default_factory=Weights, init=False, repr=False)
    greatest: float = field(default=1.0, init=False)
    seen: int = field(default=0, init=False)  # pieces taken in
    candidates: int = field(default=0, init=False)
    table: Table = field(default_factory=Table, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.balance or self.online or self.capacity is not None:
            found, usual = (f"capacity={self.capacity}", "null")
            if self.balance or self.online:
                found, usual = ("balance=true" if self.balance else "online=true", "false")
            do = f"set data.sampler.{found.partition('=')[0]}={usual}"
            raise ConfigError(f"{found} with Prioritised", "draws by priority alone", do)

    def fresh(self, store: EpisodeStore) -> Iterator[Batch]:
        """The windows that became possible, or longer, since the last call or draw; up to `batch` of them at a time."""
        place, start, end = self._arrived(store.index.table)
        grown, step = _each(np.maximum(start - self.length + 1, 0), end)
        keys = np.stack([store.index.table.number.values[place[grown]], step], 1)
        keys = np.unique(keys, axis=0)  # an episode may have grown several times
        self._take_in(store)
        for begin in range(0, len(keys), self.batch):
            yield self._windows(store, keys[begin : begin + self.batch])

    def sample(self, store: EpisodeStore, rng: Rng) -> Batch:
        self._take_in(store)
        self._demand(store, self.candidates)
        row = self.weights.draw(self.batch, rng.numpy)
        arrived = self.table.arrived
        piece = np.searchsorted(arrived.row.values, row, side="right") - 1
        first = arrived.start.values[piece] + row - arrived.row.values[piece]
        key = np.stack([self.table.number.values[arrived.place.values[piece]], first], 1)
        share = self.weights.get(row) / self.weights.sums.sum()
        weight = (self.candidates * share) ** -self.beta
        weight = torch.from_numpy((weight / weight.max()).astype(np.float32))
        return replace(self._windows(store, key), weight=weight)

    def update(self, key: Int64[Tensor, "B 2"], priority: Float[Tensor, " B"]) -> None:
        """How surprising the windows of the last batch were; they are told by their key."""
        keys = key.numpy()
        row = self.table.rows(self.table.places(keys[:, 0]), keys[:, 1])
        value = np.abs(priority.detach().cpu().numpy().astype(np.float64)) + self.epsilon
        self.greatest = max(self.greatest, float(value.max()))
        self.weights.put(row, value**self.alpha)

    def snapshot(self) -> dict[str, Any]:
        return {
            "greatest": self.greatest,
            "seen": self.seen,
            "candidates": self.candidates,
            "weights": torch.from_numpy(self.weights.blocks.copy()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.greatest, self.seen, self.candidates = state["greatest"], state["seen"], state["candidates"]
        self.weights = Weights()
        self.weights.blocks = state["weights"].numpy().copy()
        self.weights.sums = self.weights.blocks.sum(1)

    def _arrived(self, table: Table) -> tuple[Int64[np.ndarray, " n"], ...]:
        """Of each new piece: the place of its episode, its first step, and the step after its last possible start."""
        place, start, length = (column.values[self.seen :] for column in table.arrived[:3])
        if self.among is not None:
            wanted = np.isin(place, table.places(self.among))
            place, start, length = place[wanted], start[wanted], length[wanted]
        return place, start, start + length - self._needed + 1

    def _take_in(self, store: EpisodeStore) -> None:
        """Give every start that became possible since the last call the greatest priority."""
        self.table = table = store.index.table
        place, start, end = self._arrived(table)
        self.seen = table.arrived.row.size
        new, step = _each(np.maximum(start - self._needed + 1, 0), end)
        if len(step):
            self.candidates += len(step)
            self.weights.put(table.rows(place[new], step), self.greatest**self.alpha)


def _each(
    first: Int64[np.ndarray, " n"], end: Int64[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """All numbers from each first up to before its end, and before them the index of theirs."""
    count = np.maximum(end - first, 0)
    number = np.arange(count.sum()) + np.repeat(first - (np.cumsum(count) - count), count)
    return np.repeat(np.arange(len(count)), count), number
