"""Exact snapshots of Gymnasium's small worlds, whose whole state is a few attributes."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import wrappers

from worldmodels.core.snapshot import freeze, thaw

# Exact classes only: a subclass may hold more than we know of.
_STATE = {
    "gymnasium.envs.classic_control.cartpole.CartPoleEnv": ("state", "steps_beyond_terminated"),
    "gymnasium.envs.classic_control.mountain_car.MountainCarEnv": ("state",),
    "gymnasium.envs.classic_control.continuous_mountain_car.Continuous_MountainCarEnv": ("state",),
    "gymnasium.envs.classic_control.pendulum.PendulumEnv": ("state", "last_u"),
    "gymnasium.envs.classic_control.acrobot.AcrobotEnv": ("state",),
    "gymnasium.envs.toy_text.frozen_lake.FrozenLakeEnv": ("s", "lastaction"),
    "gymnasium.envs.toy_text.cliffwalking.CliffWalkingEnv": ("s", "lastaction"),
    "gymnasium.envs.toy_text.taxi.TaxiEnv": ("s", "lastaction", "fickle_step", "taxi_orientation"),
}
_WRAPPERS = (wrappers.OrderEnforcing, wrappers.PassiveEnvChecker)  # these remember nothing that matters
_ELAPSED = "_elapsed_steps"


def resumable(env: gymnasium.Env[Any, Any]) -> bool:
    """`snapshot` brings back exactly this moment: a world of the list above, or one with snapshot and restore."""
    known = all(isinstance(layer, (wrappers.TimeLimit, *_WRAPPERS)) for layer in _layers(env)[:-1])
    return known and (_saves_itself(env.unwrapped) or _name(env.unwrapped) in _STATE)


def snapshot(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """The world's state and generator, and how far its time limits have run."""
    world: Any = env.unwrapped
    if _saves_itself(world):
        inside = freeze(world.snapshot())
    else:
        # Some attributes exist only once an episode has begun.
        inside = freeze({name: getattr(world, name) for name in _STATE[_name(world)] if hasattr(world, name)})
    elapsed = [getattr(layer, _ELAPSED) for layer in _limits(env)]
    return {"inside": inside, "rng": freeze(world.np_random), "elapsed": elapsed}


def restore(env: gymnasium.Env[Any, Any], state: dict[str, Any]) -> None:
    """The inverse of `snapshot`."""
    env.reset()  # the wrappers insist on one before the first step
    world: Any = env.unwrapped
    if _saves_itself(world):
        world.restore(thaw(state["inside"]))
    else:
        for name, value in thaw(state["inside"]).items():
            setattr(world, name, value)
    world.np_random = thaw(state["rng"])
    for layer, elapsed in zip(_limits(env), state["elapsed"], strict=True):
        setattr(layer, _ELAPSED, elapsed)


def _saves_itself(world: Any) -> bool:
    return hasattr(world, "snapshot") and hasattr(world, "restore")


def _name(world: Any) -> str:
    return f"{type(world).__module__}.{type(world).__qualname__}"


def _layers(env: Any) -> list[Any]:
    layers = [env]
    while isinstance(layers[-1], gymnasium.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _limits(env: Any) -> list[Any]:
    return [layer for layer in _layers(env) if isinstance(layer, wrappers.TimeLimit)]
