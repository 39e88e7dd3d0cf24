"""Learn how the world goes on, without acting in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from worldmodels.core.experience import Batch
from worldmodels.core.spec import EnvSpec
from worldmodels.data.replay import Replay
from worldmodels.data.rollout import Rollout
from worldmodels.model.recall import keep
from worldmodels.model.rssm import RSSM, RSSMBelief
from worldmodels.stage.freeze import freeze as turn_off
from worldmodels.stage.model_loss import Learned, ModelLoss, learn, watch
from worldmodels.stage.optim import Optim
from worldmodels.stage.stage import Group, Scalars, Stage


class WorldModel(Stage):
    """Trains a world model on recorded experience; offers no policy. `freeze` names parts of it that do not learn."""

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
    ) -> None:
        super().__init__(spec)
        self.model = model(spec)
        self.optim, self.loss = optim or Optim(), loss or ModelLoss()
        turn_off(self.model, freeze)
        self._newest: RSSMBelief | None = None

    @property
    def model_learns(self) -> bool:
        """Whether this update moves the world model."""
        return any(p.requires_grad for p in self.model.parameters())

    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        learned = self.look(batch)
        return learned.losses, learned.metrics

    def look(self, batch: Batch) -> Learned:
        """Beliefs along the batch, with losses while the model learns."""
        learned = learn(self.model, batch, self.loss) if self.model_learns else watch(self.model, batch)
        if self.training:  # or else the windows are others, to be judged by
            draws = len(learned.seen) // len(batch.mask)
            self._newest = learned.beliefs.map(lambda x: x.detach()[::draws])
        return learned

    def beliefs(self) -> Mapping[str, Tensor]:
        return {} if self._newest is None else keep(self.model, self._newest)

    def groups(self) -> list[Group]:
        return self.optim.groups({"model": self.model})

    def optimizer(self, groups: list[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        return self.optim.make(groups, fused=fused)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        self.optim.warm(optimizer, self.updates)
        super().optimizer_step(epoch, batch_idx, optimizer, *args, **kwargs)
