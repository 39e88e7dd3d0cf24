"""Procgen: sixteen games with generated levels. Cobbe et al. (2020), arXiv:1912.01588."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np

from worldmodels.core.errors import ConfigError, MissingExtraError
from worldmodels.core.experience import Obs, Step
from worldmodels.core.protocols import World
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.env.recipe import Recipe, check_size
from worldmodels.env.vector import check_lanes, check_restore

# Steps after which the engine ends an episode; as found in the engine's own saved states.
TIMEOUTS = {
    "bigfish": 6000,
    "bossfight": 4000,
    "caveflyer": 1000,
    "chaser": 1000,
    "climber": 1000,
    "coinrun": 1000,
    "dodgeball": 1000,
    "fruitbot": 1000,
    "heist": 1000,
    "jumper": 1000,
    "leaper": 500,
    "maze": 500,
    "miner": 1000,
    "ninja": 1000,
    "plunder": 4000,
    "starpilot": 1000,
}
GAMES = tuple(TIMEOUTS)
# The engine aborts the whole process for any other pair of game and mode.
MODES = {
    "easy": GAMES,
    "hard": GAMES,
    "extreme": ("chaser", "dodgeball", "leaper", "starpilot"),
    "memory": ("caveflyer", "dodgeball", "heist", "jumper", "maze", "miner"),
    "exploration": ("caveflyer", "climber", "coinrun", "heist", "jumper", "leaper", "maze", "ninja"),
}
_MOVES = ("left_down", "left", "left_up", "down", "noop", "up", "right_down", "right", "right_up")
ACTIONS = (*_MOVES, "d", "a", "w", "s", "q", "e")
_FORCE_RESET = -1


@dataclass(frozen=True)
class Procgen(Recipe):
    """One of the sixteen games, seen as (64, 64, 3) uint8 pictures, in the engine's own vectorisation.

    game: its name.
    mode: easy, hard, extreme, memory or exploration (one hard level); not every game has the last three.
    levels: number of levels, 0 for all; start_level: the first of them.
    backgrounds, monochrome, restrict_themes, center_agent, paint_velocity: how it is drawn.

    Two things the engine does not tell. It draws the next episode's first frame in the step that ends an episode, so
    the true final frame is never seen: `arrived` then holds the frame before, the last one that was drawn. It does
    not say why an episode ended: one that ended at the engine's step limit, without its level being completed, counts
    as truncated, which is wrong only for a death in exactly that step.
    """

    game: str = "coinrun"
    mode: str = "easy"
    levels: int = 0
    start_level: int = 0
    backgrounds: bool = True
    monochrome: bool = False
    restrict_themes: bool = False
    center_agent: bool = True
    paint_velocity: bool = False

    def __post_init__(self) -> None:
        if self.game not in GAMES:
            raise ConfigError(f"game={self.game!r}", f"one of {', '.join(GAMES)}", "choose a Procgen game")
        if self.mode not in MODES:
            raise ConfigError(f"mode={self.mode!r}", f"one of {', '.join(MODES)}", "choose a mode")
        if self.game not in MODES[self.mode]:
            raise ConfigError(
                f"mode={self.mode!r} of {self.game}", f"one of {', '.join(MODES[self.mode])}", "choose another mode"
            )
        if self.levels < 0 or self.start_level < 0:
            raise ConfigError(
                f"levels={self.levels}, start_level={self.start_level}", "0 or more each", "choose other levels"
            )
        if self.mode == "exploration" and (self.levels or self.start_level):
            raise ConfigError("levels or start_level in exploration mode", "0 each", "the mode has one fixed level")

    def spec(self) -> EnvSpec:
        """`level_seed` is the level in which the step was taken; `prev_level_complete` can be true where it ended."""
        return EnvSpec(
            name=f"procgen/{self.game}-{self.mode}",
            obs={"image": ArraySpec((64, 64, 3), "uint8", "image")},
            action_size=len(ACTIONS),
            extras={"level_seed": ArraySpec((), "int32"), "prev_level_complete": ArraySpec((), "bool")},
            action_names=ACTIONS,
        )

    def world(self) -> World:
        return _ProcgenWorld(self)

    def make(self, width: int, workers: int = 0) -> ProcgenEnv:
        """`workers` are threads of the engine. They gained nothing where measured: 0 is best."""
        check_size(width, workers)
        return ProcgenEnv(self, width, threads=workers)

    def engine(self, width: int, seed: int = 0, threads: int = 0) -> Any:
        """The engine's own env of `width` games."""
        levels = {} if self.mode == "exploration" else {"num_levels": self.levels, "start_level": self.start_level}
        return _engine()(
            width,
            self.game,
            rand_seed=seed,
            num_threads=threads,
            distribution_mode=self.mode,
            use_backgrounds=self.backgrounds,
            use_monochrome_assets=self.monochrome,
            restrict_themes=self.restrict_themes,
            center_agent=self.center_agent,
            paint_vel_info=self.paint_velocity,
            **levels,
        )


