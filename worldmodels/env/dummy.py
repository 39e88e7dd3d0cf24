"""Three tiny worlds whose best return is known: to test learners, clocks and recorders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Obs
from worldmodels.core.protocols import World
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.env.recipe import Recipe
from worldmodels.env.wrappers import check_limit, limited

SIZES = {"corridor": 8, "bandit": 2, "dot": 8}
STEP_COST = 0.05


@dataclass(frozen=True)
class Dummy(Recipe):
    """One of three worlds.

    corridor: walk from the left end to the right end. Observes its place as a vector of one number in [-1, 1]; each
        step costs 0.05 but the last, which earns 1. Terminates at the goal. `continuous`: one number says how far to
        go, at most one cell.
    bandit: the first observation shows one of `size` cues; `delay` blank steps later a flag asks for it. The answer
        earns 1 if right, 0 if wrong, and terminates. Nothing else earns anything, so only memory beats 1 / size.
    dot: a dot moves through a `size` x `size` picture, one cell a step along both axes, and bounces. Naming the column
        where it is (not where it arrives: reward[t] is 1 if action[t] is its column in obs[t], else 0) earns 1. As
        the column changes at every step, a reward or action shifted in time shows at once. Never terminates.

    size: cells of the corridor (8), cues of the bandit (2), or columns of the dot's picture (8).
    zoom: pixels per cell of the dot's picture, (size * zoom, size * zoom, 3) uint8; 0 for planes (size, size, 1).
    """

    game: str = "corridor"
    size: int | None = None
    delay: int = 4
    zoom: int = 1
    continuous: bool = False
    time_limit: int | None = 32

    def __post_init__(self) -> None:
        if self.game not in SIZES:
            raise ConfigError(f"game={self.game!r}", f"one of {', '.join(SIZES)}", "choose a dummy world")
        if self.cells < 2:
            raise ConfigError(f"size={self.size}", "at least 2, or null for the default", "choose another env.size")
        if self.delay < 0 or self.zoom < 0:
            raise ConfigError(f"delay={self.delay}, zoom={self.zoom}", "0 or more each", "choose others")
        if self.continuous and self.game != "corridor":
            raise ConfigError(f"continuous actions in {self.game}", "the corridor", "set env.continuous=false")
        if self.game == "dot" and self.time_limit is None:
            raise ConfigError(
                "the dot without time_limit", "a number of steps", "set env.time_limit: it never terminates"
            )
        check_limit(self.time_limit)

    @property
    def cells(self) -> int:
        return SIZES[self.game] if self.size is None else self.size

    @property
    def optimal_return(self) -> float:
        """Undiscounted return of the best policy, if the time limit leaves room for it."""
        if self.game == "corridor":
            return 1.0 - STEP_COST * (self.cells - 2)
        return 1.0 if self.game == "bandit" else float(self.time_limit or 0)

    def world(self) -> World:
        kind = {"corridor": _Corridor, "bandit": _Bandit, "dot": _Dot}[self.game]
        return limited(kind(self), self.time_limit)


class _Tiny(ABC):
    """What the three share: randomness, and a state that is all in plain attributes."""

    resumable = True
    spec: EnvSpec

    def __init__(self, recipe: Dummy) -> None:
        self._recipe, self._cells = recipe, recipe.cells
        self._state: dict[str, Any] = {}
        self._rng = np.random.default_rng()

    def reset(self, seed: int | None = None) -> Obs:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._state = self._first()
        return self._obs()

    @abstractmethod
    def _first(self) -> dict[str, Any]: ...

    @abstractmethod
    def _obs(self) -> Obs: ...

    def snapshot(self) -> dict[str, Any]:
        return {"state": freeze(self._state), "rng": freeze(self._rng)}

    def restore(self, state: dict[str, Any]) -> None:
        self._state, self._rng = thaw(state["state"]), thaw(state["rng"])

    def close(self) -> None:
        return  # nothing is held


class _Corridor(_Tiny):
    def __init__(self, recipe: Dummy) -> None:
        super().__init__(recipe)
        size, names = (1, ()) if recipe.continuous else (2, ("left", "right"))
        obs = {"vector": ArraySpec((1,), "float32")}
        self.spec = EnvSpec("dummy/corridor", obs, size, discrete=not recipe.continuous, action_names=names)

    def _first(self) -> dict[str, Any]:
        return {"place": 0.0}

    def _obs(self) -> Obs:
        return {"vector": np.array([2 * self._state["place"] / (self._cells - 1) - 1], np.float32)}

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, Obs]:
        move = min(max(float(action[0]), -1.0), 1.0) if self._recipe.continuous else (-1.0, 1.0)[action]
        self._state["place"] = min(max(self._state["place"] + move, 0.0), self._cells - 1.0)
        there = self._state["place"] == self._cells - 1
        return self._obs(), 1.0 if there else -STEP_COST, there, False, {}


class _Bandit(_Tiny):
    def __init__(self, recipe: Dummy) -> None:
        super().__init__(recipe)
        # One number per cue, and the flag that asks.
        self.spec = EnvSpec("dummy/bandit", {"vector": ArraySpec((self._cells + 1,), "float32")}, self._cells)

    def _first(self) -> dict[str, Any]:
        return {"cue": int(self._rng.integers(self._cells)), "time": 0}

    def _obs(self) -> Obs:
        vector = np.zeros(self._cells + 1, np.float32)
        if self._state["time"] == 0:
            vector[self._state["cue"]] = 1
        vector[-1] = self._state["time"] == self._recipe.delay + 1
        return {"vector": vector}

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, Obs]:
        asked = self._state["time"] == self._recipe.delay + 1
        self._state["time"] += 1
        return self._obs(), float(asked and action == self._state["cue"]), asked, False, {}


class _Dot(_Tiny):
    def __init__(self, recipe: Dummy) -> None:
        super().__init__(recipe)
        side = self._cells * max(recipe.zoom, 1)
        picture = ArraySpec((side, side, 3), "uint8", "image")
        planes = ArraySpec((side, side, 1), "bool", "planes")
        self.spec = EnvSpec("dummy/dot", {"image": picture} if recipe.zoom else {"grid": planes}, self._cells)

    def _first(self) -> dict[str, Any]:
        row, column = self._rng.integers(self._cells, size=2).tolist()
        down, right = self._rng.choice([-1, 1], size=2).tolist()
        return {"row": row, "column": column, "down": down, "right": right}

    def _obs(self) -> Obs:
        zoom, row, column = self._recipe.zoom, self._state["row"], self._state["column"]
        if zoom == 0:
            grid = np.zeros((self._cells, self._cells, 1), bool)
            grid[row, column] = True
            return {"grid": grid}
        image = np.zeros((self._cells * zoom, self._cells * zoom, 3), np.uint8)
        image[row * zoom : (row + 1) * zoom, column * zoom : (column + 1) * zoom] = 255
        return {"image": image}

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, Obs]:
        reward = float(action == self._state["column"])
        self._move("row", "down")
        self._move("column", "right")
        return self._obs(), reward, False, False, {}

    def _move(self, place: str, way: str) -> None:
        if not 0 <= self._state[place] + self._state[way] < self._cells:
            self._state[way] = -self._state[way]
        self._state[place] += self._state[way]
