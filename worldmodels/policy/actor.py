"""A stochastic actor with a critic beside it, and the policy that it makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldmodels.core.experience import Obs
from worldmodels.core.options import Count, Natural, Options
from worldmodels.core.protocols import Memory
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.nn.encoder import Encoder, to_tensors
from worldmodels.nn.mlp import MLP, Activation, Scheme
from worldmodels.nn.norm import NormKind
from worldmodels.ops import categorical

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Choices:
    """A distribution over numbered actions, from log-probabilities (..., actions)."""

    log_probs: Float[Tensor, "*N actions"]

    def sample(self, rng: torch.Generator) -> Tensor:
        """Drawn on the CPU, where `rng` lives, so that a run draws the same actions on any device."""
        return categorical.sample(self.log_probs.cpu(), rng).argmax(-1)

    def mode(self) -> Tensor:
        return self.log_probs.argmax(-1).cpu()

    def log_prob(self, raw: Tensor) -> Tensor:
        return self.log_probs.gather(-1, raw.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        return -(self.log_probs.exp() * self.log_probs).sum(-1)

    @staticmethod
    def action(raw: Tensor) -> Tensor:
        return raw


@dataclass(frozen=True)
class Numbers:
    """Independent normals (..., A); the world gets their tanh.

    Probabilities are those of the raw draw: squashing multiplies both sides of a ratio by the same factor, and the raw
    number can not be had back from a tanh close to 1.
    """

    mean: Float[Tensor, "*N A"]
    log_std: Float[Tensor, " A"]

    def sample(self, rng: torch.Generator) -> Tensor:
        mean = self.mean.cpu()
        return mean + self.log_std.exp().cpu() * torch.randn(mean.shape, generator=rng)

    def mode(self) -> Tensor:
        return self.mean.cpu()

    def log_prob(self, raw: Tensor) -> Tensor:
        distance = (raw - self.mean) * torch.exp(-self.log_std)
        return (-0.5 * distance.square() - self.log_std - _HALF_LOG_TAU).sum(-1)

    def entropy(self) -> Tensor:
        each = self.log_std + 0.5 + _HALF_LOG_TAU
        return each.sum().expand(self.mean.shape[:-1])

    @staticmethod
    def action(raw: Tensor) -> Tensor:
        return raw.tanh()


class ActorCritic(nn.Module):
    """Observations (..., *shape) to a distribution over actions and a value (...).

    `shared` lets actor and critic use one encoder and one torso of `layers` layers of `units`; else each has its own.
    The actor's last layer starts small, so that the first policy is nearly uniform.
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        encoder: Annotated[Mapping[str, Any], Options(Encoder)],
        units: Count = 256,
        layers: Natural = 1,
        shared: bool = True,
        norm: NormKind = "none",
        activation: Activation = "relu",
        init: Scheme = "orthogonal",
    ) -> None:
        super().__init__()
        style: dict[str, Any] = {"norm": norm, "activation": activation, "init": init}

        def trunk() -> tuple[nn.Sequential, int]:
            eye = Encoder(spec, **{**style, **encoder})
            torso = MLP(eye.size, units, layers, **style)
            return nn.Sequential(eye, torso), torso.size

        self.trunk, size = trunk()
        self.critic_trunk = None if shared else trunk()[0]
        self.actor = MLP(size, 0, 0, spec.action_size, out_scale=0.01, init=init)
        self.critic = MLP(size, 0, 0, 1, init=init)
        self.log_std = None if spec.discrete else nn.Parameter(torch.zeros(spec.action_size))

    def forward(self, obs: Mapping[str, Tensor]) -> tuple[Choices | Numbers, Float[Tensor, "*N"]]:
        feature = self.trunk(obs)
        logits = self.actor(feature)
        made = Choices(logits.log_softmax(-1)) if self.log_std is None else Numbers(logits, self.log_std)
        return made, self._value(obs, feature)

    def value(self, obs: Mapping[str, Tensor]) -> Float[Tensor, "*N"]:
        return self._value(obs, self.trunk(obs) if self.critic_trunk is None else None)

    def _value(self, obs: Mapping[str, Tensor], feature: Tensor | None) -> Tensor:
        mine = feature if self.critic_trunk is None else self.critic_trunk(obs)
        return self.critic(mine).squeeze(-1)


class ActorPolicy:
    """Acts with an `ActorCritic` that it shares with its stage; without exploration it takes the likeliest action.

    Extras: `logprob` and `value` (N,) float32 and, for continuous actions, `raw` (N, A), the draw before the tanh.
    """

    def __init__(self, net: ActorCritic) -> None:
        self.net = net
        self.extras = {name: ArraySpec((), "float32") for name in ("logprob", "value")}
        if net.log_std is not None:
            self.extras["raw"] = ArraySpec(tuple(net.log_std.shape), "float32")

    def initial(self, width: int) -> Memory:  # noqa: ARG002 (the contract of every policy)
        return None

    @torch.no_grad()
    def act(
        self,
        obs: Obs,
        first: Bool[np.ndarray, " N"],  # noqa: ARG002 (without memory nothing can be stale)
        memory: Memory,
        *,
        explore: bool,
        rng: Rng,
    ) -> tuple[np.ndarray, Memory, Obs]:
        device = next(self.net.parameters()).device
        made, value = self.net(to_tensors(obs, device))
        raw = made.sample(rng.torch) if explore else made.mode()
        extras = {"logprob": made.log_prob(raw.to(device)), "value": value}
        if isinstance(made, Numbers):
            extras["raw"] = raw
        return made.action(raw).numpy(), memory, {name: x.cpu().numpy() for name, x in extras.items()}
