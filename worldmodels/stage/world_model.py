"""Learn how the world goes on, without acting in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Options
from worldmodels.core.spec import EnvSpec
from worldmodels.data.replay import Replay
from worldmodels.data.rollout import Rollout
from worldmodels.model.recall import keep
from worldmodels.model.rssm import RSSM, RSSMBelief
from worldmodels.nn.probe import Probes
from worldmodels.ops.squash import clip_rewards
from worldmodels.planner.simulator import Simulator, from_candidates, from_model
from worldmodels.stage.freeze import freeze as turn_off
from worldmodels.stage.model_loss import Learned, ModelLoss, learn, watch
from worldmodels.stage.optim import Optim
from worldmodels.stage.stage import Group, Scalars, Stage, demand_kind


class WorldModel(Stage):
    """Trains a world model on recorded experience; offers no policy. `freeze` names parts of it that do not learn.

    `probes` learn beside it, in a group of their own, to read off its features what the world tells beyond
    observations; they teach the model only with `probes.gradients`.
    """

    unfit = (Replay, Rollout)  # nobody would act
    recalls = True

    def __init__(
        self,
        spec: EnvSpec,
        model: Callable[[EnvSpec], RSSM],
        *,
        optim: Optim | None = None,
        loss: ModelLoss | None = None,
        freeze: Sequence[str] = (),
        probes: Annotated[Mapping[str, Any] | None, Options(Probes)] = None,
    ) -> None:
        super().__init__(spec)
        self.model = model(spec)
        asked = Probes(**(probes or {}))
        self.probes, self.probe_gradients = asked.make(spec, self.model.size), asked.gradients
        self.optim, self.loss = optim or Optim(), loss or ModelLoss()
        self.model.heads.contdisc = self.loss.going
        turn_off(self.model, freeze)
        self._surprise: Tensor | None = None
        self._newest: RSSMBelief | None = None

    @property
    def model_learns(self) -> bool:
        """Whether this update moves the world model."""
        return any(p.requires_grad for p in self.model.parameters())

    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        learned = self.look(batch)
        losses, metrics = self.probe(learned)
        return learned.losses | losses, learned.metrics | metrics

    def taken(self, batch: Batch) -> Batch:
        return replace(batch, reward=clip_rewards(batch.reward, self.loss.clip_rewards))

    def look(self, batch: Batch) -> Learned:
        """Beliefs along the batch, with losses while the model learns."""
        batch = self.taken(batch)
        learned = learn(self.model, batch, self.loss) if self.model_learns else watch(self.model, batch)
        if self.training:  # or else the windows are others, to be judged by
            draws = len(learned.seen) // len(batch.mask)
            self._surprise = learned.surprise
            self._newest = learned.beliefs.map(lambda x: x.detach()[::draws])
        return learned

    def probe(self, learned: Learned) -> tuple[Scalars, Scalars]:
        """Losses and measurements of the probes at arrivals, of which alone the world tells more than it shows."""
        losses, metrics = Scalars(), Scalars()
        for name, probe in self.probes.items():
            feature = learned.beliefs.feature[:, 1:]
            feature = feature if self.probe_gradients else feature.detach()
            losses[f"probe/{name}"], told = probe(feature, learned.batch.extras, learned.batch.mask)
            metrics |= {f"probe/{key}": value for key, value in told.items()}
        return losses, metrics

    def feedback(self) -> Tensor | None:
        """The world model's loss of each window of the last batch (B,)."""
        return self._surprise

    def simulator(self, rng: torch.Generator, candidates: int | None = None) -> Simulator:
        demand_kind(self.spec, candidates)
        model, heads, discount = self.model, self.heads(), self.discount
        if candidates is None:
            return from_model(model, heads, actions=self.spec.action_size, discount=discount, rng=rng)

        def draw(belief: RSSMBelief) -> Tensor:
            return self.propose(belief, candidates, rng)

        return from_candidates(model, heads, draw, discount=discount, rng=rng)

    def propose(self, belief: RSSMBelief, count: int, rng: torch.Generator) -> Float[Tensor, "B K D"]:  # noqa: ARG002
        """So many actions that may be good at each of B beliefs."""
        raise ConfigError(
            f"{type(self).__name__} has no policy to draw from", "an actor", "search in a run of stage=dreamer"
        )

    @property
    def discount(self) -> float:
        """Of rewards one step further on, where a search looks ahead."""
        return self.loss.going

    def heads(self) -> dict[str, Callable[[RSSMBelief], Tensor]]:
        """What is told of a belief, by the names that `planner.simulator.from_model` has for it."""
        model = self.model
        return {
            "reward": lambda belief: model.reward(belief.feature),
            "cont": lambda belief: model.cont(belief.feature),
        }

    def beliefs(self) -> Mapping[str, Tensor]:
        return {} if self._newest is None else keep(self.model, self._newest)

    def groups(self) -> list[Group]:
        return self.optim.groups({"model": self.model, **self.probing})

    @property
    def probing(self) -> dict[str, nn.Module]:
        """The group of the probes, if there are any."""
        return {"probe": self.probes} if self.probes else {}

    def optimizer(self, groups: list[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        return self.optim.make(groups, fused=fused)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        self.optim.schedule(optimizer, self.updates)
        super().optimizer_step(epoch, batch_idx, optimizer, *args, **kwargs)
