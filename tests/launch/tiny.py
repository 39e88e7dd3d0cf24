"""The smallest stage that acts, learns and draws random numbers; with it a whole run takes a second."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from worldmodels.core.experience import Batch, Obs
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.stage.stage import Group, Scalars, Stage


class Tiny(Stage):
    """Predicts rewards from observations and noise, and acts at random as long as it explores.

    `burst_at` makes the loss NaN at that update; `nap` seconds pass in every update.
    """

    def __init__(self, spec: EnvSpec, *, model: Any = None, burst_at: int | None = None, nap: float = 0.0) -> None:
        super().__init__(spec)
        self.net = nn.Linear(sum(array.size for array in spec.obs.values()), 1)
        self.burst_at, self.nap = burst_at, nap

    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        obs = torch.cat([x.flatten(2).float() for x in batch.obs.values()], -1)[:, :-1]
        noise = torch.randn_like(batch.reward)
        guess = self.net(obs).squeeze(-1) + 0.1 * noise
        loss = ((guess - batch.reward).square() * batch.mask).mean()
        if self.burst_at is not None and self.global_step + 1 == self.burst_at:
            loss = loss * float("nan")
        if self.nap:
            time.sleep(self.nap)
        return {"reward": loss}, {"guess": guess.mean()}

    def groups(self) -> list[Group]:
        return [Group("net", self.net, 1e-2)]

    def policy(self) -> TinyPolicy:
        return TinyPolicy(self)


class TinyPolicy:
    """Random while exploring, else the last action."""

    extras: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, stage: Tiny) -> None:
        self.stage = stage

    def initial(self, width: int) -> Tensor:
        return torch.zeros(width)

    def act(
        self, obs: Obs, first: np.ndarray, memory: Tensor, *, explore: bool, rng: Rng
    ) -> tuple[np.ndarray, Tensor, Obs]:
        count, width = self.stage.spec.action_size, len(first)
        if explore:
            return rng.numpy.integers(count, size=width), memory + 1, {}
        return np.full(width, count - 1), memory + 1, {}
