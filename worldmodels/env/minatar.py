"""MinAtar: five small games on a 10 x 10 grid. Young & Tian (2019), arXiv:1903.03176."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np

from worldmodels.core.errors import ConfigError, MissingExtraError
from worldmodels.core.experience import Obs
from worldmodels.core.protocols import World
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.env.planes import GAMES, PADDED, Unify, shape_of, shower
from worldmodels.env.recipe import Recipe
from worldmodels.env.wrappers import check_limit, limited

ACTIONS = ("noop", "left", "up", "right", "down", "fire")


@dataclass(frozen=True)
class MinAtar(Recipe):
    """One of the five games, seen as (10, 10, C) planes; C depends on the game, unless `unify` makes them alike.

    game: asterix, breakout, freeway, seaquest or space_invaders.
    sticky: probability that the game repeats the last action instead of taking the new one.
    ramping: the game becomes harder as it goes on (asterix, seaquest, space_invaders).
    actions: `minimal` offers those that do something in this game, `full` all six in all games.
    time_limit: steps after which an episode is truncated; without one, perfect play never ends.
    unify: none, pad, categorical or semantic; see `env.planes.shower`.
    game_id: observe also which of the five games it is, one-hot, as `game`.
    views: [planes] shows policies the padded planes, too, whatever is observed and stored.
    """

    UNIFYING: ClassVar = {"observations": {"unify": "pad"}, "actions": {"actions": "full"}}

    game: str = "breakout"
    sticky: float = 0.1
    ramping: bool = True
    actions: str = "minimal"
    time_limit: int | None = 27_000
    unify: Unify = "none"
    game_id: bool = False
    views: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", tuple(self.views))
        if self.game not in GAMES:
            raise ConfigError(f"game={self.game!r}", f"one of {', '.join(GAMES)}", "choose a MinAtar game")
        if self.actions not in ("minimal", "full"):
            raise ConfigError(f"actions={self.actions!r}", "minimal or full", "choose an action set")
        if not 0 <= self.sticky <= 1:
            raise ConfigError(f"sticky={self.sticky}", "a probability in [0, 1]", "choose another env.sticky")
        if self.unify not in get_args(Unify):
            raise ConfigError(f"unify={self.unify!r}", f"one of {', '.join(get_args(Unify))}", "choose one of them")
        if not set(self.views) <= {"planes"}:
            raise ConfigError(f"views={list(self.views)}", "[] or [planes]", "choose one of them")
        check_limit(self.time_limit)

    def world(self) -> World:
        return limited(_Game(self), self.time_limit)


class _Game:
    """A running game. The sticky action is forgotten at reset, whereas in the original it outlives the episode.

    Otherwise the same seed and actions give the same episode as MinAtar's own `Environment`.
    """

    resumable = True

    def __init__(self, recipe: MinAtar) -> None:
        self._game: Any = _engine(recipe.game).Env(ramping=recipe.ramping)
        self._random: np.random.RandomState = self._game.random
        self._sticky, self._last = recipe.sticky, 0
        # Which of the six actions each of ours is.
        self._moves = self._game.minimal_action_set() if recipe.actions == "minimal" else list(range(len(ACTIONS)))
        self._show, self._pad = shower(recipe.unify, recipe.game), shower("pad", recipe.game)
        self._fixed: dict[str, np.ndarray] = {}  # what is observed at every step alike
        if recipe.game_id:
            self._fixed["game"] = np.eye(len(GAMES), dtype=np.float32)[GAMES.index(recipe.game)]
        self.spec = EnvSpec(
            name=f"minatar/{recipe.game}",
            obs={
                "grid": shape_of(recipe.unify, recipe.game),
                **{name: ArraySpec(array.shape, "float32") for name, array in self._fixed.items()},
            },
            action_size=len(self._moves),
            action_names=tuple(ACTIONS[move] for move in self._moves),
            views=dict.fromkeys(recipe.views, PADDED),
        )

    def reset(self, seed: int | None = None) -> Obs:
        if seed is not None:
            self._random = self._game.random = np.random.RandomState(seed)
        self._last = 0
        self._game.reset()
        return self._see()

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, Obs]:
        if self._random.rand() >= self._sticky:
            self._last = self._moves[action]
        reward, terminated = self._game.act(self._last)
        return self._see(), float(reward), terminated, False, {}

    def _see(self) -> Obs:
        planes = self._game.state()
        obs = {"grid": self._show(planes), **self._fixed}
        if self.spec.views:
            obs["planes"] = self._pad(planes)
        return obs

    def snapshot(self) -> dict[str, Any]:
        return {"last": self._last, "game": freeze(vars(self._game))}

    def restore(self, state: dict[str, Any]) -> None:
        self._last = state["last"]
        vars(self._game).update(thaw(state["game"]))
        self._random = self._game.random

    def close(self) -> None:
        pass


@cache
def _engine(game: str) -> Any:
    """The game's module without its package, which would import matplotlib and seaborn: seconds in each process."""
    package = find_spec("minatar")
    if package is None or package.submodule_search_locations is None:
        raise MissingExtraError("minatar", "minatar")
    path = Path(package.submodule_search_locations[0], "environments", f"{game}.py")
    spec = spec_from_file_location(f"minatar.environments.{game}", path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
