"""What to do, given a feature: a distribution over actions."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.core.options import Count, Natural, Rate, Share
from worldmodels.core.spec import EnvSpec
from worldmodels.nn.mlp import MLP, Activation, Scheme
from worldmodels.nn.norm import NormKind
from worldmodels.ops import categorical

Dist = Literal["bounded_normal", "normal_tanh", "tanh_normal"]

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
_NEAR_ONE = 1 - 1e-6  # a tanh closer to 1 than that has no inverse in float32


class ActionHead(nn.Module):
    """Actions as models take them, (..., A): one-hot choices, or independent numbers.

    Choices keep `unimix` of uniform probability, so that none dies out. Hafner et al. (2024), "Actor learning". Numbers
    are normal around a tanh, with a deviation from 0.1 to 1 (bounded_normal, DreamerV3) or 0.01 to 1.01 (normal_tanh,
    pydreamer), or the tanh of a normal whose mean is kept within 5 (tanh_normal, pydreamer; its entropy is that of the
    normal). The last layer starts with weights of `out_scale` times the usual size.
    """

    def __init__(
        self,
        spec: EnvSpec,
        size_in: int,
        *,
        units: Count = 256,
        layers: Natural = 3,
        unimix: Share = 0.01,
        dist: Dist = "bounded_normal",
        norm: NormKind = "rms",
        activation: Activation = "silu",
        init: Scheme = "dreamer",
        out_scale: Rate = 0.01,
    ) -> None:
        super().__init__()
        self.discrete, self.unimix, self.dist = spec.discrete, unimix, dist
        size = spec.action_size if spec.discrete else 2 * spec.action_size
        self.mlp = MLP(size_in, units, layers, size, norm=norm, activation=activation, init=init, out_scale=out_scale)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch P"]:
        """Log-probabilities of the choices, or means and deviations of the normals side by side."""
        raw = self.mlp(feature)
        if self.discrete:
            return categorical.unimix(raw, self.unimix)
        mean, spread = raw.float().chunk(2, -1)
        if self.dist == "tanh_normal":
            return torch.cat([5 * torch.tanh(mean / 5), F.softplus(spread) + 0.1], -1)
        if self.dist == "normal_tanh":
            return torch.cat([mean.tanh(), torch.sigmoid(spread) + 0.01], -1)
        return torch.cat([mean.tanh(), 0.9 * torch.sigmoid(spread + 2) + 0.1], -1)

    def sample(
        self, parameters: Float[Tensor, "*batch P"], rng: torch.Generator | None = None
    ) -> Float[Tensor, "*batch A"]:
        """A draw, without gradient."""
        return self.rsample(parameters.detach(), rng)

    def rsample(
        self, parameters: Float[Tensor, "*batch P"], rng: torch.Generator | None = None
    ) -> Float[Tensor, "*batch A"]:
        """The same draw with a gradient; for choices it is that of their probabilities (straight-through)."""
        if self.discrete:
            return categorical.straight_through(parameters.exp(), rng)
        mean, deviation = parameters.chunk(2, -1)
        device = mean.device if rng is None else rng.device
        noise = torch.randn(mean.shape, generator=rng, device=device).to(mean.device)
        return self._squashed(mean + deviation * noise)

    def mode(self, parameters: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch A"]:
        if self.discrete:
            return categorical.mode(parameters)
        return self._squashed(parameters.detach().chunk(2, -1)[0])

    def log_prob(
        self, parameters: Float[Tensor, "*batch P"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        if self.discrete:
            return (parameters * action).sum(-1)
        mean, deviation = parameters.chunk(2, -1)
        stretch: Tensor | float = 0.0  # logarithm of the tanh's slope
        if self.dist == "tanh_normal":
            action = action.clamp(-_NEAR_ONE, _NEAR_ONE)
            stretch = torch.log1p(-action.square())
            action = action.atanh()
        each = ((action - mean) / deviation).square() / 2 + deviation.log() + _HALF_LOG_TAU + stretch
        return -each.sum(-1)

    def entropy(self, parameters: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch"]:
        """In nats."""
        if self.discrete:
            return -(parameters.exp() * parameters).sum(-1)
        deviation = parameters.chunk(2, -1)[1]
        return (deviation.log() + 0.5 + _HALF_LOG_TAU).sum(-1)

    def _squashed(self, drawn: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        return drawn.tanh() if self.dist == "tanh_normal" else drawn