class ProcgenEnv:
    """N games stepped by the engine. Meets `core.protocols.Env`."""

    resumable = True

    def __init__(self, recipe: Procgen, width: int, threads: int = 0) -> None:
        self.recipe, self.width, self.spec = recipe, width, recipe.spec()
        self._games = recipe.engine(width, threads=threads)
        self._timeout = TIMEOUTS[recipe.game]
        self._steps = np.zeros(width, np.int64)
        self._look()

    def reset(self, seeds: Sequence[int]) -> Obs:
        """Each game gets the state of one that was started alone, as the engine itself knows but one seed for all."""
        check_lanes("seeds", len(seeds), self.width)
        states = []
        for seed in seeds:
            alone = self.recipe.engine(1, seed=int(seed))
            states += alone.get_state()
            alone.close()
        self._games.set_state(states)
        self._steps[:] = 0
        return self._look()

    def step(self, action: np.ndarray) -> Step:
        check_lanes("actions", len(action), self.width)
        before, level = self._frames, self._level
        self._games.act(action)
        reward, obs, first = self._games.observe()
        self._frames = frames = obs["image"] = obs.pop("rgb")
        self._steps += 1
        ended = first.astype(bool)
        complete, truncated, arrived = np.zeros(self.width, bool), np.zeros(self.width, bool), obs
        if ended.any():
            complete = self._read_levels() & ended
            truncated = ended & ~complete & (self._steps >= self._timeout)
            arrived = {"image": frames.copy()}
            arrived["image"][ended] = before[ended]
            self._steps[ended] = 0
        extras = {"level_seed": level, "prev_level_complete": complete}
        return Step(obs, arrived, reward, ended & ~truncated, truncated, extras)

    def skip(self) -> Obs:
        """Abandon the running episodes and start the next ones."""
        self._games.act(np.full(self.width, _FORCE_RESET))
        self._steps[:] = 0
        return self._look()

    def snapshot(self) -> dict[str, Any]:
        return {"states": freeze(self._games.get_state()), "steps": self._steps.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        check_restore(len(state["states"]), self.width)
        self._games.set_state(thaw(state["states"]))
        self._steps[:] = state["steps"]
        self._look()

    def close(self) -> None:
        self._games.close()

    def _look(self) -> Obs:
        """Read frames and levels without stepping."""
        _, obs, _ = self._games.observe()
        self._frames: np.ndarray = obs["rgb"]
        self._read_levels()
        return {"image": self._frames}

    def _read_levels(self) -> np.ndarray:
        """Note which levels are being played; returns which of the ones before were completed."""
        infos = self._games.get_info()
        self._level = np.array([info["level_seed"] for info in infos], np.int32)
        return np.array([info["prev_level_complete"] for info in infos], bool)


class _ProcgenWorld:
    """One game. Meets `core.protocols.World`."""

    resumable = True

    def __init__(self, recipe: Procgen) -> None:
        self.spec = recipe.spec()
        self._env = ProcgenEnv(recipe, 1)
        self._fresh: Obs | None = None  # the first observation of an episode that the engine has already begun

    def reset(self, seed: int | None = None) -> Obs:
        fresh, self._fresh = self._fresh, None
        if seed is not None:
            fresh = self._env.reset([seed])
        elif fresh is None:
            fresh = self._env.skip()
        return {"image": fresh["image"][0]}

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, Obs]:
        step = self._env.step(np.array([action]))
        self._fresh = None if step.arrived is step.obs else step.obs
        extras = {name: array[0, ...] for name, array in step.extras.items()}
        arrived = {"image": step.arrived["image"][0]}
        return arrived, float(step.reward[0]), bool(step.terminated[0]), bool(step.truncated[0]), extras

    def snapshot(self) -> dict[str, Any]:
        return {"env": self._env.snapshot(), "fresh": self._fresh is not None}

    def restore(self, state: dict[str, Any]) -> None:
        self._env.restore(state["env"])
        self._fresh = {"image": self._env._frames} if state["fresh"] else None

    def close(self) -> None:
        self._env.close()


def _engine() -> Any:
    try:
        # It imports the old gym, which then prints that it is old; nothing here uses it.
        with redirect_stderr(StringIO()):
            from procgen.env import ProcgenGym3Env
    except ModuleNotFoundError as error:
        raise MissingExtraError("procgen", "procgen") from error
    return ProcgenGym3Env
