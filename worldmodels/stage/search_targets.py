"""What a model for search is to learn from lived steps: rewards, values, and what was found to be best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from worldmodels.core.experience import Batch
from worldmodels.ops.returns import n_step
from worldmodels.ops.scatter import scattered
from worldmodels.policy.searching import LIVED, POLICY, VALUE
from worldmodels.stage.dqn import connected


@dataclass(frozen=True)
class Horizon:
    """How far a window reaches: so many steps are imagined, and the value of each moment looks `n_step` further.

    With `shorten_every` it looks one step less far for each so many updates that the moment is old.
    """

    unroll: int
    n_step: int
    discount: float
    shorten_every: int | None = None

    def fewer(self, batch: Batch, now: int) -> Int64[Tensor, "B T"] | None:
        """How far it looks from each moment, if not from all alike; `now` is the number of updates."""
        if self.shorten_every is None:
            return None
        age = (now - batch.extras[LIVED]).long() // self.shorten_every
        return (self.n_step - age).clamp(min=1)


@dataclass(frozen=True)
class Targets:
    """Of B windows at moments 0 to K, of which the first is seen and K are imagined.

    `action[:, k]` is what was done at moment k. Where the world has ended, nothing more is paid, there is no policy,
    and actions are drawn, alike in whichever share of a batch. Flags say where a target is known.
    """

    action: Int64[Tensor, "B M"]
    reward: Float[Tensor, "B K"]  # on arrival at moments 1 to K
    value: Float[Tensor, "B M"]
    policy: Float[Tensor, "B M A"]
    paid: Bool[Tensor, "B K"]  # of reward
    worth: Bool[Tensor, "B M"]  # of value
    decided: Bool[Tensor, "B M"]  # of policy
    seen: Bool[Tensor, "B M"]  # whether there was anything to see


@torch.no_grad()
def targets(batch: Batch, horizon: Horizon, value: Float[Tensor, "B _"] | None = None, *, now: int = 0) -> Targets:
    """value: of each observation (B, T + 1), to bootstrap from; without, what the searches said of each step.

    now: the number of updates so far.
    """
    depth = horizon.unroll
    lived = connected(batch)
    steps, moment = lived.sum(1, keepdim=True), torch.arange(depth + 1, device=lived.device)
    over = (batch.terminated & lived).any(1, keepdim=True)
    lives, policy = moment < steps, batch.extras[POLICY][:, : depth + 1]
    drawn = scattered(*_names(batch), torch.tensor(now, device=lived.device), moment) % policy.shape[-1]
    return Targets(
        action=torch.where(lived[:, : depth + 1], batch.action[:, : depth + 1], drawn),
        reward=(batch.reward * lived)[:, :depth],
        value=returns(batch, lived, horizon, value, now)[:, : depth + 1],
        policy=policy,
        paid=lived[:, :depth] | over,
        worth=lives | over,
        decided=lives & (policy.sum(-1) > 0),
        seen=(moment <= steps) & (steps > 0),
    )


def unsearched(batch: Batch, horizon: Horizon) -> Bool[Tensor, "B T"]:
    """Steps lived at random, so that nobody said what they are worth, at which some sum of rewards ends."""
    lived = connected(batch)
    nearest = horizon.n_step if horizon.shorten_every is None else 1
    moment = torch.arange(lived.shape[1], device=lived.device)
    return lived & ((moment >= nearest) | ~_followed(lived)) & (batch.extras[POLICY].sum(-1) == 0)


def _followed(lived: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Steps after which another was lived, inside the window."""
    return F.pad(lived[:, 1:], (0, 1))


def _names(batch: Batch) -> tuple[Int64[Tensor, "B 1"], Int64[Tensor, "B 1"]]:
    """What tells windows apart, in whichever share of a batch they are."""
    rows = torch.arange(len(batch.mask), device=batch.mask.device)
    episode, step = (rows, rows) if batch.key is None else batch.key.unbind(1)
    return episode[:, None], step[:, None]


def returns(
    batch: Batch, lived: Bool[Tensor, "B T"], horizon: Horizon, value: Float[Tensor, "B T+1"] | None, now: int
) -> Float[Tensor, "B T"]:
    """Rewards of the next `n_step` steps and the value of where they lead; 0 where the world has ended.

    Of the moment after the last step, be it that a clock cut the episode, nobody has searched: without `value`, sums
    stop before it.
    """
    going = ~batch.terminated
    if value is None:
        value = F.pad(batch.extras[VALUE] * lived, (0, 1))
        summed = lived & (_followed(lived) | batch.terminated)
    else:
        value, summed = value * F.pad(lived & going, (1, 0), value=True), lived
    fewer = horizon.fewer(batch, now)
    return n_step(
        batch.reward, value, going.float(), discount=horizon.discount, n=horizon.n_step, fewer=fewer, mask=summed
    )
