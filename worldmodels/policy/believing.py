"""Believe, then act: a world model keeps the memory, an action head reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from worldmodels.core.belief import Belief
from worldmodels.core.experience import Obs
from worldmodels.core.protocols import WorldModel
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.model.unroll import fresh
from worldmodels.nn.action import ActionHead
from worldmodels.nn.encoder import to_tensors

Mind = tuple[Belief, Tensor]  # what is believed (N, ...), and the action that was taken since (N, A)


class Believing:
    """A policy in the beliefs of a world model, for N worlds at once; it shares the weights of model and actor.

    Meets `core.protocols.Policy`. All draws come from the torch half of the generator handed to `act`, on the CPU.
    """

    def __init__(self, spec: EnvSpec, model: WorldModel, actor: ActionHead) -> None:
        self.spec, self.model, self.actor = spec, model, actor

    @property
    def device(self) -> torch.device:
        return next(self.actor.parameters()).device

    def initial(self, width: int) -> Mind:
        return self.model.initial(width), torch.zeros(width, self.spec.action_size, device=self.device)

    @torch.no_grad()
    def act(
        self, obs: Obs, first: Bool[np.ndarray, " N"], memory: Mind, *, explore: bool, rng: Rng
    ) -> tuple[np.ndarray, Mind, Obs]:
        belief = self.believe(obs, first, memory, rng)
        parameters = self.actor(belief.feature)
        action = self.actor.sample(parameters, rng.torch) if explore else self.actor.mode(parameters)
        if self.spec.discrete:
            return action.argmax(-1).cpu().numpy(), (belief, action), {}
        action = action.clamp(-1, 1)  # as the world will take it
        return action.cpu().numpy(), (belief, action), {}

    def believe(self, obs: Obs, first: Bool[np.ndarray, " N"], memory: Mind, rng: Rng) -> Any:
        """The belief (N, ...) after a look; a memory that is stale counts as none."""
        device = self.device
        # A run is restored before its model moves to the GPU, so a restored memory may lie elsewhere.
        belief, action = memory[0].map(lambda x: x.to(device)), memory[1].to(device)
        opening = torch.from_numpy(first).to(device)
        belief = fresh(belief, self.model.initial(len(first)), opening)
        embed = self.model.encode(to_tensors(obs, device))
        return self.model.observe(belief, action * ~opening.unsqueeze(-1), embed, rng=rng.torch)
