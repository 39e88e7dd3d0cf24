"""Search as regularised policy optimisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from worldmodels.core.options import Natural, Rate, Share
from worldmodels.planner.plan import Noise, Plan, PolicyPlanner, with_dirichlet
from worldmodels.planner.puct import require_noise
from worldmodels.planner.rules import Guide, RegularizedRule
from worldmodels.planner.search import Backend, Opening
from worldmodels.planner.tree import Grown


@dataclass(frozen=True, kw_only=True)
class Regularized(PolicyPlanner):
    """Grill et al. (2020): acts by, searches by and learns from the policy that visits only approach.

    The policy maximises value minus c sqrt(N) / N times its divergence from the prior. While exploring, actions are
    drawn from it, everywhere; otherwise visits follow it as closely as they can and the likeliest action is taken. The
    target holds the Dirichlet noise that the search had, as visits do.
    """

    simulations: Natural = 16
    c: Rate = 1.25
    min_range: Rate = 1e-8
    dirichlet_alpha: Rate = 0.3
    dirichlet_fraction: Share = 0.25
    temperature: Rate = 1.0
    backend: Backend = "numba"
    most: ClassVar[int] = 1000  # as many times as many numbers are drawn beforehand

    def __post_init__(self) -> None:
        super().__post_init__()
        require_noise(self.dirichlet_alpha, self.dirichlet_fraction, self.temperature)

    @property
    def choices(self) -> tuple[int, int]:
        return self.simulations, self.simulations

    def draw(self, rng: np.random.Generator, roots: int, actions: int) -> Noise:
        gamma = rng.standard_gamma(self.dirichlet_alpha, size=(roots, actions))
        # A choice per simulation and depth, and a simulation goes no deeper than its number.
        uniform = rng.random((roots, *self.choices))
        return replace(super().draw(rng, roots, actions), gamma=gamma, uniform=uniform)

    def noisy(self, opening: Opening, noise: Noise) -> Opening:
        return with_dirichlet(opening, noise.gamma, self.dirichlet_fraction)

    def rule(self, explore: bool) -> RegularizedRule:
        return RegularizedRule(self.c, self.min_range, sampled=explore)

    def read(self, grown: Grown, opening: Opening, guide: Guide) -> Plan:  # noqa: ARG002
        """Target and action are the policy's; without simulations, the prior's."""
        row = grown.tree.row()
        policy = self.rule(explore=False).policy(row)
        return Plan(
            action=(policy.log() + self.temperature * guide.gumbel).argmax(1),
            visits=row.visits.long(),
            value=row.value[:, 0],
            q=grown.q,
            target=policy,
            tree=grown.tree,
        )
