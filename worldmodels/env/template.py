"""A world of your own, to copy and change: `worldmodels check-env --template` prints this file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Obs
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.env.recipe import Recipe


@dataclass(frozen=True)
class Mine(Recipe):
    """The options of the world: each becomes a key of its YAML."""

    cells: int = 8
    time_limit: int = 50

    def __post_init__(self) -> None:
        if self.cells < 2:
            raise ConfigError(f"cells={self.cells}", "2 or more", "set env.cells=8")

    def world(self) -> MyWorld:
        return MyWorld(self)


class MyWorld:
    """Walk to the treasure, which lies in another cell in each episode."""

    resumable = True  # False if the world can not save itself: then leave out snapshot and restore

    def __init__(self, recipe: Mine) -> None:
        self.cells, self.time_limit = recipe.cells, recipe.time_limit
        self.spec = EnvSpec(
            name="mine",
            obs={"vector": ArraySpec((2 * self.cells,), "float32")},
            action_size=2,
            action_names=("left", "right"),
        )
        self.rng = np.random.default_rng()
        self.place, self.treasure, self.steps = 0, 0, 0

    def reset(self, seed: int | None = None) -> Obs:
        if seed is not None:  # without a seed, the randomness goes on
            self.rng = np.random.default_rng(seed)
        self.place, self.steps = 0, 0
        self.treasure = int(self.rng.integers(1, self.cells))
        return self.see()

    def step(self, action: int) -> tuple[Obs, float, bool, bool, Obs]:
        """Observation on arrival, reward, terminated (the world ended it), truncated (a clock did), extras."""
        self.place = min(max(self.place + (1 if action == 1 else -1), 0), self.cells - 1)
        self.steps += 1
        found = self.place == self.treasure
        return self.see(), float(found), found, not found and self.steps >= self.time_limit, {}

    def see(self) -> Obs:
        vector = self.spec.obs["vector"].zeros()
        vector[self.place] = vector[self.cells + self.treasure] = 1.0
        return {"vector": vector}

    def snapshot(self) -> dict[str, Any]:
        return {"state": freeze((self.rng, self.place, self.treasure, self.steps))}

    def restore(self, state: dict[str, Any]) -> None:
        self.rng, self.place, self.treasure, self.steps = thaw(state["state"])

    def close(self) -> None:
        """Nothing to close."""
