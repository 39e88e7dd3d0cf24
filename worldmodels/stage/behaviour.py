"""Dreams, and what an actor and a critic learn in them.

Hafner et al. (2024), "Actor critic learning"; with the options of DreamerV2 (Hafner et al., 2021) and of pydreamer. All
speak of values at a moment's start: the reward of arriving there is not in them, in DreamerV2's code it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Rate, Share
from worldmodels.model.rssm import RSSM, RSSMBelief
from worldmodels.model.unroll import dream
from worldmodels.nn.action import ActionHead
from worldmodels.nn.heads import ScalarHead
from worldmodels.nn.target import Target
from worldmodels.ops.masked import masked_mean
from worldmodels.ops.returns import lambda_return
from worldmodels.stage.freeze import fixed
from worldmodels.stage.model_loss import Learned
from worldmodels.stage.stage import Scalars


@dataclass(frozen=True)
class Imagination:
    """How dreams go, and what the actor makes of them.

    `actor_grad` reinforce follows the log-probability of what was done, by how much better it went than the critic
    expected; dynamics follows the return's own gradient through the dream; both is `actor_grad_mix` of the latter and
    the rest of the former. With `return_norm` returns are in units of their range between two quantiles, averaged over
    updates at `return_norm_rate`, but at least `return_norm_floor`. Without `discount_weight` steps are weighed by the
    probability alone that the episode still runs, as in pydreamer.
    """

    horizon: Count = 15  # imagined steps
    starts: Count | Literal["all"] = 1024  # imagined trajectories per update
    discount: Share = 0.997
    lam: Share = 0.95
    entropy: Rate = 3e-4  # bonus per nat
    actor_grad: Literal["reinforce", "dynamics", "both"] = "reinforce"
    actor_grad_mix: Share = 0.1
    return_norm: bool = True
    return_norm_rate: Share = 0.01
    return_norm_low: Share = 0.05
    return_norm_high: Share = 0.95
    return_norm_floor: Rate = 1.0
    discount_weight: bool = True

    def __post_init__(self) -> None:
        if not self.return_norm_low < self.return_norm_high:
            raise ConfigError(
                f"return_norm_low={self.return_norm_low} with return_norm_high={self.return_norm_high}",
                "a low quantile of returns below the high one",
                "set stage.imagination.return_norm_low=0.05 and stage.imagination.return_norm_high=0.95",
            )
        if not self.discount and not self.discount_weight:
            raise ConfigError(
                "discount=0.0 with discount_weight=false",
                "a discount above 0, by which the weights of steps are divided",
                "set stage.imagination.discount=0.997, or stage.imagination.discount_weight=true",
            )
        if self.return_norm and not (self.return_norm_rate and self.return_norm_floor):
            raise ConfigError(
                f"return_norm_rate={self.return_norm_rate}, return_norm_floor={self.return_norm_floor}",
                "both above 0, or returns that are not normed",
                "set stage.imagination.return_norm_rate=0.01 and stage.imagination.return_norm_floor=1.0, "
                "or stage.imagination.return_norm=false",
            )


@dataclass(frozen=True)
class SlowCritic:
    """The copy that follows the critic by `rate` at every `every`-th update.

    `target`: returns bootstrap from it, and it is the actor's baseline (DreamerV2), not the critic itself. `reg` weighs
    the loss that draws the critic towards it (DreamerV3).
    """

    rate: Share = 0.02
    every: Count = 1
    target: bool = False
    reg: Rate = 1.0

    def __post_init__(self) -> None:
        if self.rate == 0:
            raise ConfigError("a slow critic with rate=0", "a rate above 0, up to 1", "set stage.slow_critic.rate=0.02")


@dataclass(frozen=True)
class ReplayCritic:
    """The critic's loss on what really happened, weighed by `scale`; with `grad` it teaches the world model, too."""

    scale: Rate = 0.0
    grad: bool = True


@dataclass(frozen=True)
class Dreamt:
    """N imagined trajectories of H actions. In memory time comes first, see `timewise`.

    The critic learns through `opinion`, which passes no gradient to anything else. Only with actor_grad dynamics or
    both do returns have a gradient, which reaches the actor alone.
    """

    action: Float[Tensor, "N H A"]
    feature: Float[Tensor, "N H+1 F"]
    opinion: Float[Tensor, "N H K"]  # what the critic says at the start of each step
    value: Float[Tensor, "N H+1"]
    returns: Float[Tensor, "N H"]  # lambda return from the start of each step
    weight: Float[Tensor, "N H"]  # probability, discounted, that the episode still runs at the start of each step


@dataclass(frozen=True)
class Starts:
    """N moments to dream from, among those of a batch."""

    belief: RSSMBelief  # (N, ...)
    seen: Bool[Tensor, " N"]  # as in `Learned`
    alive: Float[Tensor, " N"]  # 0 where the world has ended, and where nothing may be learned
    place: Int64[Tensor, " N"] | None  # in the flattened batch; None: all, in order


@torch.no_grad()
def choose_starts(learned: Learned, count: int | Literal["all"]) -> Starts:
    """All moments that were looked at, or as many as asked for, in random order."""
    batch = learned.batch
    alive = torch.cat([torch.ones_like(batch.mask[:, :1]), ~batch.terminated], 1) & learned.seen
    alive, real = alive.flatten().float(), learned.seen.flatten()
    beliefs = learned.beliefs.map(lambda x: x.detach().flatten(0, 1))
    if count == "all":
        return Starts(beliefs, real, alive, None)
    chosen = torch.randperm(alive.numel(), device=alive.device)[: min(count, alive.numel())]
    return Starts(beliefs.map(lambda x: x[chosen]), real[chosen], alive[chosen], chosen)


