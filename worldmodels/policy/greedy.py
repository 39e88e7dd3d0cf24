"""Epsilon-greedy over action values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Obs
from worldmodels.core.options import Count, Share
from worldmodels.core.protocols import Memory
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec
from worldmodels.nn.encoder import to_tensors

Values = Callable[[Mapping[str, Tensor]], Float[Tensor, "N actions"]]


class Epsilon(nn.Module):
    """The share of random actions, from `start` to `end` over the first `steps` env steps, then constant.

    A stage keeps it as a submodule, so how many steps were explored is saved with the weights, and a restored agent
    explores as it did when it was saved. linear: a straight line; exponential: a constant factor per step.
    """

    acted: Tensor

    def __init__(
        self,
        start: Share = 1.0,
        end: Share = 0.05,
        steps: Count = 50_000,
        kind: Literal["linear", "exponential"] = "linear",
    ) -> None:
        super().__init__()
        if not (0 <= end <= 1 and 0 <= start <= 1 and steps >= 1) or (kind == "exponential" and min(start, end) == 0):
            raise ConfigError(
                f"epsilon from {start} to {end} over {steps} steps, {kind}",
                "0 to 1 over at least one step; an exponential one above 0",
                "set stage.epsilon.start=1.0 stage.epsilon.end=0.05 stage.epsilon.steps=50000, for example",
            )
        if kind not in ("linear", "exponential"):
            raise ConfigError(f"epsilon.kind={kind!r}", "linear or exponential", "choose one of them")
        self.start, self.end, self.steps, self.kind = start, end, steps, kind
        self.register_buffer("acted", torch.zeros((), dtype=torch.int64))

    @property
    def value(self) -> float:
        done = min(int(self.acted) / self.steps, 1.0)
        if self.kind == "linear":
            return self.start + done * (self.end - self.start)
        return self.start * (self.end / self.start) ** done

    def advance(self, steps: int) -> None:
        self.acted += steps


class Greedy:
    """The action of highest value, or, with probability epsilon while exploring, any. Remembers nothing.

    `values` maps observations (N, ...) to action values (N, actions); it is shared with the stage, not copied.
    """

    def __init__(self, values: Values, epsilon: Epsilon) -> None:
        self.values, self.epsilon = values, epsilon
        self.extras: dict[str, ArraySpec] = {}  # tells nothing; said here, because asking it would count as exploring

    def initial(self, width: int) -> Memory:  # noqa: ARG002 (the contract of every policy)
        return None

    def act(
        self,
        obs: Obs,
        first: Bool[np.ndarray, " N"],
        memory: Memory,
        *,
        explore: bool,
        rng: Rng,
    ) -> tuple[Int64[np.ndarray, " N"], Memory, Obs]:
        best, count = self._best(obs)
        if explore:
            # Both draws are always made, so that the stream of numbers does not depend on the weights.
            random = rng.numpy.random(len(first)) < self.epsilon.value
            best = np.where(random, rng.numpy.integers(count, size=len(first)), best)
            self.epsilon.advance(len(first))
        return best, memory, {}

    @torch.no_grad()
    def _best(self, obs: Obs) -> tuple[Int64[np.ndarray, " N"], int]:
        values = self.values(to_tensors(obs, self.epsilon.acted.device))
        return values.argmax(-1).cpu().numpy(), values.shape[-1]
