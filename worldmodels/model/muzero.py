"""MuZero's model: latents that only have to tell rewards, values and what to do.

Schrittwieser et al. (2020), "Mastering Atari, Go, chess and shogi by planning with a learned model", appendix G. The
parts that give latents their form are in `model.vector`; what moves them is a stage's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.belief import Prediction
from worldmodels.core.errors import ConfigError
from worldmodels.core.spec import EnvSpec
from worldmodels.model.latent import LatentBelief, PrefixBelief
from worldmodels.model.prefix import ValuePrefix
from worldmodels.nn.heads import ScalarHead, TransformedHead
from worldmodels.nn.mlp import MLP, Activation, Scheme
from worldmodels.nn.norm import NormKind

Scaling = Literal["minmax", "none"]
NARROW = 1e-5  # the least range that a latent is stretched from


class MuZero(nn.Module):
    """Representation, dynamics and heads for reward, value and policy. Meets `core.protocols.WorldModel`.

    `representation(spec)` maps observations (..., *) to latents (..., *shape), which it tells as `shape`; `dynamics(
    shape, actions)` follows one-hot actions; `neck(shape)` gives each head its features. With scaling=minmax the
    numbers of each latent reach from 0 to 1. Rewards are read off the latent of arrival; with `prefix`, it is their sum
    that is told, see `model.prefix`. With `q`, values of actions take the place of `value` and `prior`: the best one's
    is the value, and a search takes them for its prior.
    """

    def __init__(  # noqa: PLR0913 (each is an option of its config)
        self,
        spec: EnvSpec,
        representation: Callable[..., Any],
        dynamics: Callable[..., nn.Module],
        neck: Callable[..., Any],
        reward: Callable[..., ScalarHead],
        value: Callable[..., ScalarHead] | None = None,
        prior: Callable[..., MLP] | None = None,
        q: Callable[..., ScalarHead] | None = None,
        prefix: Callable[..., ValuePrefix] | None = None,
        *,
        scaling: Scaling = "minmax",
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        if not spec.discrete:
            do = "set stage=dreamer, whose actor draws them"
            raise ConfigError(f"{spec.name} has continuous actions", "numbered actions", do)
        self.spec = spec
        style: dict[str, Any] = {"norm": norm, "activation": activation, "init": init}
        self.representation = representation(spec, **style)
        self.shape: tuple[int, ...] = self.representation.shape
        self.scaler = MinMax(len(self.shape)) if scaling == "minmax" else nn.Identity()
        self.dynamics = dynamics(self.shape, spec.action_size, **style)
        made: dict[str, Callable[[int], nn.Module]] = {"reward": lambda size: reward(size, **style)}
        if prefix is not None:
            made["reward"] = lambda size: prefix(size, reward, **style)
        if q is not None:
            made["q"] = lambda size: q(size, rows=spec.action_size, **style)
        elif value is not None and prior is not None:
            made["value"] = lambda size: value(size, **style)
            made["prior"] = lambda size: prior(size, size_out=spec.action_size, out_scale=0.0, **style)
        else:
            lacking = " and ".join(name for name, head in (("value", value), ("prior", prior)) if head is None)
            raise ConfigError(
                f"a model without a head for {lacking}",
                "heads for value and prior, or one for q",
                f"leave model.{lacking.partition(' ')[0]} as it is, or set model.q, as model=muzero_q does",
            )
        self.necks = nn.ModuleDict({name: neck(self.shape, **style) for name in made})
        self.heads = nn.ModuleDict({name: make(int(self.necks[name].size)) for name, make in made.items()})  # pyright: ignore[reportArgumentType]

    @property
    def _alike(self) -> bool:
        """Whether the heads for reward and value tell their numbers in the same way."""
        if self.by_actions:
            return False
        reward, value = self.heads["reward"], self.heads["value"]
        if not (isinstance(reward, TransformedHead) and isinstance(value, TransformedHead)):
            return False
        return (reward.limit, len(reward.bins)) == (value.limit, len(value.bins))

    @property
    def by_actions(self) -> bool:
        """Whether it has values of actions instead of a value and a policy."""
        return "q" in self.heads

    def initial(self, batch: int) -> LatentBelief:
        """A belief that the first look replaces."""
        return self.start(next(self.parameters()).new_zeros(batch, *self.shape))

    def start(self, latent: Float[Tensor, "..."]) -> LatentBelief:
        """Of latents that were seen."""
        return LatentBelief(latent) if self.prefix is None else self.prefix.start(latent, len(self.shape))

    def encode(self, obs: Mapping[str, Tensor]) -> Float[Tensor, "..."]:
        """Latents (..., *shape)."""
        return self.scaler(self.representation(obs))

    def advance(self, latent: Float[Tensor, "..."], action: Float[Tensor, "*batch A"]) -> Float[Tensor, "..."]:
        """Latents on arrival (..., *shape)."""
        return self.scaler(self.dynamics(latent, action)).to(latent.dtype)

    def observe(
        self,
        belief: LatentBelief,  # noqa: ARG002 (what is seen is all that counts)
        action: Float[Tensor, "*batch A"],  # noqa: ARG002
        embed: Float[Tensor, "..."],
        *,
        rng: torch.Generator | None = None,  # noqa: ARG002
    ) -> LatentBelief:
        return self.start(embed)

    def imagine(
        self,
        belief: LatentBelief,
        action: Float[Tensor, "*batch A"],
        *,
        rng: torch.Generator | None = None,  # noqa: ARG002 (nothing is drawn)
    ) -> LatentBelief:
        latent = self.advance(belief.latent, action)
        if self.prefix is None:
            return LatentBelief(latent)
        assert isinstance(belief, PrefixBelief)
        return self.prefix.follow(belief, latent, self.necks["reward"](latent))

    def decode(self, belief: LatentBelief) -> Prediction:
        return Prediction(reward=self.reward(belief))

    def told(self, name: str, latent: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Parameters of a head: reward, value, prior, whose are logits, or q, whose are (..., A, P).

        Where sums of rewards are told, those of reward take latents (B, K, *shape) of the K moments after one was seen.
        """
        return self.heads[name](self.necks[name](latent))

    def reward(self, belief: LatentBelief) -> Float[Tensor, "*batch"]:
        """Expected, of arriving there."""
        if isinstance(belief, PrefixBelief):
            return belief.reward
        return self.number("reward").mean(self.told("reward", belief.latent))

    def owed(self, reward: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """What `told("reward", ...)` of the moments of arrival should say."""
        return reward if self.prefix is None else self.prefix.owed(reward)

    def value(self, latent: Float[Tensor, "..."]) -> Float[Tensor, "*batch"]:
        """Expected discounted return from there."""
        if self.by_actions:
            return self.prior(latent).amax(-1)
        return self.number("value").mean(self.told("value", latent))

    def prior(self, latent: Float[Tensor, "..."]) -> Float[Tensor, "*batch A"]:
        """Logits of a policy; or values of actions, where the model has those."""
        if self.by_actions:
            return self.number("q").mean(self.told("q", latent))
        return self.told("prior", latent).float()

    def foretell(
        self, belief: LatentBelief
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch A"]]:
        """Reward, value and prior, with one look at the two numbers where their heads are alike."""
        latent = belief.latent
        if not self._alike:
            return self.reward(belief), self.value(latent), self.prior(latent)
        both = self.number("value").mean(torch.stack([self.told("reward", latent), self.told("value", latent)]))
        return both[0], both[1], self.prior(latent)

    @property
    def prefix(self) -> ValuePrefix | None:
        """What tells sums of rewards, if it does."""
        head = self.heads["reward"]
        return head if isinstance(head, ValuePrefix) else None

    def number(self, name: str) -> ScalarHead:
        """The head for reward, value or q: what its parameters cost, and their mean."""
        head: Any = self.heads[name]
        return head.head if isinstance(head, ValuePrefix) else head


class MinMax(nn.Module):
    """Latents (..., *shape) of so many `axes` with the least of their numbers at 0, and the greatest at 1."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, latent: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        rows = latent.flatten(latent.dim() - self.axes)
        low, high = rows.amin(-1, keepdim=True), rows.amax(-1, keepdim=True)
        return ((rows - low) / (high - low).clamp(min=NARROW)).view_as(latent)
