"""Learn a world model, and an actor and a critic inside its dreams.

Hafner et al. (2024), "Mastering Diverse Domains through World Models"; the options cover DreamerV2 (Hafner et al.,
2021) and its relatives, see the presets in `conf/stage`. Differences of the default: the discount multiplies the
continuation probability instead of being learned by it; imagined trajectories start from `starts` randomly chosen
moments of the batch instead of from all; the critic does not learn from the replay; one rate for each network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.experience import Batch
from worldmodels.core.options import Natural, Options
from worldmodels.core.spec import EnvSpec
from worldmodels.data.rollout import Rollout
from worldmodels.model.rssm import RSSM, RSSMBelief
from worldmodels.nn.action import ActionHead
from worldmodels.nn.heads import ScalarHead
from worldmodels.nn.probe import Probes
from worldmodels.nn.target import Normaliser, Target
from worldmodels.policy.believing import Believing
from worldmodels.stage.behaviour import (
    Imagination,
    Mind,
    ReplayCritic,
    SlowCritic,
    actor_loss,
    choose_starts,
    critic_loss,
    imagine,
    replay_loss,
)
from worldmodels.stage.model_loss import ModelLoss
from worldmodels.stage.optim import Optim
from worldmodels.stage.stage import Group, Scalars
from worldmodels.stage.world_model import WorldModel


class Dreamer(WorldModel):
    """World model, actor and critic in one optimizer with three groups.

    No loss reaches another group's parameters, but for that of `repval.grad`. From update `model_updates` on the world
    model learns no more, with 0 never.
    """

    unfit = (Rollout,)

    def __init__(
        self,
        spec: EnvSpec,
        model: Callable[[EnvSpec], RSSM],
        actor: Callable[[EnvSpec, int], ActionHead],
        critic: Callable[[int], ScalarHead],
        *,
        optim: Optim | None = None,
        loss: ModelLoss | None = None,
        imagination: Imagination | None = None,
        slow_critic: SlowCritic | None = None,
        repval: ReplayCritic | None = None,
        model_updates: Natural | None = None,
        freeze: Sequence[str] = (),
        probes: Annotated[Mapping[str, Any] | None, Options(Probes)] = None,
    ) -> None:
        super().__init__(spec, model, optim=optim, loss=loss, freeze=freeze, probes=probes)
        self.actor = actor(spec, self.model.size)
        self.critic = critic(self.model.size)
        self.imagination, self.slow = imagination or Imagination(), slow_critic or SlowCritic()
        self.repval, self.model_updates = repval or ReplayCritic(), model_updates
        self.slow_critic = Target(self.critic, rate=self.slow.rate, every=self.slow.every)
        plan = self.imagination
        floor = plan.return_norm_floor if plan.return_norm else 1.0
        self.normaliser = Normaliser(plan.return_norm_rate, (plan.return_norm_low, plan.return_norm_high), floor)

    @property
    def model_learns(self) -> bool:
        return super().model_learns and (self.model_updates is None or self.updates < self.model_updates)

    @property
    def mind(self) -> Mind:
        return Mind(self.model, self.actor, self.critic, self.slow_critic)

    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        plan, learned = self.imagination, self.look(batch)
        many = plan.starts if plan.starts == "all" else -(-plan.starts // self.shares)
        starts = choose_starts(learned, many)
        fading = plan.discount / self.loss.going
        dreamt = imagine(self.mind, starts, plan, fading=fading, slow_target=self.slow.target)
        if plan.return_norm and self.training:
            self.normaliser.update(dreamt.returns, starts.seen)
        actor, watched = actor_loss(self.actor, dreamt, plan, self.normaliser.scale)
        probed, told = self.probe(learned)
        losses = learned.losses | {"actor": actor, "critic": critic_loss(self.mind, dreamt, self.slow)} | probed
        if self.repval.scale:
            losses["repval"] = self.repval.scale * replay_loss(
                self.mind,
                learned,
                starts,
                dreamt,
                discount=plan.discount,
                lam=plan.lam,
                slow=self.slow,
                grad=self.repval.grad,
            )
        return losses, learned.metrics | watched | told

    def groups(self) -> list[Group]:
        return self.optim.groups({"model": self.model, "actor": self.actor, "critic": self.critic, **self.probing})

    def policy(self) -> Believing:
        return Believing(self.spec, self.model, self.actor)

    @property
    def discount(self) -> float:
        return self.imagination.discount

    def heads(self) -> dict[str, Callable[[RSSMBelief], Tensor]]:
        actor, critic = self.actor, self.critic
        return {
            **super().heads(),
            "value": lambda belief: critic.mean(critic(belief.feature)),
            "prior": lambda belief: actor(belief.feature),
        }

    def propose(self, belief: RSSMBelief, count: int, rng: torch.Generator) -> Float[Tensor, "B K D"]:
        """The actor's mode, and draws of it."""
        parameters = self.actor(belief.feature)
        many = parameters[:, None].expand(-1, count - 1, -1)
        chosen = torch.cat([self.actor.mode(parameters)[:, None], self.actor.sample(many, rng)], 1)
        return chosen.clamp(-1, 1)  # as the world will take them

    def followers(self) -> list[tuple[Target, nn.Module]]:
        return [(self.slow_critic, self.critic)]

    def after_update(self) -> None:
        self.slow_critic.update(self.critic)
