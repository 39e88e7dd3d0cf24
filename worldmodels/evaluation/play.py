"""How well a policy does: episodes without exploration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count
from worldmodels.core.protocols import Env, EnvRecipe, Policy
from worldmodels.core.rng import Rng
from worldmodels.data.driver import Driver


@dataclass(frozen=True)
class Summary:
    """Undiscounted returns and lengths (steps) of finished episodes; `cut` counts those stopped before their end."""

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    cut: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return: mean, std (of the episodes), stderr (of the mean), min, max; length: mean."""
        score = np.asarray(self.returns)
        spread = float(score.std(ddof=1)) if len(score) > 1 else 0.0
        return {
            "episodes": len(score),
            "return_mean": float(score.mean()),
            "return_std": spread,
            "return_stderr": spread / len(score) ** 0.5,
            "return_min": float(score.min()),
            "return_max": float(score.max()),
            "length_mean": float(np.mean(self.lengths)),
            "cut": self.cut,
        }


@dataclass(frozen=True)
class Play:
    """Which evaluation: how many episodes, in how many worlds side by side, and after how many steps one is cut."""

    episodes: Count
    width: Count
    limit: Count
    seed: int

    def __call__(self, recipe: EnvRecipe, policy: Policy, *names: str | int) -> Summary:
        """Play in fresh worlds. The names tell this evaluation's randomness from that of others."""
        env = recipe.make(min(self.width, self.episodes))
        try:
            return play(env, policy, episodes=self.episodes, rng=Rng(self.seed, "play", *names), limit=self.limit)
        finally:
            env.close()

    def compare(
        self, recipe: EnvRecipe, policy: Policy, others: Mapping[str, Policy], *names: str | int
    ) -> dict[str, Any]:
        """The policy's summary as a row; of others `return_mean/<name>`, `return_stderr/<name>` in the same worlds."""
        row = self(recipe, policy, *names).to_json()
        for name, other in others.items():
            found = self(recipe, other, *names).to_json()
            row |= {f"{key}/{name}": found[key] for key in ("return_mean", "return_stderr")}
        return row


def play(env: Env, policy: Policy, *, episodes: int, rng: Rng, limit: int = 100_000) -> Summary:
    """The summary of that many episodes, allotted to the worlds in advance.

    Taking the first that end would count short episodes too often. An episode of more than `limit` steps is counted as
    it stands; its world plays no further ones.
    """
    if episodes < 1:
        raise ConfigError(f"an evaluation of {episodes} episodes", "at least 1", "set episodes=1 or more")
    driver = Driver(env, policy, rng, explore=False)
    owed = [episodes // env.width + (lane < episodes % env.width) for lane in range(env.width)]
    lanes = [_Lane() for _ in owed]
    while any(len(lane.episodes) < count and not lane.stuck for lane, count in zip(lanes, owed, strict=True)):
        for block in driver.step():
            driver.reuse(block)
        for lane in lanes:
            lane.steps += 1
        for at, total, length in driver.drain_lanes():
            lanes[at].add(total, length)
        _stop(driver, lanes, limit)
    kept = [episode for lane, count in zip(lanes, owed, strict=True) for episode in lane.episodes[:count]]
    returns, lengths, cut = zip(*kept, strict=True)
    return Summary(returns, lengths, sum(cut))


class _Lane:
    """The episodes of one world: return, length, and whether it was cut. `steps` are those of the one that runs."""

    def __init__(self) -> None:
        self.episodes: list[tuple[float, int, bool]] = []
        self.steps, self.stuck = 0, False

    def add(self, total: float, length: int) -> None:
        self.steps = 0
        if not self.stuck:
            self.episodes.append((total, length, False))


def _stop(driver: Driver, lanes: list[_Lane], limit: int) -> None:
    """Count the running episode of each world that has reached the limit as it stands, and none after it."""
    for at, lane in enumerate(lanes):
        if lane.steps >= limit and not lane.stuck:
            lane.stuck = True
            lane.episodes.append((float(driver.running().total[at]), lane.steps, True))


@contextmanager
def aside(module: nn.Module) -> Iterator[None]:
    """Whatever runs inside leaves the module's modes and torch's global generators as they were, and makes no graph."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            yield
    finally:
        for part in training:
            part.training = True
