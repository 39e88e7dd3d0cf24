"""Returns and advantages along windows of experience.

Time as in `core.experience`: reward[:, t] comes on arriving at the observation that value[:, t + 1] belongs to. `cont`
is 0 where the world ended, and nothing is bootstrapped there. `mask` is False where no step was taken: on padding, and
on the row by which a window crosses from an episode's final observation to the next first one. Sums stop in front of
such a row and bootstrap from its value, so a truncated episode keeps its bootstrap and never learns from the next one.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def discounted(
    reward: Float[Tensor, "B T"],
    cont: Float[Tensor, "B T"],
    *,
    discount: float,
    mask: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, "B T"]:
    """Discounted sum of rewards from each step to the window's or episode's end, without any bootstrap."""
    value = torch.zeros_like(reward[:, :1]).expand(-1, reward.shape[1] + 1)
    return lambda_return(reward, value, cont, discount=discount, lam=1.0, mask=mask)


def n_step(
    reward: Float[Tensor, "B T"],
    value: Float[Tensor, "B T+1"],
    cont: Float[Tensor, "B T"],
    *,
    discount: float,
    n: int,
    fewer: Int64[Tensor, "B T"] | None = None,
    mask: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, "B T"]:
    """Rewards of the next n steps plus the discounted value of where they lead. Sutton & Barto (2018), section 7.1.

    Fewer than n steps are summed where the window or the episode ends before, and where `fewer` says so, from 1 to n.
    """
    last, scale = value[:, -1:], discount * cont
    total = found = value[:, :-1]
    for steps in range(1, n + 1):
        total = reward + scale * torch.cat([total[:, 1:], last], 1)
        if mask is not None:
            total = torch.where(mask, total, value[:, :-1])
        found = total if fewer is None else torch.where(fewer >= steps, total, found)
    return found


def lambda_return(
    reward: Float[Tensor, "B T"],
    value: Float[Tensor, "B T+1"],
    cont: Float[Tensor, "B T"],
    *,
    discount: float,
    lam: float,
    mask: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, "B T"]:
    """Return from each step, mixing bootstrap horizons by lam. value[:, t] belongs to the start of step t.

    lam = 0 is the one-step target, lam = 1 the discounted sum with a bootstrap at the end. Where mask is False it is
    the value itself. Sutton & Barto (2018), chapter 12; Hafner et al. (2023), "Critic learning".
    """
    scale = discount * cont
    one_step = reward + scale * (1 - lam) * value[:, 1:]
    if mask is not None:
        one_step, scale = torch.where(mask, one_step, value[:, :-1]), scale * mask
    return _backward_sum(one_step, scale * lam, value[:, -1])


def gae(
    reward: Float[Tensor, "B T"],
    value: Float[Tensor, "B T+1"],
    cont: Float[Tensor, "B T"],
    *,
    discount: float,
    lam: float,
    mask: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, "B T"]:
    """Generalised advantage of each step, 0 where mask is False. Schulman et al. (2016), equation 16.

    Advantage + value[:, :-1] is the lambda return.
    """
    scale = discount * cont
    surprise = reward + scale * value[:, 1:] - value[:, :-1]
    if mask is not None:
        surprise, scale = torch.where(mask, surprise, 0), scale * mask
    return _backward_sum(surprise, scale * lam, torch.zeros_like(value[:, -1]))


def _backward_sum(
    term: Float[Tensor, "B T"], scale: Float[Tensor, "B T"], end: Float[Tensor, " B"]
) -> Float[Tensor, "B T"]:
    """x[t] = term[t] + scale[t] * x[t + 1], from x[T] = end."""
    out: list[Tensor] = []
    for now, factor in zip(reversed(term.unbind(1)), reversed(scale.unbind(1)), strict=True):
        end = now + factor * end
        out.append(end)
    return torch.stack(out[::-1], 1)
