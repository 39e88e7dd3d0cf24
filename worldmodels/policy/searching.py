"""Search, act, and tell what the search found: a model that believes what it sees and remembers nothing."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int64

from worldmodels.core.experience import Obs
from worldmodels.core.protocols import Memory
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.model.muzero import LatentBelief, MuZero
from worldmodels.nn.encoder import to_tensors
from worldmodels.planner.plan import Planner
from worldmodels.planner.simulator import Simulator

POLICY, VALUE = "search.policy", "search.value"  # extras: the improved policy, all 0 where nobody searched; the value


class Searching:
    """A planner in the latents of a MuZero, for N worlds at once; it shares the model's weights.

    Meets `core.protocols.Policy`. Its extras are what there is to learn from a search: see `POLICY` and `VALUE`.
    """

    def __init__(self, spec: EnvSpec, model: MuZero, simulator: Simulator, planner: Planner) -> None:
        self.spec, self.model, self.simulator, self.planner = spec, model, simulator, planner
        self.extras = {POLICY: ArraySpec((spec.action_size,), "float32"), VALUE: ArraySpec((), "float32")}

    def by(self, planner: Planner) -> Searching:
        """The same with another search."""
        return Searching(self.spec, self.model, self.simulator, planner)

    def initial(self, width: int) -> Memory:  # noqa: ARG002 (the contract of every policy)
        return None

    @torch.no_grad()
    def act(
        self,
        obs: Obs,
        first: Bool[np.ndarray, " N"],  # noqa: ARG002 (nothing is remembered)
        memory: Memory,
        *,
        explore: bool,
        rng: Rng,
    ) -> tuple[Int64[np.ndarray, " N"], Memory, Obs]:
        device = next(self.model.parameters()).device
        belief = LatentBelief(self.model.encode(to_tensors(obs, device)))
        plan = self.planner.plan(self.simulator, belief, rng=rng.numpy, explore=explore)
        told = {POLICY: plan.target.float().cpu().numpy(), VALUE: plan.value.float().cpu().numpy()}
        return plan.action.cpu().numpy(), memory, told
