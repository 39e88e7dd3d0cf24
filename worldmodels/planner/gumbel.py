"""Gumbel MuZero's search."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int32
from torch import Tensor

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Natural, Rate
from worldmodels.planner.plan import Noise, Plan, PolicyPlanner
from worldmodels.planner.rules import Guide, GumbelRule, leading, require
from worldmodels.planner.search import Backend, Opening
from worldmodels.planner.tree import Grown

CONSIDERED = 16  # actions, unless max_considered says otherwise


@dataclass(frozen=True, kw_only=True)
class Gumbel(PolicyPlanner):
    """Danihelka et al. (2022): draws actions without replacement, and halves them until the best is left.

    With true action values its policy is never worse than the prior, however few the simulations. max_considered:
    actions drawn at each root, fewer where fewer are valid; null is 16, or all if there are fewer. c_visit and c_scale
    weigh action values against logits. gumbel_scale: of the noise while exploring; there is none otherwise. min_range:
    action values closer than this are taken to be this far apart. As it stands it is the paper's "Full Gumbel MuZero";
    with a PuctRule as `interior` it is what the paper calls "Gumbel MuZero".
    """

    simulations: Natural = 16
    max_considered: Count | None = None
    c_visit: Rate = 50.0
    c_scale: Rate = 0.1
    gumbel_scale: Rate = 1.0
    min_range: Rate = 1e-8
    backend: Backend = "numba"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gumbel_scale >= 0, f"gumbel_scale={self.gumbel_scale}", "a number of at least 0")
        require(self.max_considered is None or self.max_considered >= 1, "max_considered=0", "at least 1, or null")

    def check(self, actions: int) -> None:
        if self.max_considered is not None and self.max_considered > actions:
            raise ConfigError(
                f"planner.max_considered={self.max_considered} of {actions} actions",
                f"at most {actions}, or null",
                f"set planner.max_considered to null, which is {min(CONSIDERED, actions)} here, or to less",
            )

    def draw(self, rng: np.random.Generator, roots: int, actions: int) -> Noise:
        drawn = super().draw(rng, roots, actions)
        return replace(drawn, gumbel=self.gumbel_scale * drawn.gumbel)

    def rule(self, explore: bool) -> GumbelRule:  # noqa: ARG002
        return GumbelRule(self.c_visit, self.c_scale, self.min_range)

    def guide(self, opening: Opening, noise: Noise) -> Guide:
        actions = opening.valid.shape[1]
        table = schedules(self.max_considered or min(CONSIDERED, actions), actions, self.simulations)
        considered = opening.valid.sum(1)
        return replace(super().guide(opening, noise), schedule=table.to(considered.device).index_select(0, considered))

    def read(self, grown: Grown, opening: Opening, guide: Guide) -> Plan:
        """Acts by noise, logit and value among the most visited; the target has no noise.

        Without simulations the action is drawn from the prior, which is the target, too.
        """
        tree, q, improved = grown
        visits = tree.visits[:, 0]
        return Plan(
            action=leading(improved + guide.gumbel, visits, visits.amax(1, keepdim=True), opening.valid),
            visits=visits.long(),
            value=tree.value[:, 0],
            q=q,
            target=improved.softmax(1),
            tree=tree,
        )


@lru_cache(maxsize=64)
def schedules(most: int, actions: int, simulations: int) -> Int32[Tensor, "counts simulations"]:
    """How often the root's action of each simulation was visited before it, by the number of valid actions.

    most: actions that are considered, if so many are valid. Sequential halving of Karnin et al. (2013), as in
    Danihelka et al. (2022), section 3.4: every phase visits the leading actions equally often, then half of them go
    on, and the last two share what is left.
    """
    return torch.tensor([_schedule(min(max(m, 1), most), simulations) for m in range(actions + 1)], dtype=torch.int32)


def _schedule(considered: int, simulations: int) -> list[int]:
    if considered == 1:
        return list(range(simulations))
    phases, leading = math.ceil(math.log2(considered)), considered
    before, order = 0, list[int]()
    while len(order) < simulations:
        rounds = max(1, simulations // (phases * leading))
        order += [before + i for i in range(rounds) for _ in range(leading)]
        before, leading = before + rounds, max(2, leading // 2)
    return order[:simulations]
