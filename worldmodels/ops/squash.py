"""Rewards as a learner may take them."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

ClipRewards = Literal["tanh", "sign"]


def clip_rewards(reward: Float[Tensor, "*batch"], how: ClipRewards | None) -> Float[Tensor, "*batch"]:
    """Their tanh, their sign, or themselves: `clip_rewards` of DreamerV2's code, where None is `identity`."""
    if how is None:
        return reward
    return reward.tanh() if how == "tanh" else reward.sign()
