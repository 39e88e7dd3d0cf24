"""Windows of experience that nobody has learned from: played just now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch, Episode, join
from worldmodels.core.protocols import Env, EnvRecipe, Policy
from worldmodels.core.rng import Rng
from worldmodels.data.block import Block
from worldmodels.data.driver import Driver
from worldmodels.data.rollout import assemble


def fresh(
    recipe: EnvRecipe, policy: Policy, rng: Rng, *, windows: int, length: int, steps: int = 512, width: int = 8
) -> Batch:
    """Windows of up to `length` steps, each inside one episode, out of `steps` steps in each of `width` worlds.

    The policy explores, so that the windows are like those that are learned from. The longest episodes are taken, from
    a random step on; an episode shorter than `length` is a window with padding.
    """
    env = recipe.make(width)
    try:
        return _windows(env, policy, rng, (windows, length, steps))
    finally:
        env.close()


def _windows(env: Env, policy: Policy, rng: Rng, amount: tuple[int, int, int]) -> Batch:
    windows, length, steps = amount
    driver = Driver(env, policy, rng)
    pieces: dict[int, list[Episode]] = {}
    for _ in range(steps):
        _sort(driver.step(), pieces)
    _sort(driver.flush(), pieces)
    episodes = sorted((join(parts) for parts in pieces.values()), key=len, reverse=True)
    if not episodes:
        raise ConfigError("nothing was played", "at least one step", "set steps to 1 or more")
    chosen = [episodes[i % len(episodes)] for i in range(windows)]
    taken = [[_part(episode, length, rng)] for episode in chosen]
    return assemble(taken, env.spec, driver.extras)


def _sort(blocks: Sequence[Block], pieces: dict[int, list[Episode]]) -> None:
    for block in blocks:
        for piece in block.pieces():
            pieces.setdefault(piece.number, []).append(piece)


def _part(episode: Episode, length: int, rng: Rng) -> Episode:
    """A window of an episode, as a piece of it."""
    start = int(rng.numpy.integers(max(1, len(episode) - length + 1)))
    end = min(len(episode), start + length)
    last = end == len(episode)
    return replace(
        episode,
        obs={name: frames[start : end + 1] for name, frames in episode.obs.items()},
        action=episode.action[start:end],
        reward=np.asarray(episode.reward[start:end]),
        terminated=episode.terminated and last,
        truncated=episode.truncated and last,
        extras={name: kept[start:end] for name, kept in episode.extras.items()},
        start=episode.start + start,
    )
