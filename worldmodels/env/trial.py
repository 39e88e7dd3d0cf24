"""Random steps of a world, written down."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from worldmodels.core.protocols import World
from worldmodels.core.spec import EnvSpec

Values = dict[str, np.ndarray]


@dataclass
class Played:
    """Some random steps of a world. All arrays are copies."""

    seen: list[Values] = field(default_factory=list)  # every observation, first ones included
    extras: list[Values] = field(default_factory=list)
    outcomes: list[tuple[Any, Any, Any]] = field(default_factory=list)  # reward, terminated, truncated
    ends: list[tuple[Values, Values]] = field(default_factory=list)  # last of an episode, first of the next
    seconds: float = 0.0  # inside step()


def random_actions(spec: EnvSpec, steps: int, seed: int) -> list[Any]:
    """Uniform: integers, or vectors in [-1, 1]."""
    rng = np.random.default_rng(seed)
    if spec.discrete:
        return rng.integers(spec.action_size, size=steps).tolist()
    return list(rng.uniform(-1, 1, (steps, spec.action_size)).astype(np.float32))


def play(world: World, actions: Sequence[Any], seed: int | None) -> Played:
    """Take these actions from reset(seed), or, with seed None, from here."""
    played = Played()
    if seed is not None:
        played.seen.append(_copy(world.reset(seed)))
    for action in actions:
        begin = time.perf_counter()
        obs, reward, terminated, truncated, extras = world.step(action)
        played.seconds += time.perf_counter() - begin
        played.seen.append(_copy(obs))
        played.extras.append(_copy(extras))
        played.outcomes.append((reward, terminated, truncated))
        if terminated or truncated:
            first = _copy(world.reset())
            played.ends.append((played.seen[-1], first))
            played.seen.append(first)
    return played


def _copy(values: Mapping[str, Any]) -> Values:
    return {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def equal(one: Any, other: Any) -> bool:
    """Same keys, shapes and values; NaN equals NaN."""
    try:
        np.testing.assert_equal(one, other)
    except AssertionError:
        return False
    return True


def difference(one: Played, other: Played) -> str:
    """Where two histories part; nothing if they do not."""
    for k, (mine, its) in enumerate(zip(one.seen, other.seen, strict=False)):
        if not equal(mine, its):
            return f"observation {k} differs"
    for k, (mine, its) in enumerate(zip(one.outcomes, other.outcomes, strict=True)):
        if not equal(mine, its):
            return f"reward or end of step {k} differs"
    return "" if equal(one.extras, other.extras) else "extras differ"
