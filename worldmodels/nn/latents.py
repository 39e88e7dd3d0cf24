"""The stochastic part of a belief: S variables, each drawn as K numbers from P parameters.

One interface for both kinds. A network gives `raw` parameters (..., S, P); `distribution` makes of them what the other
functions take, always in float32; `draw` gives (..., S, K) with gradients. Sums run over variables, and all quantities
are in nats. Each variable takes one uniform number of noise, so that noise can be drawn for all moments ahead of time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from worldmodels.core.errors import ConfigError
from worldmodels.ops import categorical

_SMALLEST = 2.0**-25  # half a step of float32's uniform numbers: their zero stands for what lies below the first step
_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


@runtime_checkable
class Latents(Protocol):
    """What models and losses may ask of latents."""

    @property
    def stoch(self) -> int:
        """Variables, S."""
        ...

    @property
    def width(self) -> int:
        """Numbers that one variable is drawn as, K."""
        ...

    @property
    def parameters(self) -> int:
        """Raw parameters of one variable, P."""
        ...

    def distribution(self, raw: Float[Tensor, "*batch S P"]) -> Float32[Tensor, "*batch S P"]: ...

    def draw(
        self,
        raw: Float[Tensor, "*batch S P"],
        rng: torch.Generator | None = None,
        *,
        noise: Float[Tensor, "*batch S"] | None = None,
    ) -> Float[Tensor, "*batch S K"]: ...

    def mode(self, raw: Float[Tensor, "*batch S P"]) -> Float[Tensor, "*batch S K"]:
        """The likeliest draw, without gradient."""
        ...

    def log_prob(
        self, distribution: Float32[Tensor, "*batch S P"], drawn: Float[Tensor, "*batch S K"]
    ) -> Float32[Tensor, "*batch"]: ...

    def kl(self, p: Float32[Tensor, "*batch S P"], q: Float32[Tensor, "*batch S P"]) -> Float32[Tensor, "*batch"]:
        """KL(p || q)."""
        ...

    def entropy(self, distribution: Float32[Tensor, "*batch S P"]) -> Float32[Tensor, "*batch"]: ...


@dataclass(frozen=True)
class Categorical:
    """One of `classes` each, one-hot; raw parameters are logits, distributions log-probabilities.

    A share `unimix` of the probability is uniform. Gradients of draws are those of the probabilities, straight-through.
    Hafner et al. (2021), algorithm 1; Hafner et al. (2023), "World model learning".
    """

    stoch: int
    classes: int
    unimix: float = 0.01

    @property
    def width(self) -> int:
        return self.classes

    @property
    def parameters(self) -> int:
        return self.classes

    def distribution(self, raw: Float[Tensor, "*batch S K"]) -> Float32[Tensor, "*batch S K"]:
        return categorical.unimix(raw, self.unimix)

    def draw(
        self,
        raw: Float[Tensor, "*batch S K"],
        rng: torch.Generator | None = None,
        *,
        noise: Float[Tensor, "*batch S"] | None = None,
    ) -> Float[Tensor, "*batch S K"]:
        return categorical.straight_through(categorical.mixed(raw, self.unimix), rng, noise=noise)

    def mode(self, raw: Float[Tensor, "*batch S K"]) -> Float[Tensor, "*batch S K"]:
        return categorical.mode(raw.float())

    def log_prob(
        self, distribution: Float32[Tensor, "*batch S K"], drawn: Float[Tensor, "*batch S K"]
    ) -> Float32[Tensor, "*batch"]:
        return (distribution * drawn).sum((-2, -1))

    def kl(self, p: Float32[Tensor, "*batch S K"], q: Float32[Tensor, "*batch S K"]) -> Float32[Tensor, "*batch"]:
        return categorical.kl(p, q)

    def entropy(self, distribution: Float32[Tensor, "*batch S K"]) -> Float32[Tensor, "*batch"]:
        return categorical.entropy(distribution)


@dataclass(frozen=True)
class Gaussian:
    """One normal number each; distributions are mean and deviation side by side, (..., S, 2).

    The deviation is 2 sigmoid(raw) + 0.1, as pydreamer has it (DreamerV2's code halves the argument).
    """

    stoch: int
    width: int = 1
    parameters: int = 2

    def distribution(self, raw: Float[Tensor, "*batch S 2"]) -> Float32[Tensor, "*batch S 2"]:
        mean, spread = raw.float().unbind(-1)
        return torch.stack([mean, 2 * torch.sigmoid(spread) + 0.1], -1)

    def draw(
        self,
        raw: Float[Tensor, "*batch S 2"],
        rng: torch.Generator | None = None,
        *,
        noise: Float[Tensor, "*batch S"] | None = None,
    ) -> Float[Tensor, "*batch S 1"]:
        noise = categorical.uniform(raw.shape[:-1], raw, rng) if noise is None else noise
        mean, deviation = self.distribution(raw).unbind(-1)
        # By inverting the distribution function: torch's own normal draws depend on how many are asked for at once.
        return torch.addcmul(mean, deviation, torch.special.ndtri(noise.float().clamp(min=_SMALLEST))).unsqueeze(-1)

    def mode(self, raw: Float[Tensor, "*batch S 2"]) -> Float[Tensor, "*batch S 1"]:
        return raw.detach().float()[..., :1]

    def log_prob(
        self, distribution: Float32[Tensor, "*batch S 2"], drawn: Float[Tensor, "*batch S 1"]
    ) -> Float32[Tensor, "*batch"]:
        mean, deviation = distribution.unbind(-1)
        distance = (drawn.squeeze(-1) - mean) / deviation
        return -(distance.square() / 2 + deviation.log() + _HALF_LOG_TAU).sum(-1)

    def kl(self, p: Float32[Tensor, "*batch S 2"], q: Float32[Tensor, "*batch S 2"]) -> Float32[Tensor, "*batch"]:
        mean, deviation = p.unbind(-1)
        other, spread = q.unbind(-1)
        ratio, distance = deviation / spread, (mean - other) / spread
        return ((ratio.square() + distance.square() - 1) / 2 - ratio.log()).sum(-1)

    def entropy(self, distribution: Float32[Tensor, "*batch S 2"]) -> Float32[Tensor, "*batch"]:
        return (distribution[..., 1].log() + 0.5 + _HALF_LOG_TAU).sum(-1)


def make_latents(stoch: int, classes: int, unimix: float) -> Latents:
    """Categorical ones, or Gaussian ones if there are no classes."""
    if classes == 1:
        raise ConfigError(
            "latents of one class",
            "several classes, or none: classes=0 is Gaussian",
            "set model.recurrence.classes to 0, or to 2 and more",
        )
    return Categorical(stoch, classes, unimix) if classes else Gaussian(stoch)
