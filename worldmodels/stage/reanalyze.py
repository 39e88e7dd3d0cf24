"""Searching again from what was lived, with what is known by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from worldmodels.core.experience import Batch
from worldmodels.core.options import Natural, Share
from worldmodels.model.muzero import LatentBelief, MuZero
from worldmodels.planner.plan import TreePlanner
from worldmodels.planner.simulator import Simulator
from worldmodels.policy.searching import POLICY, VALUE


@dataclass(frozen=True)
class Reanalyze:
    """`ratio` of the windows of each batch are searched anew before they are learned from, every step of them.

    What is found takes the place of what was found before (`data.refresh=true`). Searches do not explore.
    `simulations`: of each; null: those of the planner. Schrittwieser et al. (2021), "Online and Offline Reinforcement
    Learning by Planning with a Learned Model"; there 80 % of all updates, and the stored targets stay as they were.
    """

    ratio: Share = 0.0
    simulations: Natural | None = None

    @torch.no_grad()
    def __call__(
        self, batch: Batch, model: MuZero, simulator: Simulator, planner: TreePlanner
    ) -> tuple[Batch, Mapping[str, Tensor]]:
        """The batch with fresh extras in its first windows (their order is random), and they with `known` (B, T)."""
        known = batch.mask.clone()
        known[round(self.ratio * len(known)) :] = False
        if not known.any():
            return batch, {}
        if self.simulations is not None:
            planner = replace(planner, simulations=self.simulations)
        seen = {name: x[:, :-1][known] for name, x in batch.obs.items()}
        plan = planner.plan(simulator, LatentBelief(model.encode(seen)), rng=np.random.default_rng(0), explore=False)
        fresh = {POLICY: plan.target, VALUE: plan.value}
        newest = {name: _placed(batch.extras[name], known, value) for name, value in fresh.items()}
        return replace(batch, extras={**batch.extras, **newest}), {**newest, "known": known}


def _placed(old: Tensor, where: Tensor, value: Tensor) -> Tensor:
    new = old.clone()
    new[where] = value.to(old)
    return new
