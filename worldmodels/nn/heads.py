"""What a feature says about a number: each head maps features to parameters, and those to a loss and a mean.

One interface: `head(feature)` gives parameters, `head.loss(parameters, target)` negative log-likelihoods (...),
`head.mean(parameters)` the expected value (...) in the units of the target.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Natural, Rate
from worldmodels.nn.mlp import MLP, Activation, Scheme
from worldmodels.nn.norm import NormKind
from worldmodels.ops.bins import (
    expectation,
    linear_bins,
    symexp_bins,
    two_hot_loss,
    two_hot_losses,
    value_transform,
    value_transform_inverse,
)

HeadKind = Literal["mse", "symexp_twohot", "transformed_twohot", "categorical"]


class ScalarHead(nn.Module):
    """A number of any size, from features (..., F) by way of parameters (..., K).

    With `rows` it is that many numbers, such as one for each action: parameters (..., rows, K).
    """

    mlp: MLP
    rows: int | None
    reach: float = math.inf  # the greatest number that it can say, up or down

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*rows K"]:
        parameters = self.mlp(feature)
        return parameters if self.rows is None else parameters.unflatten(-1, (self.rows, -1))

    @abstractmethod
    def loss(self, parameters: Float[Tensor, "*batch K"], target: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """No gradient reaches the target."""

    def losses(
        self, parameters: Float[Tensor, "*batch K"], *targets: Float[Tensor, "*batch"]
    ) -> list[Float[Tensor, "*batch"]]:
        """`loss` for each of several targets."""
        return [self.loss(parameters, target) for target in targets]

    @abstractmethod
    def mean(self, parameters: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]: ...


class NormalHead(ScalarHead):
    """The mean of a normal with deviation 1; the loss is half the squared error, so without that density's constant.

    pydreamer's reward head and critic: its deviation of 1 / sqrt(2 pi) times its weight of the variance is the same.
    """

    def __init__(
        self,
        size_in: int,
        *,
        units: Count = 400,
        layers: Natural = 4,
        norm: NormKind = "layer",
        activation: Activation = "elu",
        init: Scheme = "dreamer",
        rows: Count | None = None,
    ) -> None:
        super().__init__()
        self.rows = rows
        self.mlp = MLP(size_in, units, layers, rows or 1, norm=norm, activation=activation, init=init)

    def loss(self, parameters: Float[Tensor, "*batch 1"], target: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return (self.mean(parameters) - target.detach().float()).square() / 2

    def mean(self, parameters: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch"]:
        return parameters.float().squeeze(-1)


class TwoHotHead(ScalarHead):
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
        activation: Activation = "silu",
        init: Scheme = "dreamer",
        rows: Count | None = None,
    ) -> None:
        super().__init__()
        self.rows = rows
        style: dict[str, Any] = {"norm": norm, "activation": activation, "out_scale": 0.0, "init": init}
        self.mlp = MLP(size_in, units, layers, (rows or 1) * bins, **style)
        self.bins: Tensor
        self.register_buffer("bins", symexp_bins(bins, limit=limit), persistent=False)
        self.reach = math.expm1(limit)

    def loss(self, parameters: Float[Tensor, "*batch K"], target: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return two_hot_loss(parameters, target, self.bins)

    def losses(
        self, parameters: Float[Tensor, "*batch K"], *targets: Float[Tensor, "*batch"]
    ) -> list[Float[Tensor, "*batch"]]:
        return two_hot_losses(parameters, targets, self.bins)

    def mean(self, parameters: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
        return expectation(parameters, self.bins)


class TransformedHead(ScalarHead):
    """A distribution over `bins` evenly spaced values of h(x) between -limit and limit; h grows like a square root.

    601 bins up to 300 are MuZero's. The mean is h's inverse of the mean of h, as there: of a number that varies it is
    too small. Schrittwieser et al. (2020), appendix F; h of Pohlen et al. (2018).
    """

    def __init__(
        self,
        size_in: int,
        *,
        units: Count = 256,
        layers: Natural = 1,
        bins: int = 601,
        limit: Rate = 300.0,
        norm: NormKind = "rms",
        activation: Activation = "silu",
        init: Scheme = "dreamer",
        rows: Count | None = None,
    ) -> None:
        super().__init__()
        self.rows = rows
        style: dict[str, Any] = {"norm": norm, "activation": activation, "out_scale": 0.0, "init": init}
        self.mlp = MLP(size_in, units, layers, (rows or 1) * bins, **style)
        self.limit = limit
        self.bins: Tensor
        self.register_buffer("bins", linear_bins(-limit, limit, bins), persistent=False)
        self.reach = float(value_transform_inverse(torch.tensor(limit, device="cpu")))

    def loss(self, parameters: Float[Tensor, "*batch K"], target: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return two_hot_loss(parameters, value_transform(target), self.bins)

    def mean(self, parameters: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
        return value_transform_inverse(expectation(parameters, self.bins))


class SupportHead(ScalarHead):
    """A distribution over the values that a number is known to take; targets count as the nearest of them.

    pydreamer's `reward_decoder_categorical`, for rewards such as -10, 0, 1, 10.
    """

    def __init__(
        self,
        size_in: int,
        *,
        support: Sequence[float],
        units: Count = 400,
        layers: Natural = 4,
        norm: NormKind = "layer",
        activation: Activation = "elu",
        init: Scheme = "dreamer",
        rows: Count | None = None,
    ) -> None:
        super().__init__()
        self.rows = rows
        if len(support) < 2:
            raise ConfigError(
                f"head=categorical with support={list(support)}",
                "at least two values",
                "list those that occur in model.reward.support, or stage.critic.support if it is the critic's head",
            )
        size = (rows or 1) * len(support)
        self.mlp = MLP(size_in, units, layers, size, norm=norm, activation=activation, init=init)
        self.support: Tensor
        self.register_buffer("support", torch.tensor([float(x) for x in support]), persistent=False)

    def loss(self, parameters: Float[Tensor, "*batch K"], target: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        nearest = (target.detach().unsqueeze(-1) - self.support).abs().argmin(-1, keepdim=True)
        return -parameters.float().log_softmax(-1).gather(-1, nearest).squeeze(-1)

    def mean(self, parameters: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
        return (parameters.float().softmax(-1) * self.support).sum(-1)


class BinaryHead(nn.Module):
    """The probability of a yes, such as that the world goes on."""

    def __init__(
        self,
        size_in: int,
        *,
        units: Count = 256,
        layers: Natural = 1,
        norm: NormKind = "rms",
        activation: Activation = "silu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        self.mlp = MLP(size_in, units, layers, 1, norm=norm, activation=activation, init=init)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        return self.mlp(feature).squeeze(-1)

    def loss(self, logit: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return F.binary_cross_entropy_with_logits(logit.float(), target.float(), reduction="none")

    def mean(self, logit: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return torch.sigmoid(logit.float())  # half precision rounds 0.999 to 1


def scalar_head(
    size_in: int,
    *,
    head: HeadKind = "symexp_twohot",
    units: Count = 256,
    layers: Natural = 1,
    bins: int = 255,
    limit: Rate = 20.0,
    support: Sequence[float] = (),
    norm: NormKind = "rms",
    activation: Activation = "silu",
    init: Scheme = "dreamer",
    rows: Count | None = None,
) -> ScalarHead:
    """A head by name; bins and limit are for the two that are two-hot, support is for categorical."""
    style: dict[str, Any] = {"units": units, "layers": layers, "norm": norm, "activation": activation, "init": init}
    style["rows"] = rows
    if head == "mse":
        return NormalHead(size_in, **style)
    if head == "symexp_twohot":
        return TwoHotHead(size_in, bins=bins, limit=limit, **style)
    if head == "transformed_twohot":
        return TransformedHead(size_in, bins=bins, limit=limit, **style)
    if head == "categorical":
        return SupportHead(size_in, support=support, **style)
    raise ConfigError(f"head={head!r}", "mse, symexp_twohot, transformed_twohot or categorical", "choose one of them")
