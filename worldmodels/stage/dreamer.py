"""Learn a world model, and an actor and a critic inside its dreams.

Hafner et al. (2024), "Mastering Diverse Domains through World Models". Differences: the discount multiplies the
continuation probability instead of being learned by it; imagined trajectories start from `starts` randomly chosen
moments of the batch instead of from all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.core.experience import Batch
from worldmodels.core.options import Count, Rate, Share
from worldmodels.core.spec import EnvSpec
from worldmodels.model.rssm import RSSM, RSSMBelief
from worldmodels.model.unroll import dream
from worldmodels.nn.action import ActionHead
from worldmodels.nn.heads import TwoHotHead
from worldmodels.nn.target import Normaliser, Target
from worldmodels.ops.returns import lambda_return
from worldmodels.policy.believing import Believing
from worldmodels.stage.stage import Group, Scalars, Stage
from worldmodels.stage.world_model import Learned, checked, learn


@dataclass(frozen=True)
class Dreamt:
    """N imagined trajectories of H actions; gradients reach the critic through `opinion`, and nothing else."""

    action: Float[Tensor, "N H A"]
    feature: Float[Tensor, "N H+1 F"]
    opinion: Float[Tensor, "N H+1 K"]  # what the critic says, as logits
    value: Float[Tensor, "N H+1"]
    returns: Float[Tensor, "N H"]  # lambda return from the start of each step
    weight: Float[Tensor, "N H"]  # probability, discounted, that the episode still runs at the start of each step


@dataclass(frozen=True)
class Imagination:
    """How the actor and the critic learn in dreams."""

    horizon: Count = 15  # imagined steps
    starts: Count = 1024  # imagined trajectories per update
    discount: Share = 0.997
    lam: Share = 0.95
    entropy: Rate = 3e-4  # bonus per nat
    slow_rate: Share = 0.02


class Dreamer(Stage):
    """World model, actor and critic in one optimizer with three groups; no loss reaches another group's parameters."""

    def __init__(
        self,
        spec: EnvSpec,
        model: Callable[[EnvSpec], RSSM],
        actor: Callable[[EnvSpec, int], ActionHead],
        critic: Callable[[int], TwoHotHead],
        *,
        rates: Mapping[str, Rate],
        clips: Mapping[str, Rate],
        eps: Rate = 1e-8,
        free_bits: Rate = 1.0,
        scales: Mapping[str, Rate] | None = None,
        imagination: Imagination | None = None,
    ) -> None:
        super().__init__(spec)
        self.model = model(spec)
        self.actor = actor(spec, self.model.size)
        self.critic = critic(self.model.size)
        self.imagination = imagination or Imagination()
        self.slow_critic = Target(self.critic, rate=self.imagination.slow_rate)
        self.normaliser = Normaliser()
        self.rates, self.clips, self.eps = rates, clips, eps
        self.free_bits, self.scales = free_bits, checked(scales)

    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        learned = learn(self.model, batch, scales=self.scales, free_bits=self.free_bits)
        dreamt = self.dream(*self.starts(learned, batch))
        self.normaliser.update(dreamt.returns)
        actor, watched = self.actor_loss(dreamt)
        return learned.losses | {"actor": actor, "critic": self.critic_loss(dreamt)}, learned.metrics | watched

    @torch.no_grad()
    def starts(self, learned: Learned, batch: Batch) -> tuple[RSSMBelief, Float[Tensor, " N"]]:
        """Beliefs (N, ...) to dream from, and 1 where their world goes on, 0 where it has ended."""
        alive = torch.cat([torch.ones_like(batch.mask[:, :1]), ~batch.terminated], 1) & learned.seen
        count = min(self.imagination.starts, alive.numel())
        chosen = torch.randperm(alive.numel(), device=alive.device)[:count]
        beliefs = learned.beliefs.map(lambda x: x.detach().flatten(0, 1)[chosen])
        return beliefs, alive.flatten()[chosen].float()

    @torch.no_grad()
    def dream(self, belief: RSSMBelief, alive: Float[Tensor, " N"]) -> Dreamt:
        plan = self.imagination
        beliefs, action = dream(
            self.model, belief, lambda now: self.actor.sample(self.actor(now.feature)), plan.horizon
        )
        feature = beliefs.feature
        reward, cont = self.model.reward(feature[:, 1:]), self.model.cont(feature[:, 1:])
        with torch.enable_grad():  # one look serves as baseline, as bootstrap, and for the critic's own loss
            opinion = self.critic(feature)
        value = self.critic.mean(opinion.detach())
        returns = lambda_return(reward, value, cont, discount=plan.discount, lam=plan.lam)
        weight = torch.cat([alive[:, None], plan.discount * cont[:, :-1]], 1).cumprod(1)
        return Dreamt(action, feature, opinion, value, returns, weight)

    def actor_loss(self, dreamt: Dreamt) -> tuple[Float[Tensor, ""], Scalars]:
        """REINFORCE with a value baseline, on returns scaled to their 5 to 95 percentile range, plus entropy."""
        parameters = self.actor(dreamt.feature[:, :-1])
        advantage = (dreamt.returns - dreamt.value[:, :-1]) / self.normaliser.scale
        entropy = self.actor.entropy(parameters)
        gain = self.actor.log_prob(parameters, dreamt.action) * advantage + self.imagination.entropy * entropy
        watched = {
            "actor/entropy": entropy.mean(),
            "actor/advantage": advantage.abs().mean(),
            "critic/return": dreamt.returns.mean(),
            "critic/return_range": self.normaliser.scale,
        }
        return -(dreamt.weight * gain).mean(), watched

    def critic_loss(self, dreamt: Dreamt) -> Float[Tensor, ""]:
        """Cross-entropy to the lambda returns, and to the slow critic's own opinion to keep it calm."""
        logits = dreamt.opinion[:, :-1]
        with torch.no_grad():
            calm = self.critic.mean(self.slow_critic(dreamt.feature[:, :-1]))
        return (dreamt.weight * (self.critic.loss(logits, dreamt.returns) + self.critic.loss(logits, calm))).mean()

    def groups(self) -> list[Group]:
        parts = {"model": self.model, "actor": self.actor, "critic": self.critic}
        return [Group(name, part, self.rates[name], self.clips[name], eps=self.eps) for name, part in parts.items()]

    def policy(self) -> Believing:
        return Believing(self.spec, self.model, self.actor)

    def after_update(self) -> None:
        self.slow_critic.update(self.critic)
