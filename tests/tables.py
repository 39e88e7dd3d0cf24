"""Models to search that are tables: a state is a number, and everything about it is looked up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.puct import Puct
from worldmodels.planner.regularized import Regularized
from worldmodels.planner.simulator import Move, Root, Simulator
from worldmodels.planner.ucb_q import UcbQ

PLANNERS = (Puct, Gumbel, UcbQ, Regularized)
BACKENDS = ("torch", "numba")


@dataclass
class Table:
    """next, reward and discount: (S, A); prior: (S, A) logits; value: (S,)."""

    next: Tensor
    reward: Tensor
    discount: Tensor
    prior: Tensor
    value: Tensor

    def simulator(self) -> Simulator:
        return Simulator(self._root, self._recurrent)

    def _root(self, state: Tensor) -> Root:
        return Root(state, self.prior[state], self.value[state])

    def _recurrent(self, state: Tensor, action: Tensor) -> Move:
        after = self.next[state, action]
        edge = self.reward[state, action], self.discount[state, action]
        return Move(after, *edge, self.prior[after], self.value[after])


def random_table(states: int = 100, actions: int = 4, seed: int = 0) -> Table:
    """Rewards, logits and values of about 1; one edge of ten ends the world."""
    draw = torch.Generator().manual_seed(seed)
    shape = states, actions
    return Table(
        next=torch.randint(states, shape, generator=draw),
        reward=torch.randn(shape, generator=draw),
        discount=0.97 * (torch.rand(shape, generator=draw) > 0.1),
        prior=torch.randn(shape, generator=draw),
        value=torch.randn(states, generator=draw),
    )


def constant_table(actions: int = 3, **parts: Tensor) -> Table:
    """One state in which nothing pays, unless said otherwise."""
    shape = (1, actions)
    whole = {
        "next": torch.zeros(shape, dtype=torch.int64),
        "reward": torch.zeros(shape),
        "discount": torch.full(shape, 0.99),
        "prior": torch.zeros(shape),
        "value": torch.zeros(1),
    }
    return Table(**(whole | parts))


def states(count: int, seed: int = 0, among: int = 100) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(among, size=count))
