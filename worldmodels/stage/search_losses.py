"""What the words of a model's heads cost, and how wrong they are."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from worldmodels.model.muzero import MuZero
from worldmodels.nn.heads import ScalarHead
from worldmodels.stage.search_targets import Targets
from worldmodels.stage.stage import Scalars


def read(
    model: MuZero, latents: Float[Tensor, "B M ..."], targets: Targets
) -> tuple[dict[str, Float[Tensor, "B M"]], Scalars, Float[Tensor, " B"]]:
    """Costs at each moment, by their names in `Scales`; what is worth watching; and how wrong each first value was."""
    targets = replace(targets, reward=model.owed(targets.reward))
    reward = model.told("reward", latents[:, 1:])
    paid = model.number("reward").loss(reward, targets.reward) * targets.paid
    each = {"reward": F.pad(paid, (1, 0))}
    if model.by_actions:
        head, value = model.number("q"), of_actions(model.told("q", latents), targets.action)
    else:
        head, value = model.number("value"), model.told("value", latents)
        logits = model.prior(latents).log_softmax(-1)
        each["policy"] = -(targets.policy * logits).sum(-1) * targets.decided
        each["entropy"] = (logits.exp() * logits).sum(-1) * targets.decided
    each["value"] = head.loss(value, targets.value) * targets.worth
    with torch.no_grad():
        told, surprise = watch(model.number("reward").mean(reward), head, head.mean(value), targets)
        if not model.by_actions:
            told["policy_entropy"] = -each["entropy"].sum() / targets.decided.sum().clamp(min=1)
    return each, told, surprise


def watch(
    reward: Float[Tensor, "B K"], head: ScalarHead, value: Float[Tensor, "B M"], targets: Targets
) -> tuple[Scalars, Float[Tensor, " B"]]:
    """How far rewards and values, which the head said, are from their targets; of the first values also each."""
    off, count = (value - targets.value).abs() * targets.worth, targets.worth.sum().clamp(min=1)
    told = {
        "value": (value * targets.worth)[:, 0].mean(),
        "surprise": off[:, 0].mean(),
        "value_error": off[:, -1].sum() / targets.worth[:, -1].sum().clamp(min=1),
        "reward_error": ((reward - targets.reward).abs() * targets.paid).sum() / targets.paid.sum().clamp(min=1),
    }
    if math.isfinite(head.reach):
        told["value_clipped"] = ((targets.value.abs() > head.reach) * targets.worth).sum() / count
    return told, off[:, 0]


def of_actions(parameters: Float[Tensor, "B M A P"], action: Int64[Tensor, "B M"]) -> Float[Tensor, "B M P"]:
    """What is told of the actions that were taken."""
    index = action[..., None, None].expand(*action.shape, 1, parameters.shape[-1])
    return parameters.gather(-2, index).squeeze(-2)
