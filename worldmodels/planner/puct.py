"""MuZero's search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from worldmodels.core.options import Natural, Rate, Share
from worldmodels.planner.plan import Noise, Plan, PolicyPlanner, by_visits, with_dirichlet
from worldmodels.planner.rules import Guide, GumbelRule, PuctRule, completed, require
from worldmodels.planner.search import Backend, Opening
from worldmodels.planner.tree import Grown


@dataclass(frozen=True, kw_only=True)
class Puct(PolicyPlanner):
    """Schrittwieser et al. (2020), appendix B: actions by prior and value.

    scaling: values are scaled to [0, 1] by the extremes of the whole `tree`, as in the paper, or by those among the
    `siblings` and their parent, as in mctx. unvisited: an action that was never visited has the `minimum` of these, as
    in the paper, or the value of its `parent`. min_range: extremes closer than this are taken to be this far apart.
    temperature: actions are drawn by visits^(1 / temperature) while exploring, otherwise the most visited is taken.
    Dirichlet noise goes into the prior of the roots while exploring. target: what is learnt; the shares of the
    `visits`, as in the paper, or the `improved` policy by completed values, with c_visit and c_scale: Danihelka et al.
    (2022), section 4.
    """

    simulations: Natural = 50
    c1: Rate = 1.25
    c2: Rate = 19652.0
    scaling: Literal["tree", "siblings"] = "tree"
    unvisited: Literal["minimum", "parent"] = "minimum"
    min_range: Rate = 1e-8
    dirichlet_alpha: Rate = 0.3
    dirichlet_fraction: Share = 0.25
    temperature: Rate = 1.0
    target: Literal["visits", "improved"] = "visits"
    c_visit: Rate = 50.0
    c_scale: Rate = 0.1
    backend: Backend = "numba"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.target in ("visits", "improved"), f"target={self.target!r}", "visits or improved")
        self._improver  # noqa: B018 (refuses its numbers)
        require_noise(self.dirichlet_alpha, self.dirichlet_fraction, self.temperature)

    def draw(self, rng: np.random.Generator, roots: int, actions: int) -> Noise:
        drawn = super().draw(rng, roots, actions)
        return replace(drawn, gamma=rng.standard_gamma(self.dirichlet_alpha, size=(roots, actions)))

    def noisy(self, opening: Opening, noise: Noise) -> Opening:
        return with_dirichlet(opening, noise.gamma, self.dirichlet_fraction)

    @property
    def _improver(self) -> GumbelRule:
        return GumbelRule(self.c_visit, self.c_scale, self.min_range)

    def rule(self, explore: bool) -> PuctRule:  # noqa: ARG002
        return PuctRule(self.c1, self.c2, self.scaling, self.unvisited, self.min_range)

    def read(self, grown: Grown, opening: Opening, guide: Guide) -> Plan:
        """Without simulations the target is the prior, and never has noise."""
        tree, prior = grown.tree, grown.tree.prior[:, 0]
        visits = tree.visits[:, 0].long()
        counts = visits.to(prior) if self.simulations else prior
        if self.target == "visits":  # of which there are as many as simulations
            target = counts / self.simulations if self.simulations else opening.prior
        else:
            calm = replace(tree.row(), logit=opening.logit, prior=opening.prior)
            target = self._improver.improved(calm, completed(calm)).softmax(1)
        return Plan(
            action=by_visits(counts, prior, guide.gumbel, self.temperature),
            visits=visits,
            value=tree.value[:, 0],
            q=grown.q,
            target=target,
            tree=tree,
        )


def require_noise(alpha: float, fraction: float, temperature: float) -> None:
    """ConfigError for noise that can not be drawn."""
    require(alpha > 0, f"dirichlet_alpha={alpha}", "above 0")
    require(0 <= fraction <= 1, f"dirichlet_fraction={fraction}", "from 0 to 1")
    require(temperature >= 0, f"temperature={temperature}", "at least 0")
