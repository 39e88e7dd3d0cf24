"""Believe, then act: a world model keeps the memory, an action head reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from worldmodels.core.experience import Obs
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.model.recall import keep, keepsakes
from worldmodels.model.rssm import RSSM, RSSMBelief
from worldmodels.model.unroll import fresh
from worldmodels.nn.action import ActionHead
from worldmodels.nn.encoder import to_tensors

Mind = tuple[RSSMBelief, Tensor]  # what is believed (N, ...), and the action that was taken since (N, A)


class Believing:
    """A policy in the beliefs of a world model, for N worlds at once; it shares the weights of model and actor.

    Meets `core.protocols.Policy`. All draws come from the torch half of the generator handed to `act`, on the CPU.
    With `tells` its extras are its beliefs, see `core.protocols.Telling`, and that they are known.
    """

    def __init__(self, spec: EnvSpec, model: RSSM, actor: ActionHead, *, tells: bool = False) -> None:
        self.spec, self.model, self.actor = spec, model, actor
        self.extras: dict[str, ArraySpec] = {}
        if tells:
            self.extras = {f"belief.{name}": array for name, array in keepsakes(model).items()}
            self.extras["belief.known"] = ArraySpec((), "bool")

    def telling(self) -> Believing:
        return Believing(self.spec, self.model, self.actor, tells=True)

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
        told = self._told(belief) if self.extras else {}
        if self.spec.discrete:
            return action.argmax(-1).cpu().numpy(), (belief, action), told
        action = action.clamp(-1, 1)  # as the world will take it
        return action.cpu().numpy(), (belief, action), told

    def _told(self, belief: Any) -> Obs:
        kept = {f"belief.{name}": value.cpu().numpy() for name, value in keep(self.model, belief).items()}
        kept["belief.known"] = np.ones(len(belief.deter), bool)
        return {name: value.astype(self.extras[name].dtype, copy=False) for name, value in kept.items()}

    def believe(self, obs: Obs, first: Bool[np.ndarray, " N"], memory: Mind, rng: Rng) -> Any:
        """The belief (N, ...) after a look; a memory that is stale counts as none."""
        device = self.device
        # A run is restored before its model moves to the GPU, so a restored memory may lie elsewhere.
        belief, action = memory[0].map(lambda x: x.to(device)), memory[1].to(device)
        opening = torch.from_numpy(first).to(device)
        belief = fresh(belief, self.model.initial(len(first)), opening)
        embed = self.model.encode(to_tensors(obs, device))
        return self.model.observe(belief, action * ~opening.unsqueeze(-1), embed, rng=rng.torch)
