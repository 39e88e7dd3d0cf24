"""MiniGrid worlds as symbols or pixels, with exact snapshots."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar

import numpy as np

from worldmodels.core.errors import ConfigError, MissingExtraError, SpecError
from worldmodels.core.experience import Obs
from worldmodels.core.options import Count
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.env.area import resize
from worldmodels.env.gymnasium import check_id, launch
from worldmodels.env.minigrid_truth import Truth
from worldmodels.env.recipe import Recipe


@dataclass(frozen=True)
class MiniGrid(Recipe):
    """A MiniGrid environment, for example "MiniGrid-DoorKey-5x5-v0".

    obs: "symbols" (h, w, 3) of object, colour and state, or "pixels" (size, size, 3). full: the whole grid, where the
    agent is an object whose state is its direction, instead of what lies before it; what it carries then is unseen, as
    in MiniGrid's own FullyObsWrapper. Unless full, the direction is observed beside, one-hot. mission: "encode"
    observes a mission that varies as one-hot words, "ignore" leaves it out. time_limit: steps; None keeps the
    environment's own. privileged: each step tells also what the agent can not know, for probes: the map, where it is,
    and the ways to `goals` objects (`env.minigrid_truth.Truth`).
    """

    UNIFYING: ClassVar = {
        "observations": {"mission": "ignore", "full": False},
        "extras and views": {"privileged": False},
    }

    id: str = "MiniGrid-Empty-8x8-v0"
    obs: str = "symbols"
    full: bool = False
    size: int = 64
    mission: str = "encode"
    time_limit: int | None = None
    privileged: bool = False
    goals: Count = 1

    def __post_init__(self) -> None:
        for name, known in (("obs", ("symbols", "pixels")), ("mission", ("encode", "ignore"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}={getattr(self, name)!r}", " or ".join(known), f"set env.{name}={known[0]}")
        for name, value in (("time_limit", self.time_limit), ("size", self.size), ("goals", self.goals)):
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}", "1 or more", f"raise env.{name}")
        _import_minigrid()
        check_id(self.id)
        if not self.id.startswith(("MiniGrid-", "BabyAI-")):
            near = get_close_matches(f"MiniGrid-{self.id}", _ids(), n=3, cutoff=0.4) or ["MiniGrid-Empty-8x8-v0"]
            raise ConfigError(
                f"id={self.id!r}", "an environment of MiniGrid", f"try {' or '.join(near)}, or set env=gymnasium"
            )

    def world(self) -> MiniGridWorld:
        _import_minigrid()  # again, for a recipe that was pickled into another process
        return MiniGridWorld(self)


class MiniGridWorld:
    """One grid. Rows go down and columns right, as in the picture. Meets `core.protocols.World`.

    A snapshot is the generator at the episode's beginning and the actions since; `restore` plays them again, which
    costs what these steps cost (about 0.1 ms each).
    """

    resumable = True

    def __init__(self, recipe: MiniGrid) -> None:
        self.recipe = recipe
        env = launch(recipe.id, max_steps=recipe.time_limit)
        self._env: Any = env.unwrapped
        _check_patterns(recipe.id, self._env)
        self._words = _Words.of(self._env.observation_space["mission"], recipe)
        self._generator = freeze(self._env.np_random)
        self._actions: list[int] = []
        count = int(self._env.action_space.n)
        obs = {"symbols": self._symbols_spec()} if recipe.obs == "symbols" else {"image": self._image_spec()}
        if not recipe.full:
            obs["direction"] = ArraySpec((4,), "float32")
        if self._words:
            obs["mission"] = ArraySpec((self._words.size,), "float32")
        names = tuple(action.name for action in list(self._env.actions)[:count])
        self._truth = Truth(self._env, _classes(), recipe.goals) if recipe.privileged else None
        extras = {} if self._truth is None else self._truth.specs
        self.spec = EnvSpec(f"minigrid/{recipe.id}", obs, count, extras=extras, action_names=names)

    def _symbols_spec(self) -> ArraySpec:
        env, full = self._env, self.recipe.full
        shape = (env.height, env.width, 3) if full else (env.agent_view_size, env.agent_view_size, 3)
        return ArraySpec(shape, "uint8", "symbols", _classes(agent=full))

    def _image_spec(self) -> ArraySpec:
        return ArraySpec((self.recipe.size, self.recipe.size, 3), "uint8", "image")

    def reset(self, seed: int | None = None) -> Obs:
        from gymnasium.utils import seeding

        if seed is not None:
            self._env.np_random, _ = seeding.np_random(seed)
        self._generator = freeze(self._env.np_random)
        self._actions = []
        value, _ = self._env.reset()
        if self._truth:
            self._truth.begin()
        return self._see(value)

    def step(self, action: int) -> tuple[Obs, float, bool, bool, Obs]:
        value, reward, terminated, truncated, _ = self._advance(int(action))
        told = self._truth.tell() if self._truth else {}
        return self._see(value), float(reward), bool(terminated), bool(truncated), told

    def _advance(self, action: int) -> Any:
        self._actions.append(action)
        answer = self._env.step(action)
        if self._truth:
            self._truth.follow()
        return answer

    def _see(self, value: Any) -> Obs:
        seen = {"image": self._picture()} if self.recipe.obs == "pixels" else {"symbols": self._symbols(value)}
        if not self.recipe.full:
            seen["direction"] = np.eye(4, dtype=np.float32)[value["direction"]]
        if self._words:
            seen["mission"] = self._words.encode(value["mission"])
        return seen

    def _symbols(self, value: Any) -> np.ndarray:
        from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX

        cells = value["image"]
        if self.recipe.full:
            cells = self._env.grid.encode()
            cells[tuple(self._env.agent_pos)] = OBJECT_TO_IDX["agent"], COLOR_TO_IDX["red"], self._env.agent_dir
        return np.ascontiguousarray(cells.transpose(1, 0, 2))  # MiniGrid says (column, row)

    def _picture(self) -> np.ndarray:
        env, size, full = self._env, self.recipe.size, self.recipe.full
        cells = max(env.width, env.height) if full else env.agent_view_size
        # No highlight in full view: it marks what the agent would see, which is not part of the world.
        frame = env.get_frame(highlight=False, tile_size=-(-size // cells), agent_pov=not full)
        return resize(frame, size, size)

    def snapshot(self) -> dict[str, Any]:
        return {"generator": self._generator, "actions": list(self._actions)}

    def restore(self, state: dict[str, Any]) -> None:
        self._env.np_random = thaw(state["generator"])
        self.reset()
        for action in state["actions"]:
            self._advance(action)

    def close(self) -> None:
        self._env.close()


class _Words:
    """Missions of a family as numbers: one one-hot part per blank in the sentence."""

    def __init__(self, blanks: list[list[str]], sentence: Any) -> None:
        counts = [len(words) for words in blanks]
        offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.size = sum(counts)
        choices = itertools.product(*(range(n) for n in counts))
        self._marks: dict[str, np.ndarray] = {}
        for choice in choices:
            text = sentence(*(words[k] for words, k in zip(blanks, choice, strict=True)))
            self._marks.setdefault(text, offsets + choice)

    @staticmethod
    def of(space: Any, recipe: MiniGrid) -> _Words | None:
        """None where the mission never varies, or is ignored."""
        from minigrid.core.mission import MissionSpace

        if recipe.mission == "ignore":
            return None
        if type(space) is not MissionSpace:
            raise ConfigError(
                f"{recipe.id} gives its missions as free text",
                "a sentence with blanks, which can be observed",
                "set env.mission=ignore if the world can be understood without",
            )
        # A blank with one word to fill it says nothing.
        blanks = space.ordered_placeholders or []
        return _Words(blanks, space.mission_func) if any(len(words) > 1 for words in blanks) else None

    def encode(self, text: str) -> np.ndarray:
        if text not in self._marks:
            raise SpecError(
                f"a mission {text!r}", "one that the environment declares", "set env.mission=ignore, and tell us"
            )
        vector = np.zeros(self.size, np.float32)
        vector[self._marks[text]] = 1.0
        return vector


def _classes(*, agent: bool = False) -> tuple[int, int, int]:
    """Objects, colours and states; those of the agent are its four directions."""
    from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

    states = len(STATE_TO_IDX)
    return len(OBJECT_TO_IDX), len(COLOR_TO_IDX), max(states, 4) if agent else states


def _check_patterns(name: str, env: Any) -> None:
    """ConfigError where MiniGrid itself would fail at the first reset: its wheels lack the pictures of WFC worlds."""
    from gymnasium.error import DependencyNotInstalled

    try:
        getattr(getattr(env, "config", None), "wfc_kwargs", None)  # a property that reads the picture
    except (FileNotFoundError, DependencyNotInstalled) as missing:
        found = getattr(missing, "filename", None) or str(missing).partition("\n")[0]
        raise ConfigError(
            f"{name} can not be generated: {found}",
            "MiniGrid with the pictures that its WFC worlds imitate, and imageio",
            "choose another env.id, or clone MiniGrid and pip install -e '<clone>[wfc]'",
        ) from missing


def _ids() -> list[str]:
    import gymnasium

    return [name for name in gymnasium.registry if name.startswith("MiniGrid-")]


def _import_minigrid() -> None:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import minigrid  # noqa: F401 - registers its environments
    except ImportError as error:
        raise MissingExtraError("minigrid", "minigrid") from error
