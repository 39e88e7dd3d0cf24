"""Acting with the present policy, learning from just that, and forgetting it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch, Episode
from worldmodels.core.options import Count, Natural
from worldmodels.core.protocols import Env, EnvRecipe, Learner
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.block import Block
from worldmodels.data.demand import demand_shares
from worldmodels.data.driver import Driver
from worldmodels.data.lived import Lived
from worldmodels.data.replay import needed


@dataclass(frozen=True)
class Rollout:
    """What `conf/data/rollout.yaml` becomes: `steps` in each of `width` worlds, learned from in shuffled passes."""

    width: Count = 16
    workers: Natural = 0
    steps: Count = 128
    passes: Count = 4
    minibatches: Count = 4

    def __post_init__(self) -> None:
        if min(self.width, self.steps, self.passes, self.minibatches) < 1:
            raise ConfigError(f"{self}", "at least 1 of each", "set data.steps and its neighbours")
        if self.width * self.steps % self.minibatches:
            raise ConfigError(
                f"{self.width} x {self.steps} steps in {self.minibatches} minibatches",
                "minibatches of equal size",
                f"set data.minibatches to a divisor of {self.width * self.steps}",
            )

    def spec(self, recipe: EnvRecipe | None) -> EnvSpec:
        spec = needed(recipe).spec()
        demand_shares(spec, self.width, "data.width")
        return spec

    def stream(self, recipe: EnvRecipe | None, learner: Learner, folder: Path, rng: Rng) -> RolloutStream:  # noqa: ARG002
        return RolloutStream(self, needed(recipe).make(self.width, self.workers), learner, rng)


class RolloutStream(Lived):
    """An epoch is one rollout: lived, prepared by the learner, and handed out `passes` times in random order.

    Each batch holds single transitions (T = 1), each exactly once per pass. Snapshots fall between rollouts: one in the
    midst of an epoch resumes with the next rollout.
    """

    store = None
    divisible = False

    def __init__(self, plan: Rollout, env: Env, learner: Learner, rng: Rng) -> None:
        self.plan, self.learner, self.rng = plan, learner, rng.child("passes")
        self.driver = Driver(env, learner.policy(), rng.child("driver"), piece=plan.steps)

    def __len__(self) -> int:
        return self.plan.passes * self.plan.minibatches

    def __iter__(self) -> Iterator[Batch]:
        batch = self.learner.prepare(self.live())
        transitions = batch.mask.nonzero()  # (n, 2): lane, step
        # All orders are drawn before the first batch is handed out, so that a snapshot at the end has seen them drawn.
        orders = [self.rng.numpy.permutation(len(transitions)) for _ in range(self.plan.passes)]
        for order in orders:
            for chosen in np.split(order, self.plan.minibatches):
                yield gather(batch, transitions[torch.from_numpy(chosen).to(transitions.device)])

    def live(self) -> Batch:
        """`steps` in each world, as a padded batch with one row per lane."""
        lanes: list[list[Episode]] = [[] for _ in range(self.driver.width)]
        for _ in range(self.plan.steps):
            self._sort(self.driver.step(), lanes)
        self._sort(self.driver.flush(), lanes)
        return assemble(lanes, self.driver.spec, self.driver.extras)

    def _sort(self, blocks: Sequence[Block], lanes: list[list[Episode]]) -> None:
        for block in blocks:
            for lane, pieces in zip(lanes, block.lanes(), strict=True):
                lane += pieces
            self.driver.reuse(block)

    def snapshot(self) -> dict[str, Any]:
        return {"driver": self.driver.snapshot(), "rng": self.rng.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        self.driver.restore(state["driver"])
        self.rng.restore(state["rng"])

    def close(self) -> None:
        self.driver.env.close()


def assemble(lanes: list[list[Episode]], spec: EnvSpec, extras: dict[str, ArraySpec]) -> Batch:
    """Consecutive pieces of each lane, laid end to end as windows that run over episodes' ends; see `Batch`."""
    # A final observation takes a row of its own; where a piece is continued, the next piece repeats it, and it is last.
    width, rows = len(lanes), max(sum(len(piece) + 1 for piece in pieces) for pieces in lanes)
    obs = {name: array.zeros(width, rows) for name, array in spec.obs.items()}
    told = {name: array.zeros(width, rows - 1) for name, array in extras.items()}
    action, reward = spec.action.zeros(width, rows - 1), np.zeros((width, rows - 1), np.float32)
    mask, terminated, truncated = np.zeros((3, width, rows - 1), bool)
    first = np.zeros((width, rows), bool)
    for lane, pieces in enumerate(lanes):
        at = 0
        for piece in pieces:
            end = at + len(piece)
            for name, frames in piece.obs.items():
                obs[name][lane, at : end + 1] = frames
            for name, kept in piece.extras.items():
                told[name][lane, at:end] = kept
            action[lane, at:end], reward[lane, at:end], mask[lane, at:end] = piece.action, piece.reward, True
            terminated[lane, end - 1], truncated[lane, end - 1] = piece.terminated, piece.truncated
            first[lane, at] = piece.start == 0
            at = end + 1
    flags = (torch.from_numpy(x) for x in (terminated, truncated, first, mask))
    return Batch(_tensors(obs), torch.from_numpy(action), torch.from_numpy(reward), *flags, extras=_tensors(told))


def gather(batch: Batch, at: Tensor) -> Batch:
    """Single transitions of a batch, at (n, 2) = (row, step), as windows with T = 1."""
    row, step = at[:, :1], at[:, 1:]
    both = torch.cat([step, step + 1], 1)
    return Batch(
        obs={name: frames[row, both] for name, frames in batch.obs.items()},
        action=batch.action[row, step],
        reward=batch.reward[row, step],
        terminated=batch.terminated[row, step],
        truncated=batch.truncated[row, step],
        first=batch.first[row, both],
        mask=batch.mask[row, step],
        extras={name: kept[row, step] for name, kept in batch.extras.items()},
    )


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
