"""What a feature says about a number: each head maps features to parameters, and those to a loss and a mean.

One interface: `head(feature)` gives parameters, `head.loss(parameters, target)` negative log-likelihoods (...),
`head.mean(parameters)` the expected value (...) in the units of the target.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.core.options import Count, Natural, Rate
from worldmodels.nn.mlp import MLP
from worldmodels.nn.norm import NormKind
from worldmodels.ops.bins import expectation, symexp_bins, two_hot_loss


class TwoHotHead(nn.Module):
    """A distribution over `bins` exponentially spaced values between -symexp(limit) and symexp(limit).

    It learns means over many orders of magnitude with gradients of one scale, and says exactly 0 before it has
    learned anything. Hafner et al. (2024), "Robust predictions".
    """

    def __init__(
        self,
        size_in: int,
        *,
        units: Count = 256,
        layers: Natural = 1,
        bins: int = 255,
        limit: Rate = 20.0,
        norm: NormKind = "rms",
    ) -> None:
        super().__init__()
        self.mlp = MLP(size_in, units, layers, bins, norm=norm, out_scale=0.0)
        self.bins: Tensor
        self.register_buffer("bins", symexp_bins(bins, limit=limit), persistent=False)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch K"]:
        return self.mlp(feature)

    def loss(self, logits: Float[Tensor, "*batch K"], target: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return two_hot_loss(logits, target, self.bins)

    def mean(self, logits: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
        return expectation(logits, self.bins)


class BinaryHead(nn.Module):
    """The probability of a yes, such as that the world goes on."""

    def __init__(self, size_in: int, *, units: Count = 256, layers: Natural = 1, norm: NormKind = "rms") -> None:
        super().__init__()
        self.mlp = MLP(size_in, units, layers, 1, norm=norm)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        return self.mlp(feature).squeeze(-1)

    def loss(self, logit: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return F.binary_cross_entropy_with_logits(logit.float(), target.float(), reduction="none")

    def mean(self, logit: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return torch.sigmoid(logit.float())  # half precision rounds 0.999 to 1
