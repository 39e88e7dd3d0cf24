"""Features that know observations without showing them: they are held against the encoder's embeddings."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from worldmodels.core.options import Rate
from worldmodels.nn.mlp import Scheme, init_weights

RepresentationLoss = Literal["barlow", "infonce"]


class Representation(nn.Module):
    """A linear guess (F to E) of each moment's embedding from its feature, and how well it tells the embeddings apart.

    The embeddings are targets: no gradient reaches the encoder from here, only through the features.
    R2-Dreamer (2026, arXiv 2603.18202): barlow is its loss, infonce the alternative of its code.
    """

    def __init__(
        self,
        feature: int,
        embed: int,
        *,
        loss: RepresentationLoss = "barlow",
        scale: Rate = 0.05,
        redundancy: Rate = 5e-4,
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        self.projector = nn.Linear(feature, embed, bias=False)  # whose mean barlow takes out anyway
        self.kind, self.scale, self.redundancy = loss, scale, redundancy
        init_weights(self.projector, init)

    def forward(self, feature: Float[Tensor, "*N F"]) -> Float[Tensor, "*N E"]:
        return self.projector(feature)

    def loss(
        self, feature: Float[Tensor, "*N F"], embed: Float[Tensor, "*N E"], valid: Bool[Tensor, "*N"]
    ) -> Float32[Tensor, ""]:
        """Times `scale`, over all valid moments together."""
        # In fixed shapes, with weights instead of a selection, so that it compiles and captures.
        guess, target = self(feature).flatten(0, -2).float(), embed.detach().flatten(0, -2).float()
        weight = valid.flatten().to(guess.dtype)
        if self.kind == "barlow":
            return self.scale * barlow(guess, target, weight, self.redundancy)
        return self.scale * infonce(guess, target, weight)


def barlow(
    guess: Float32[Tensor, "N E"], target: Float32[Tensor, "N E"], weight: Float32[Tensor, " N"], redundancy: float
) -> Float32[Tensor, ""]:
    """How far the correlations of guessed with true coordinates are from the identity; weight is 0 or 1 per row.

    sum_i (C_ii - 1)^2 + redundancy sum_{i != j} C_ij^2. Zbontar et al. (2021), equation 1, with one side fixed.
    """
    with torch.autocast(guess.device.type, enabled=False):
        count = weight.sum()
        cross = (_standard(guess, weight, count) * weight[:, None]).T @ _standard(target, weight, count) / count
        own = cross.diagonal()
        return (own - 1).square().sum() + redundancy * (cross.square().sum() - own.square().sum())


def infonce(
    guess: Float32[Tensor, "N E"], target: Float32[Tensor, "N E"], weight: Float32[Tensor, " N"]
) -> Float32[Tensor, ""]:
    """Cross-entropy of telling which of all targets belongs to a guess, by their dot products. Oord et al. (2018)."""
    with torch.autocast(guess.device.type, enabled=False):
        scores = (guess @ target.T).masked_fill(weight == 0, -torch.inf)  # what is not valid is no candidate
        found = scores.logsumexp(-1) - (guess * target).sum(-1)
        return torch.where(weight > 0, found, 0).sum() / weight.sum()


def _standard(x: Float32[Tensor, "N E"], weight: Float32[Tensor, " N"], count: Tensor) -> Float32[Tensor, "N E"]:
    """Coordinates with mean 0 and deviation 1 over the rows that count."""
    mean = (weight @ x) / count
    variance = (weight @ (x - mean).square()) / (count - 1).clamp(min=1)
    return (x - mean) / (variance.clamp(min=1e-16).sqrt() + 1e-8)  # the root of 0 has no gradient
