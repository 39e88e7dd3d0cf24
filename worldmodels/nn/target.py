"""Things that follow slowly: a copy of a network, and the spread of returns."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Share


class Target(nn.Module):
    """A copy of a network that moves `rate` of the way towards it at every `every`-th update; it gets no gradients.

    rate=1 and every=1000 is DQN's hard copy, rate=0.02 DreamerV3's slow critic. The network itself is handed to
    `update`, not kept, so that its parameters are registered once. Everything is in the state dict.
    """

    count: Tensor

    def __init__(self, module: nn.Module, *, rate: Share = 1.0, every: Count = 1) -> None:
        super().__init__()
        if not 0 < rate <= 1 or every < 1:
            raise ConfigError(
                f"a target with rate={rate}, every={every}",
                "a rate above 0, up to 1, and at least one update between two moves",
                "set stage.target.rate=1.0 stage.target.every=1000 for copies at times, or 0.02 and 1 for a slow one",
            )
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.rate, self.every = rate, every
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def reset(self, source: nn.Module) -> None:
        """The network as it is now, such as after other weights were loaded."""
        self._copy(source, 1.0)

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        if self.every > 1:
            self.count += 1
            if int(self.count) % self.every:
                return
        self._copy(source, self.rate)

    def _copy(self, source: nn.Module, rate: float) -> None:
        module: Any = self.module
        _follow(module.parameters(), source.parameters(), rate)
        for mine, its in zip(module.buffers(), source.buffers(), strict=True):
            mine.copy_(its)


def _follow(slow: Iterable[Tensor], fast: Iterable[Tensor], rate: float) -> None:
    mine, its = list(slow), [x.detach() for x in fast]
    if rate == 1:
        torch._foreach_copy_(mine, its)  # pyright: ignore[reportPrivateImportUsage]
    else:
        torch._foreach_lerp_(mine, its, rate)  # pyright: ignore[reportPrivateImportUsage]


class Normaliser(nn.Module):
    """The range between two percentiles of what it was shown, averaged over updates (DreamerV3, without debias).

    `scale` is that range, but at least `floor`: small returns are not blown up.
    """

    quantiles: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, rate: float = 0.01, percentiles: tuple[float, float] = (0.05, 0.95), floor: float = 1.0) -> None:
        super().__init__()
        self.rate, self.floor = rate, floor
        self.register_buffer("quantiles", torch.tensor(percentiles), persistent=False)
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @torch.no_grad()
    def update(self, values: Float[Tensor, "N *rest"], counts: Bool[Tensor, " N"] | None = None) -> None:
        """`counts`: which rows do, by default all; nothing moves if none does."""
        values = values.detach().float()
        if counts is not None:
            values = torch.where(counts.view(-1, *[1] * (values.dim() - 1)), values, torch.nan)
        low, high = torch.nanquantile(values.flatten(), self.quantiles)
        self.low.lerp_(torch.where(low.isnan(), self.low, low), self.rate)
        self.high.lerp_(torch.where(high.isnan(), self.high, high), self.rate)

    @property
    def scale(self) -> Float[Tensor, ""]:
        return (self.high - self.low).clamp(min=self.floor)
