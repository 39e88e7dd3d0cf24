"""Scalars of any size: squashed, or spread over bins. All in float32, whatever the logits were computed in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from worldmodels.core.errors import ConfigError


def symlog(x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """sign(x) ln(1 + |x|). Hafner et al. (2023), "Symlog predictions"."""
    return x.sign() * x.abs().log1p()


def symexp(x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The inverse of symlog."""
    return x.sign() * x.abs().expm1()


def value_transform(x: Float[Tensor, "*batch"], *, eps: float = 0.001) -> Float[Tensor, "*batch"]:
    """sign(x) (sqrt(|x| + 1) - 1) + eps x. Pohlen et al. (2018), section 3.2; MuZero, appendix F."""
    size = x.abs()
    return x.sign() * (size / ((size + 1).sqrt() + 1)) + eps * x


def value_transform_inverse(x: Float[Tensor, "*batch"], *, eps: float = 0.001) -> Float[Tensor, "*batch"]:
    """The inverse of value_transform, in a form that does not cancel in float32 and also holds for eps = 0."""
    size = x.abs() + 1 + eps
    root = 2 * size / ((1 + 4 * eps * size).sqrt() + 1)
    return x.sign() * (root - 1) * (root + 1)


def symexp_bins(count: int = 255, *, limit: float = 20.0) -> Float32[Tensor, " K"]:
    """Bin centres, in the units of what is predicted: dense around 0, up to symexp(limit) at both ends.

    An odd count, so that one bin is 0 and the others mirror each other exactly. Hafner et al. (2023), equation 10.
    """
    if count < 3 or count % 2 == 0:
        raise ConfigError(
            f"{count} bins",
            "an odd number of at least 3",
            "set model.reward.bins (or stage.critic.bins) to 255, as DreamerV3 does",
        )
    half = symexp(torch.linspace(-limit, 0, count // 2 + 1))
    return torch.cat([half, -half[:-1].flip(0)])


def linear_bins(low: float, high: float, count: int) -> Float32[Tensor, " K"]:
    """Evenly spaced bin centres from low to high: MuZero's and C51's support."""
    if count < 2 or not low < high:
        raise ConfigError(f"{count} bins from {low} to {high}", "at least 2 bins and low < high", "widen the range")
    return torch.linspace(low, high, count)


def two_hot(x: Float[Tensor, "*batch"], bins: Float32[Tensor, " K"]) -> Float32[Tensor, "*batch K"]:
    """Weights of the two bins around x such that their mean is x; outside the bins all goes to the nearest."""
    index, weight = _neighbours(x, bins)
    return torch.zeros(*x.shape, len(bins), device=x.device).scatter_(-1, index, weight)


def two_hot_loss(
    logits: Float[Tensor, "*batch K"], target: Float[Tensor, "*batch"], bins: Float32[Tensor, " K"]
) -> Float32[Tensor, "*batch"]:
    """Cross-entropy between two_hot(target) and softmax(logits), in nats; no gradient reaches the target."""
    return two_hot_losses(logits, [target], bins)[0]


def two_hot_losses(
    logits: Float[Tensor, "*batch K"], targets: Sequence[Float[Tensor, "*batch"]], bins: Float32[Tensor, " K"]
) -> list[Float32[Tensor, "*batch"]]:
    """`two_hot_loss` for each of several targets; the logarithms, by far the most of it, are taken once."""
    likely = logits.float().log_softmax(-1)
    near = [_neighbours(target.detach(), bins) for target in targets]
    return [-(likely.gather(-1, index) * weight).sum(-1) for index, weight in near]


def expectation(logits: Float[Tensor, "*batch K"], bins: Float32[Tensor, " K"]) -> Float32[Tensor, "*batch"]:
    """Mean of the bins under softmax(logits).

    Bins that mirror each other are added first, so that uniform logits give exactly 0 in spite of bins of 5e8.
    """
    parts = logits.float().softmax(-1) * bins
    half = len(bins) // 2
    pairs = parts[..., :half] + parts[..., -half:].flip(-1)
    return pairs.sum(-1) + parts[..., half : len(bins) - half].sum(-1)


def _neighbours(
    x: Float[Tensor, "*batch"], bins: Float32[Tensor, " K"]
) -> tuple[Int64[Tensor, "*batch 2"], Float32[Tensor, "*batch 2"]]:
    """Indices of the bins below and above x, and their weights."""
    x = x.float().contiguous()
    below = (torch.bucketize(x, bins, right=True) - 1).clamp(0, len(bins) - 2)
    low, high = bins[below], bins[below + 1]
    share = ((x - low) / (high - low)).clamp(0, 1)
    return torch.stack([below, below + 1], -1), torch.stack([1 - share, share], -1)
