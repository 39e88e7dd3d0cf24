"""Any Gymnasium environment by its id."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import error

from worldmodels.core.errors import ConfigError, ResumeError
from worldmodels.core.experience import Obs
from worldmodels.core.spec import EnvSpec
from worldmodels.env import classic
from worldmodels.env.area import resize
from worldmodels.env.recipe import Recipe
from worldmodels.env.spaces import Reader, arrays, hand, readers

OBSERVATIONS = ("auto", "vector", "image", "symbols", "pixels")
PIXELS = 64  # the side of a rendered picture, unless a size is given


@dataclass(frozen=True)
class Gymnasium(Recipe):
    """A registered environment, such as "CartPole-v1", or "my_module:MyEnv-v0", which imports my_module first.

    kwargs go to the environment. time_limit: steps; None keeps the environment's own. observation: what to make of the
    observation space (see `env.spaces.readers`), or "pixels" for the rendered picture instead. size: images are
    resized to (size, size).
    """

    UNIFYING: ClassVar = {"observations": {"observation": "pixels"}}

    id: str = "CartPole-v1"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    time_limit: int | None = None
    observation: str = "auto"
    size: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kwargs", _plain(self.kwargs))
        if self.observation not in OBSERVATIONS:
            raise ConfigError(
                f"observation={self.observation!r}",
                f"one of {', '.join(OBSERVATIONS)}",
                "set env.observation=auto, which suits most",
            )
        for name, value in (("time_limit", self.time_limit), ("size", self.size)):
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}", "1 or more, or null", f"raise env.{name}")
        check_id(self.id)

    def world(self) -> GymnasiumWorld:
        pixels = {"render_mode": "rgb_array"} if self.observation == "pixels" else {}
        env = launch(self.id, max_episode_steps=self.time_limit, **pixels, **self.kwargs)
        return GymnasiumWorld(env, self.id, self.observation, self.size)


class GymnasiumWorld:
    """A Gymnasium environment as a world. Meets `core.protocols.World`; takes any environment, registered or not."""

    def __init__(
        self, env: gymnasium.Env[Any, Any], name: str, observation: str = "auto", size: int | None = None
    ) -> None:
        self.env, self.resumable = env, classic.resumable(env)
        self._pixels = (size or PIXELS) if observation == "pixels" else 0
        self._hand = hand(env.action_space)
        self._readers: dict[str, Reader] = {}
        if self._pixels:
            space = gymnasium.spaces.Box(0, 255, (self._pixels, self._pixels, 3), np.uint8)
            obs = {name: reader.spec for name, reader in readers(space).items()}
        else:
            self._readers = readers(env.observation_space, observation, size)
            obs = {name: reader.spec for name, reader in self._readers.items()}
        self.spec = EnvSpec(name, obs, self._hand.size, self._hand.discrete)

    def reset(self, seed: int | None = None) -> Obs:
        value, _ = self.env.reset(seed=seed)
        return self._see(value)

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, Obs]:
        value, reward, terminated, truncated, _ = self.env.step(self._hand.turn(action))
        return self._see(value), float(reward), bool(terminated), bool(truncated), {}

    def _see(self, value: Any) -> Obs:
        if not self._pixels:
            return arrays(self._readers, value)
        frame = self.env.render()
        if not isinstance(frame, np.ndarray) or frame.ndim != 3:
            raise ConfigError(
                f"{self.spec.name} renders {type(frame).__name__}",
                "a picture (h, w, 3)",
                "make the env with render_mode='rgb_array', or set env.observation=auto",
            )
        return {"image": resize(frame[..., :3].astype(np.uint8), self._pixels, self._pixels)}

    def snapshot(self) -> dict[str, Any]:
        if not self.resumable:
            raise ResumeError(
                f"{self.spec.name} can not save its state",
                "a classic-control or toy-text environment, or one with snapshot() and restore(state)",
                "give your environment these two methods; until then, its runs resume at the next episode",
            )
        return classic.snapshot(self.env)

    def restore(self, state: dict[str, Any]) -> None:
        classic.restore(self.env, state)

    def close(self) -> None:
        self.env.close()


def check_id(name: str) -> None:
    """ConfigError, with the nearest names, unless Gymnasium knows the id. Imports the module that it names."""
    module, _, bare = name.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        gymnasium.spec(bare)
    except ModuleNotFoundError as missing:
        raise ConfigError(
            f"id={name!r}: no module {missing.name!r}",
            "a module that Python finds",
            "run from its folder, or add the folder to PYTHONPATH",
        ) from missing
    except error.Error as unknown:
        near = get_close_matches(bare, gymnasium.registry, n=3, cutoff=0.5)
        hint = f"try {' or '.join(near)}" if near else "import the module that registers it: env.id=my_module:MyEnv-v0"
        raise ConfigError(
            f"id={name!r}: {str(unknown).splitlines()[0]}", "an id that Gymnasium knows", hint
        ) from unknown


def launch(name: str, **options: Any) -> gymnasium.Env[Any, Any]:
    """The environment; ConfigError if a package or an option stands in the way."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():  # nowhere to show a window, and SDL complains of that
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    chosen = {key: value for key, value in options.items() if value is not None}
    try:
        return gymnasium.make(name, disable_env_checker=True, **chosen)
    except (error.DependencyNotInstalled, ImportError) as missing:
        raise ConfigError(
            f"{name} lacks a package: {missing}", "the environment's own dependencies", "install it with pip"
        ) from missing
    except TypeError as wrong:
        if "unexpected keyword" not in str(wrong):
            raise
        raise ConfigError(
            f"{name} with {sorted(chosen)}: {wrong}", "options that it takes", "mend env.kwargs"
        ) from wrong


def _plain(value: Any) -> Any:
    """Dicts and lists out of whatever behaves like them, so that a recipe can travel to another process."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(part) for part in value]
    return value
