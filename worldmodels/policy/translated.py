"""A policy in a world that shows or offers more than the one it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.core.experience import Obs
from worldmodels.core.protocols import Memory, Policy
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec, describe, describe_action
from worldmodels.data.demand import declared
from worldmodels.env.planes import MEANING, reader


@dataclass(frozen=True)
class Translation:
    """From what a world shows (N, ...) to what an agent sees, and from its actions to the world's."""

    see: Mapping[str, Callable[[Obs], np.ndarray]]
    moves: Int64[np.ndarray, " own"] | None  # the world's number for each of the agent's; None: they are the same

    def obs(self, shown: Obs) -> dict[str, np.ndarray]:
        return {name: read(shown) for name, read in self.see.items()}

    def action(self, own: np.ndarray) -> np.ndarray:
        return own if self.moves is None else self.moves[own]


def translation(own: EnvSpec, world: EnvSpec, name: str | None = None) -> Translation:
    """How an agent of `own` acts in `world`, or in that world of a mixture that is called `name`.

    Arrays are taken as they are where an observation or a view is the same, and MinAtar's planes of the same game are
    read off unified ones; actions are found by their names. SpecError, with all that stands in the way.
    """
    see: dict[str, Callable[[Obs], np.ndarray]] = {}
    wrong: list[str] = []
    for key, array in own.obs.items():
        try:
            see[key] = _eye(key, array, own, world, name or world.name)
        except ConfigError as lost:
            wrong.append(f"{lost.found}; {lost.do}")
    moves = None
    try:
        moves = _moves(own, world)
    except ConfigError as lost:
        wrong.append(f"{lost.found}; {lost.do}" if lost.do else lost.found)
    if wrong:
        raise SpecError(
            f"an agent of {own.name} can not act in {name or world.name}:\n    " + "\n    ".join(wrong),
            "a world that shows and offers what the agent knows",
            "choose other options of the env, or another agent"
            + ("; policy=skilled lets each agent play its own game" if world.worlds and name is None else ""),
        )
    return Translation(see, moves)


def _eye(key: str, array: ArraySpec, own: EnvSpec, world: EnvSpec, name: str) -> Callable[[Obs], np.ndarray]:
    shown = world.shown
    if shown.get(key) == array:
        return lambda obs: obs[key]
    game = own.name.removeprefix("minatar/")
    if key == "grid" and own.name == name and game in MEANING and array.shape[-1] == len(MEANING[game]):
        return reader(game, shown)
    here = describe(shown[key]) if key in shown else ", ".join(shown)
    do = "give it what it was trained with" if key in shown else f"set views=[{key}] in the options of the env"
    raise ConfigError(f"it sees {key}, {describe(array)}, and is shown {here}", "the same array", do)


def _moves(own: EnvSpec, world: EnvSpec) -> Int64[np.ndarray, " own"] | None:
    named = own.discrete and world.discrete and own.action_names and world.action_names
    if own.action_names == world.action_names or not named:
        if (own.action_size, own.discrete) == (world.action_size, world.discrete):
            return None
        raise ConfigError(f"it has {describe_action(own)}, the world {describe_action(world)}", "equal actions", "")
    if lacking := [each for each in own.action_names if each not in world.action_names]:
        found = f"it may choose {', '.join(lacking)}, the world offers {', '.join(world.action_names)}"
        do = "set options that offer them, such as env.actions=full of MinAtar or env.full_actions=true of Atari"
        raise ConfigError(found, "a world with all of its actions", do)
    return np.array([world.action_names.index(each) for each in own.action_names], np.int64)


class Translated:
    """The policy behind its translation. Meets `core.protocols.Policy`."""

    def __init__(self, policy: Policy, own: EnvSpec, world: EnvSpec) -> None:
        self.policy, self.translation = policy, translation(own, world)
        self.extras = declared(policy, own)

    def initial(self, width: int) -> Memory:
        return self.policy.initial(width)

    def act(
        self, obs: Obs, first: Bool[np.ndarray, " N"], memory: Memory, *, explore: bool, rng: Rng
    ) -> tuple[np.ndarray, Memory, Obs]:
        seen = self.translation.obs(obs)
        action, memory, told = self.policy.act(seen, first, memory, explore=explore, rng=rng)
        return self.translation.action(action), memory, told


def in_world(policy: Policy, own: EnvSpec, world: EnvSpec) -> Any:
    """The policy itself where nothing differs, or translated; SpecError where that can not be."""
    if not own.differences(world):
        return policy
    return Translated(policy, own, world)