@dataclass(frozen=True)
class Mind:
    """The networks that take part in dreams."""

    model: RSSM
    actor: ActionHead
    critic: ScalarHead
    slow: Target


def timewise(function: Callable[..., Tensor], *args: Shaped[Tensor, "N T ..."]) -> Shaped[Tensor, "N T ..."]:
    """A function of each moment alone, of arrays in whose memory time comes first: no step of a dream is copied."""
    return function(*(x.transpose(0, 1) for x in args)).transpose(0, 1)


def imagine(mind: Mind, starts: Starts, plan: Imagination, *, fading: float, slow_target: bool) -> Dreamt:
    """Dreams from the starts; each step discounts by `fading` times what the model's continuation head says."""
    critic, blind, features = mind.critic, plan.actor_grad == "reinforce", list[Tensor]()

    def choose(belief: RSSMBelief) -> Tensor:
        features.append(belief.feature)
        # The actor is moved by what its actions lead to, not by what it sees.
        parameters = mind.actor(features[-1].detach())
        return mind.actor.sample(parameters) if blind else mind.actor.rsample(parameters)

    with torch.no_grad() if blind else fixed(mind.model):
        beliefs, actions = dream(mind.model, starts.belief, choose, plan.horizon)
        feature = torch.stack([*features, beliefs[-1].feature]).transpose(0, 1)
        action = torch.stack(actions).transpose(0, 1)
        reward = timewise(mind.model.reward, feature[:, 1:])
        cont = timewise(mind.model.discounted_cont, feature[:, 1:])
    shared = blind and not slow_target  # one look serves as baseline, as bootstrap, and for the critic's own loss
    opinion = timewise(critic, (feature if shared else feature[:, :-1]).detach())
    if slow_target:
        value = timewise(lambda x: critic.mean(mind.slow(x)), feature)
    elif shared:
        value = timewise(critic.mean, opinion.detach())
    else:
        with fixed(critic):
            value = timewise(lambda x: critic.mean(critic(x)), feature)
    returns = lambda_return(reward, value, cont, discount=fading, lam=plan.lam)
    step = fading if plan.discount_weight else fading / plan.discount
    weight = torch.cat([starts.alive[:, None], step * cont.detach()[:, :-1]], 1).cumprod(1)
    return Dreamt(action.detach(), feature.detach(), opinion[:, : plan.horizon], value.detach(), returns, weight)


def actor_loss(
    actor: ActionHead, dreamt: Dreamt, plan: Imagination, scale: Float[Tensor, ""]
) -> tuple[Float[Tensor, ""], Scalars]:
    """Minus the weighted gain: returns in units of `scale`, as `actor_grad` has them, and the entropy bonus."""
    parameters = timewise(actor, dreamt.feature[:, :-1])
    entropy = actor.entropy(parameters)
    advantage = (dreamt.returns.detach() - dreamt.value[:, :-1]) / scale
    gain: Tensor = dreamt.returns / scale
    if plan.actor_grad != "dynamics":
        likely = actor.log_prob(parameters, dreamt.action) * advantage
        mix = plan.actor_grad_mix
        gain = likely if plan.actor_grad == "reinforce" else mix * gain + (1 - mix) * likely
    watched = {
        "actor/entropy": entropy.mean(),
        "actor/advantage": advantage.abs().mean(),
        "critic/return": dreamt.returns.mean(),
        "critic/return_range": scale,
    }
    return -(dreamt.weight * (gain + plan.entropy * entropy)).mean(), watched


def critic_loss(mind: Mind, dreamt: Dreamt, slow: SlowCritic) -> Float[Tensor, ""]:
    """What the critic's opinion costs against the lambda returns and, to keep it calm, against its slow copy's."""
    each = timewise(partial(_against, mind, slow), dreamt.opinion, dreamt.returns, dreamt.feature[:, :-1])
    return (dreamt.weight * each).mean()


def replay_loss(
    mind: Mind, learned: Learned, starts: Starts, dreamt: Dreamt, *, discount: float, lam: float, slow: SlowCritic,
    grad: bool,
) -> Float[Tensor, ""]:  # fmt: skip
    """The critic's loss on the steps that were taken, against lambda returns that bootstrap from dreams.

    The value of a moment is the return of the dream from there; of a moment that no dream began at, what the critic
    says. Hafner et al. (2024), "Critic learning"; there all moments begin one.
    """
    batch, feature = learned.batch, learned.beliefs.feature
    feature = feature if grad else feature.detach()
    opinion = mind.critic(feature)
    with torch.no_grad():
        known = mind.critic.mean(mind.slow(feature) if slow.target else opinion)
        dreams = dreamt.returns[:, 0].to(known.dtype)
        known = dreams.view_as(known) if starts.place is None else _placed(known, starts.place, dreams)
        cont = (~batch.terminated).to(known.dtype)
        returns = lambda_return(batch.reward, known, cont, discount=discount, lam=lam, mask=batch.mask)
    each = _against(mind, slow, opinion[:, :-1], returns, feature[:, :-1])
    return masked_mean(each, batch.mask & learned.seen[:, :-1])


def _placed(known: Tensor, place: Tensor, values: Tensor) -> Tensor:
    return known.flatten().scatter(0, place, values).view_as(known)


def _against(
    mind: Mind, slow: SlowCritic, opinion: Float[Tensor, "B T K"], returns: Float[Tensor, "B T"], feature: Tensor
) -> Float[Tensor, "B T"]:
    if slow.reg == 0:
        return mind.critic.loss(opinion, returns)
    with torch.no_grad():
        calm = mind.critic.mean(mind.slow(feature))
    loss, apart = mind.critic.losses(opinion, returns, calm)
    return loss + slow.reg * apart
