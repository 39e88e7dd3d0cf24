"""Search over action values alone, without a policy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from worldmodels.core.options import Natural, Rate, Share
from worldmodels.planner.plan import Noise, Plan, TreePlanner, with_dirichlet
from worldmodels.planner.rules import Guide, UcbRule, require
from worldmodels.planner.search import Backend, Opening
from worldmodels.planner.tree import LOGIT, Grown

LEAST = math.log(torch.finfo(torch.float64).tiny)  # logarithm of a probability


@dataclass(frozen=True, kw_only=True)
class UcbQ(TreePlanner):
    """UCB1 on action values that the model tells: the simulator's `prior` holds them, its `value` is not looked at.

    The model's word on an action counts as its first visit, and a new node is worth its best action. Acts greedily;
    while exploring, with probability epsilon, as if all valid actions were alike. Dirichlet noise, off by default, goes
    into the softmax of the roots' values while exploring, and its part in them is taken out after the search.
    """

    simulations: Natural = 10
    c: Rate = 0.25
    epsilon: Share = 0.01
    min_range: Rate = 1e-8
    dirichlet_alpha: Rate = 0.25
    dirichlet_fraction: Share = 0.0
    backend: Backend = "numba"
    by_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.epsilon <= 1, f"epsilon={self.epsilon}", "from 0 to 1")
        require(self.dirichlet_alpha > 0, f"dirichlet_alpha={self.dirichlet_alpha}", "above 0")
        require(0 <= self.dirichlet_fraction <= 1, f"dirichlet_fraction={self.dirichlet_fraction}", "from 0 to 1")

    @property
    def choices(self) -> tuple[int, int]:
        return 1, 1

    def draw(self, rng: np.random.Generator, roots: int, actions: int) -> Noise:
        drawn = super().draw(rng, roots, actions)
        uniform = rng.random((roots, *self.choices))
        return replace(drawn, gamma=rng.standard_gamma(self.dirichlet_alpha, size=(roots, actions)), uniform=uniform)

    def noisy(self, opening: Opening, noise: Noise) -> Opening:
        """The same mean over the valid actions, other differences."""
        if self.dirichlet_fraction == 0 or not noise.gamma.any():
            return opening
        mixed = with_dirichlet(opening, noise.gamma, self.dirichlet_fraction).logit
        mixed = torch.where(opening.valid, mixed.clamp(min=LEAST), mixed)  # a share may be 0 by underflow
        shift = torch.where(opening.valid, opening.logit - mixed, 0.0).sum(1) / opening.valid.sum(1)
        return replace(opening, logit=mixed + shift[:, None])

    def rule(self, explore: bool) -> UcbRule:  # noqa: ARG002
        return UcbRule(self.c, self.min_range)

    def read(self, grown: Grown, opening: Opening, guide: Guide) -> Plan:
        """The value is that of the best action, the target the softmax of the values; q is 0 for what is not valid."""
        tree, row = grown.tree, grown.tree.row()
        noise = torch.where(row.valid, tree.edges[:, 0, LOGIT] - opening.logit, 0.0)
        q = row.q - noise / (1 + row.visits)
        known = torch.where(row.valid, q, -torch.inf)
        action = known.argmax(1)
        if guide.uniform.shape[1]:
            anything = torch.where(row.valid, guide.gumbel, -torch.inf).argmax(1)
            action = torch.where(guide.uniform[:, 0, 0] < self.epsilon, anything, action)
        return Plan(action, row.visits.long(), known.amax(1), q, known.softmax(1), tree)
