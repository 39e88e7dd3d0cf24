"""Worlds around worlds."""

from __future__ import annotations

from typing import Any

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Obs
from worldmodels.core.protocols import World


class TimeLimit:
    """A world whose episodes are cut off (truncated) after `limit` steps. Meets `core.protocols.World`.

    An episode that ends by itself at its last allowed step is terminated, not truncated.
    """

    def __init__(self, world: World, limit: int) -> None:
        self.world, self.limit = world, limit
        self.spec, self.resumable = world.spec, world.resumable
        self._steps = 0

    def reset(self, seed: int | None = None) -> Obs:
        self._steps = 0
        return self.world.reset(seed)

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, Obs]:
        obs, reward, terminated, truncated, extras = self.world.step(action)
        self._steps += 1
        if self._steps >= self.limit and not terminated:
            truncated = True
        return obs, reward, terminated, truncated, extras

    def snapshot(self) -> dict[str, Any]:
        return {"steps": self._steps, "world": self.world.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        self._steps = state["steps"]
        self.world.restore(state["world"])

    def close(self) -> None:
        self.world.close()


def limited(world: World, limit: int | None) -> World:
    """The world with a time limit, or as it is if there is none."""
    return world if limit is None else TimeLimit(world, limit)


def check_limit(limit: int | None) -> None:
    """ConfigError unless the number of steps can be a time limit."""
    if limit is not None and limit < 1:
        raise ConfigError(
            f"time_limit={limit}", "at least 1 step, or null for no limit", "choose another env.time_limit"
        )
