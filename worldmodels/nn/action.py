"""What to do, given a feature: a distribution over actions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.options import Count, Natural, Share
from worldmodels.core.spec import EnvSpec
from worldmodels.nn.mlp import MLP
from worldmodels.nn.norm import NormKind
from worldmodels.ops import categorical


class ActionHead(nn.Module):
    """Actions as models take them, (..., A): one-hot choices, or normal around a mean in [-1, 1].

    Choices keep `unimix` of uniform probability, so that none dies out. Hafner et al. (2024), "Actor learning".
    """

    def __init__(
        self,
        spec: EnvSpec,
        size_in: int,
        *,
        units: Count = 256,
        layers: Natural = 3,
        unimix: Share = 0.01,
        norm: NormKind = "rms",
    ) -> None:
        super().__init__()
        self.discrete, self.unimix = spec.discrete, unimix
        size = spec.action_size if spec.discrete else 2 * spec.action_size
        self.mlp = MLP(size_in, units, layers, size, norm=norm, out_scale=0.01)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch P"]:
        """Log-probabilities of the choices, or means and deviations side by side."""
        raw = self.mlp(feature)
        if self.discrete:
            return categorical.unimix(raw, self.unimix)
        mean, spread = raw.float().chunk(2, -1)
        return torch.cat([mean.tanh(), 0.9 * torch.sigmoid(spread + 2) + 0.1], -1)

    def sample(
        self, parameters: Float[Tensor, "*batch P"], rng: torch.Generator | None = None
    ) -> Float[Tensor, "*batch A"]:
        """A draw, without gradient."""
        if self.discrete:
            return categorical.sample(parameters, rng)
        mean, deviation = parameters.detach().chunk(2, -1)
        device = mean.device if rng is None else rng.device
        noise = torch.randn(mean.shape, generator=rng, device=device).to(mean.device)
        return mean + deviation * noise

    def mode(self, parameters: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch A"]:
        return categorical.mode(parameters) if self.discrete else parameters.detach().chunk(2, -1)[0]

    def log_prob(
        self, parameters: Float[Tensor, "*batch P"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        if self.discrete:
            return (parameters * action).sum(-1)
        mean, deviation = parameters.chunk(2, -1)
        each = ((action - mean) / deviation).square() / 2 + deviation.log() + math.log(2 * math.pi) / 2
        return -each.sum(-1)

    def entropy(self, parameters: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch"]:
        """In nats."""
        if self.discrete:
            return -(parameters.exp() * parameters).sum(-1)
        deviation = parameters.chunk(2, -1)[1]
        return (deviation.log() + math.log(2 * math.pi * math.e) / 2).sum(-1)
