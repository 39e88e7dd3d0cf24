"""Windows that follow one another, so that what was believed at the end of one is where the next begins."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int64

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Count
from worldmodels.core.rng import Rng
from worldmodels.data.sampler import Uniform
from worldmodels.data.store import EpisodeStore


def demand_reads_on(length: int, interval: int | None, options: str) -> None:
    """ConfigError if every row would jump after every window, so that none goes on from what was believed."""
    if interval is not None and interval <= length:
        raise ConfigError(
            f"reset_interval={interval} with windows of {length} steps: every row would jump after each",
            f"more steps than a window has, such as {4 * length}, or null for rows that never jump",
            f"raise {options}.reset_interval, or set shorter windows with {options}.length",
        )


@dataclass
class Consecutive(Uniform):
    """Each of `batch` rows reads on: the last observation of its window is the first of its next one.

    A row jumps to a start drawn as `Uniform` draws it where it can not read on, which with `cross` is nowhere, and now
    and then, every `reset_interval` steps on average, so that rows do not stay where they are; null is never. `known`
    of the batch says which rows read on. pydreamer carries beliefs so, and resets them at random without a jump.
    """

    carries: ClassVar[bool] = True
    reset_interval: Count | None = 200
    cursor: Int64[np.ndarray, "B 2"] | None = field(default=None, init=False, repr=False)  # where rows read on

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pad:  # or a row would go on from what was believed after nothing
            found = "data.sampler.pad=true with rows that read on"
            raise ConfigError(found, "whole windows, or such that cross an end", "set data.sampler.cross=true")
        demand_reads_on(self.length, self.reset_interval, "data.sampler")

    def sample(self, store: EpisodeStore, rng: Rng) -> Batch:
        keys = self.keys(store, rng)
        stays = rng.numpy.random(self.batch) * (self.reset_interval or np.inf) >= self.length
        known = np.zeros(self.batch, bool)
        if self.cursor is not None:
            self._step_over_ends(store, self.cursor)
            known = stays & self._fits(store, self.cursor)
            keys = np.where(known[:, None], self.cursor, keys)
        where: dict[str, Any] = {"cross": self.cross, "mix": self.mix, "among": self.among}
        places, steps = store.moments(keys, self.length, **where)
        self.cursor = np.stack([store.index.table.number.values[places[:, -1]], steps[:, -1]], 1)
        return replace(store.windows(keys, self.length, **where), known=torch.from_numpy(known))

    def snapshot(self) -> dict[str, Any]:
        return {"cursor": None if self.cursor is None else self.cursor.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        self.cursor = None if state["cursor"] is None else np.array(state["cursor"], np.int64)

    def _step_over_ends(self, store: EpisodeStore, cursor: Int64[np.ndarray, "B 2"]) -> None:
        """From a final observation, where no step begins, go on to the next episode's first one."""
        table = store.index.table
        length = table.length.values[table.places(cursor[:, 0])]
        over = cursor[:, 1] == length
        if self.cross and over.any():
            last = np.stack([cursor[over, 0], length[over] - 1], 1)
            places, steps = store.moments(last, 2, cross=True, mix=self.mix, among=self.among)
            cursor[over] = np.stack([table.number.values[places[:, -1]], steps[:, -1]], 1)

    def _fits(self, store: EpisodeStore, cursor: Int64[np.ndarray, "B 2"]) -> Bool[np.ndarray, " B"]:
        """Whether a window may begin there."""
        table = store.index.table
        place, step = table.places(cursor[:, 0]), cursor[:, 1]
        length = table.length.values[place]
        recent = table.recorded(place, np.minimum(step, length - 1)) >= self._begin(table)
        return recent & (step + self._needed <= length)
