"""Linear layers with their activations and initial weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from worldmodels.core.errors import ConfigError
from worldmodels.nn.norm import NormKind, make_norm

Activation = Literal["silu", "relu", "elu", "tanh"]
Scheme = Literal["dreamer", "torch", "xavier", "orthogonal"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU, "elu": nn.ELU, "tanh": nn.Tanh}

# A normal cut at two deviations has 0.8796 of the deviation of a whole one; DreamerV3 stretches it back.
TRUNCATION = 1.1368


@dataclass(frozen=True)
class Manner:
    """How the layers of a model are normed, what follows, and how their weights begin.

    rms, silu and dreamer are DreamerV3's; layer, elu and xavier those of pydreamer's DreamerV2. The norms' eps is their
    paper's: 1e-4 for rms, 1e-3 for layer.
    """

    norm: NormKind = "rms"
    activation: Activation = "silu"
    init: Scheme = "dreamer"


def make_activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise ConfigError(f"activation={name!r}", ", ".join(ACTIVATIONS), "choose one of them")
    return ACTIVATIONS[name]()


def init_weights(module: nn.Module, scheme: Scheme = "dreamer", gain: float = 1.0) -> None:
    """Fill all linear and convolutional weights below `module`, biases with zero.

    dreamer: normal with variance 1 / fan-in, cut at two deviations (DreamerV3); torch: as torch leaves them;
    xavier: uniform, Glorot; orthogonal: as in PPO. `gain` multiplies the weights; 0 makes the output zero.
    """
    if scheme not in ("dreamer", "torch", "xavier", "orthogonal"):
        raise ConfigError(f"init={scheme!r}", "dreamer, torch, xavier or orthogonal", "choose one of them")
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            _fill(layer, scheme, gain)


@torch.no_grad()
def _fill(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, scheme: Scheme, gain: float) -> None:
    if scheme == "dreamer":
        deviation = TRUNCATION / math.sqrt(_fan_in(layer))
        nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    elif scheme == "xavier":
        nn.init.xavier_uniform_(layer.weight)
    elif scheme == "orthogonal":
        nn.init.orthogonal_(layer.weight)
    layer.weight.mul_(gain)
    if layer.bias is not None:
        layer.bias.mul_(gain) if scheme == "torch" else layer.bias.zero_()


def _fan_in(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> int:
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.in_channels * math.prod(layer.kernel_size)


class MLP(nn.Sequential):
    """`depth` times linear, norm, activation; then, if `size_out` is given, one linear layer.

    (..., size_in) to (..., size). `out_scale` multiplies the initial weights of that last layer: 0 starts at zero.
    """

    size: int

    def __init__(
        self,
        size_in: int,
        width: int,
        depth: int,
        size_out: int | None = None,
        *,
        norm: NormKind = "rms",
        activation: Activation = "silu",
        out_scale: float = 1.0,
        init: Scheme = "dreamer",
    ) -> None:
        layers: list[nn.Module] = []
        sizes = [size_in, *[width] * depth]
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), make_norm(norm, after), make_activation(activation)]
        super().__init__(*[layer for layer in layers if not isinstance(layer, nn.Identity)])
        init_weights(self, init, math.sqrt(2) if init == "orthogonal" else 1.0)
        self.size = sizes[-1] if size_out is None else size_out
        if size_out is not None:
            last = nn.Linear(sizes[-1], size_out)
            init_weights(last, init, out_scale)
            self.append(last)
