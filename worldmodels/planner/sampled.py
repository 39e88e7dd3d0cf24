"""Search among sampled actions, for worlds whose actions are continuous."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from worldmodels.core.errors import SpecError
from worldmodels.core.options import Count
from worldmodels.planner.plan import Noise, Plan
from worldmodels.planner.puct import Puct
from worldmodels.planner.rules import require
from worldmodels.planner.simulator import Drawn, Simulator


@dataclass(frozen=True, kw_only=True)
class Sampled(Puct):
    """Hubert et al. (2021), "Learning and Planning in Complex Action Spaces": each node has `samples` actions.

    All are drawn from the policy there, so their prior is uniform: what is drawn often has many candidates. Difference:
    the first candidate is the policy's mode, so that without simulations and noise it is what is done. The simulator is
    one that draws them, see `planner.simulator.from_candidates`; everything else is MuZero's search.
    `plan.action` are vectors (B, D); `visits`, `q` and `target` are of the candidates, which `candidates_of` tells.
    """

    samples: Count = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        found = f"unimix={self.unimix} of sampled actions, whose prior is uniform as it is"
        require(not self.unimix, found, "unimix=0")

    @property
    def candidates(self) -> int:
        return self.samples

    def plan(
        self,
        simulator: Simulator,
        obs: Any,
        *,
        rng: np.random.Generator,
        explore: bool = True,
        invalid: Bool[Tensor, "B A"] | None = None,
        noise: Noise | None = None,
    ) -> Plan:
        found = super().plan(simulator, obs, rng=rng, explore=explore, invalid=invalid, noise=noise)
        drawn = candidates_of(found)
        rows = torch.arange(len(drawn), device=drawn.device)
        return replace(found, action=drawn[rows, found.action.to(drawn.device)])


def candidates_of(plan: Plan) -> Tensor:
    """The root's candidates (B, K, D), of a search that a simulator with candidates was given to. SpecError."""
    latents = plan.tree.latents
    root = latents.read(torch.zeros(len(plan.visits), dtype=torch.int64))
    if not isinstance(root, Drawn):
        raise SpecError(
            "a search among sampled actions in a simulator that draws none",
            "latents that are planner.simulator.Drawn; planner=sampled is for continuous actions",
            "make the simulator by planner.simulator.from_candidates",
        )
    return root.action
