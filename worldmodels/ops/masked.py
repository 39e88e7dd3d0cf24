"""Statistics over the entries that count."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(x: Float[Tensor, "*batch"], mask: Bool[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """Mean over the entries where mask is True, 0 if there are none; elsewhere even nan does not count."""
    return torch.where(mask, x, 0).sum() / mask.sum().clamp(min=1)


def standardise(
    x: Float[Tensor, "*batch"], mask: Bool[Tensor, "*batch"], *, eps: float = 1e-8
) -> Float[Tensor, "*batch"]:
    """The entries shifted and scaled to mean 0 and standard deviation 1 where mask is True, 0 elsewhere."""
    centred = torch.where(mask, x - masked_mean(x, mask), 0)
    return centred / (masked_mean(centred.square(), mask).sqrt() + eps)


def explained_variance(
    prediction: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"], mask: Bool[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """1 - var(target - prediction) / var(target): 1 is perfect, 0 as good as a constant. nan if the target is one."""

    def variance(x: Tensor) -> Tensor:
        return masked_mean((x - masked_mean(x, mask)).square(), mask)

    return 1 - variance(target - prediction) / variance(target)
