"""Models to search that are tables: a state is a number, and everything about it is looked up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.puct import Puct
from worldmodels.planner.regularized import Regularized
from worldmodels.planner.rules import GumbelRule, PuctRule, RegularizedRule
from worldmodels.planner.simulator import Move, Root, Simulator
from worldmodels.planner.ucb_q import UcbQ

PLANNERS = (Puct, Gumbel, UcbQ, Regularized)
RULES = (PuctRule(1.25, 19652.0, "tree", "minimum", 1e-8), GumbelRule(50.0, 0.1, 1e-8), RegularizedRule(1.25, 1e-8))
# Searches whose roots choose by one rule and whose other nodes by another.
PAIRS = tuple(
    partial(planner, interior=rule)
    for planner, own in zip((Puct, Gumbel, Regularized), RULES, strict=True)
    for rule in RULES
    if rule is not own
)
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
