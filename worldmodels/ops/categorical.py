"""Groups of categorical variables as log-probabilities (..., S, K): S groups of K classes. All in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float32
from torch import Tensor


def mixed(logits: Float[Tensor, "*batch K"], mix: float = 0.01) -> Float32[Tensor, "*batch K"]:
    """Probabilities (1 - mix) softmax(logits) + mix uniform; none is below mix / K.

    Hafner et al. (2023), "World model learning". On the CPU, K of 16 and more is many times faster than less.
    """
    probs = logits.float().softmax(-1)
    return probs if mix == 0 else torch.add(mix / probs.shape[-1], probs, alpha=1 - mix)


def unimix(logits: Float[Tensor, "*batch K"], mix: float = 0.01) -> Float32[Tensor, "*batch K"]:
    """The logarithm of `mixed`."""
    return logits.float().log_softmax(-1) if mix == 0 else mixed(logits, mix).log()


def uniform(shape: Sequence[int], like: Tensor, rng: torch.Generator | None = None) -> Float[Tensor, "..."]:
    """Numbers in [0, 1) on the device of `like`; drawn where rng lives, None is torch's global generator."""
    device = like.device if rng is None else rng.device
    return torch.rand(tuple(shape), generator=rng, device=device).to(like.device)


def draw(
    probs: Float[Tensor, "*batch K"],
    rng: torch.Generator | None = None,
    *,
    noise: Float[Tensor, "*batch"] | None = None,
) -> Float[Tensor, "*batch K"]:
    """One-hot draws without gradient, by inverting the distribution function; `noise` is uniform, drawn ahead of time.

    It takes one random number per variable, where the Gumbel-max trick takes one per class.
    """
    noise = uniform(probs.shape[:-1], probs, rng) if noise is None else noise
    below = probs.detach().cumsum(-1)
    # The last sum is 1 up to rounding; scaling by it keeps the index inside.
    index = (below <= noise.unsqueeze(-1) * below[..., -1:]).sum(-1, keepdim=True).clamp_(max=below.shape[-1] - 1)
    return torch.zeros_like(below).scatter_(-1, index, 1.0)


def sample(log_probs: Float[Tensor, "*batch K"], rng: torch.Generator | None = None) -> Float[Tensor, "*batch K"]:
    """`draw` from log-probabilities."""
    return draw(log_probs.exp(), rng)


def mode(log_probs: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    """One-hot of the likeliest class, without gradient."""
    chosen = log_probs.detach().argmax(-1, keepdim=True)
    return torch.zeros_like(log_probs).scatter_(-1, chosen, 1.0)


def straight_through(
    probs: Float[Tensor, "*batch K"],
    rng: torch.Generator | None = None,
    *,
    noise: Float[Tensor, "*batch"] | None = None,
) -> Float[Tensor, "*batch K"]:
    """One-hot draws whose gradient is that of the probabilities. Bengio et al. (2013); Hafner et al. (2021), alg. 1."""
    drawn = draw(probs, rng, noise=noise)
    # The bracket is exactly 0, so that the draws stay exactly one-hot.
    return drawn + (probs - probs.detach()) if probs.requires_grad else drawn


def entropy(log_probs: Float[Tensor, "*batch S K"]) -> Float[Tensor, "*batch"]:
    """Entropy in nats, summed over groups."""
    return -(log_probs.exp() * log_probs).sum((-2, -1))


def kl(p_log: Float[Tensor, "*batch S K"], q_log: Float[Tensor, "*batch S K"]) -> Float[Tensor, "*batch"]:
    """KL(p || q) in nats, summed over groups."""
    return (p_log.exp() * (p_log - q_log)).sum((-2, -1))


def balanced_kl(
    post: Float[Tensor, "*batch S K"],
    prior: Float[Tensor, "*batch S K"],
    *,
    free_bits: float = 1.0,
    dyn: float = 1.0,
    rep: float = 0.1,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """The weighted KL loss of each moment, and the plain KL to watch (detached).

    dyn max(free_bits, KL(sg(post) || prior)) + rep max(free_bits, KL(post || sg(prior))), clamped after the sum over
    groups; free_bits is in nats, in spite of its name. Hafner et al. (2023), equation 5. DreamerV2's balance alpha
    (2021, algorithm 2) is free_bits=0, dyn=alpha, rep=1 - alpha.
    """
    dynamics, representation = kl(post.detach(), prior), kl(post, prior.detach())
    loss = dyn * dynamics.clamp(min=free_bits) + rep * representation.clamp(min=free_bits)
    return loss, dynamics.detach()
