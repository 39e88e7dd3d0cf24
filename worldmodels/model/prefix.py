"""Rewards as the growth of their sum: when exactly one is paid need not be foreseen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.options import Count
from worldmodels.model.latent import PrefixBelief
from worldmodels.nn.heads import ScalarHead
from worldmodels.nn.mlp import Activation, Scheme, make_activation
from worldmodels.nn.norm import NormKind, make_norm


class ValuePrefix(nn.Module):
    """The sum of rewards, read off what latents show by an LSTM of `units`; it begins anew every `horizon` moments.

    head(size) makes of the LSTM's output the parameters of a number. Ye et al. (2021), "Mastering Atari Games with
    Limited Data", section 4.2; sums are not discounted, as in their code.
    """

    def __init__(
        self,
        size: int,
        head: Callable[..., ScalarHead],
        *,
        units: Count = 512,
        horizon: Count = 5,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        style: dict[str, Any] = {"norm": norm, "activation": activation, "init": init}
        self.memory = nn.LSTMCell(size, units)
        self.after = nn.Sequential(make_norm(norm, units), make_activation(activation))
        self.head = head(units, **style)
        self.horizon, self.units = horizon, units

    def start(self, latent: Float[Tensor, "..."], axes: int) -> PrefixBelief:
        """Of latents (*batch, *shape) that were seen, with a shape of so many axes: nothing is paid yet."""
        batch = latent.shape[: latent.dim() - axes]
        none, nothing = latent.new_zeros(*batch, self.units), latent.new_zeros(batch)
        return PrefixBelief(latent, none, none, nothing, nothing.long(), nothing)

    def follow(
        self, past: PrefixBelief, latent: Float[Tensor, "..."], feature: Float[Tensor, "*batch F"]
    ) -> PrefixBelief:
        """On arrival at latents, which show `feature`."""
        goes_on = (past.age % self.horizon > 0).to(feature.dtype)
        hidden, cell = self._remember(feature, past.hidden * goes_on[..., None], past.cell * goes_on[..., None])
        total = self.head.mean(self.head(self.after(hidden))).to(past.total.dtype)
        return PrefixBelief(latent, hidden, cell, total, past.age + 1, total - past.total * goes_on)

    def forward(self, features: Float[Tensor, "B K F"]) -> Float[Tensor, "B K P"]:
        """Parameters of the sums at K moments after those that were seen."""
        hidden = cell = features.new_zeros(len(features), self.units)
        outputs = list[Tensor]()
        for age, feature in enumerate(features.unbind(1)):
            if age % self.horizon == 0:
                hidden = cell = torch.zeros_like(hidden)
            hidden, cell = self._remember(feature, hidden, cell)
            outputs.append(hidden)
        told = torch.stack(outputs, 1) if outputs else features.new_zeros(len(features), 0, self.units)
        return self.head(self.after(told))

    def owed(self, reward: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """What the sums should be."""
        return torch.cat([piece.cumsum(1) for piece in reward.split(self.horizon, 1)], 1)

    def _remember(self, feature: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        rows = (x.reshape(-1, x.shape[-1]) for x in (feature, hidden, cell))
        now = self.memory(next(rows), (next(rows), next(rows)))
        return now[0].to(hidden.dtype).reshape(hidden.shape), now[1].to(cell.dtype).reshape(cell.shape)
