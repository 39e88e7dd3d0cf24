"""Our worlds as Gymnasium environments, for use elsewhere."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from worldmodels.core.experience import Obs
from worldmodels.core.protocols import World
from worldmodels.core.spec import ArraySpec


def as_gymnasium(world: World) -> WorldEnv:
    """The world with Gymnasium's interface. A lone observation stands for itself, several are a Dict by name.

    Continuous actions keep the range [-1, 1]. Extras become the info of each step.
    """
    return WorldEnv(world)


class WorldEnv(gymnasium.Env[Any, Any]):
    """What `as_gymnasium` returns."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium declares it

    def __init__(self, world: World) -> None:
        spec = world.spec
        self.world = world
        made = {name: _space(one) for name, one in spec.obs.items()}
        self._alone = next(iter(made)) if len(made) == 1 else None
        self.observation_space = made[self._alone] if self._alone else spaces.Dict(made)
        if spec.discrete:
            self.action_space = spaces.Discrete(spec.action_size)
        else:
            self.action_space = spaces.Box(-1.0, 1.0, (spec.action_size,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        return self._value(self.world.reset(seed)), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        move = int(action) if self.world.spec.discrete else np.asarray(action, np.float32)
        obs, reward, terminated, truncated, extras = self.world.step(move)
        return self._value(obs), float(reward), bool(terminated), bool(truncated), dict(extras)

    def close(self) -> None:
        self.world.close()

    def _value(self, obs: Obs) -> Any:
        # Copies, for a world may write its next observation into the same arrays.
        copies = {name: np.array(obs[name], _space_dtype(one)) for name, one in self.world.spec.obs.items()}
        return copies[self._alone] if self._alone else copies


def _space(spec: ArraySpec) -> spaces.Space[Any]:
    if spec.kind == "image":
        return spaces.Box(0, 255, spec.shape, np.uint8)
    if spec.kind == "planes":
        return spaces.Box(0, 1, spec.shape, np.uint8)
    if spec.kind == "symbols":
        high = np.broadcast_to(np.array(spec.classes) - 1, spec.shape).astype(spec.dtype)
        return spaces.Box(np.zeros_like(high), high, dtype=high.dtype.type)
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        return spaces.Box(-np.inf, np.inf, spec.shape, np.dtype(spec.dtype).type)
    limits = np.iinfo(spec.dtype) if spec.dtype != "bool" else None
    if limits is None:
        return spaces.Box(0, 1, spec.shape, np.uint8)
    return spaces.Box(limits.min, limits.max, spec.shape, np.dtype(spec.dtype).type)


def _space_dtype(spec: ArraySpec) -> str:
    """Gymnasium has no Box of booleans."""
    return "uint8" if spec.dtype == "bool" else spec.dtype
