"""Parts of a latent model whose latents are vectors: small, and quick on a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.options import Count, Natural
from worldmodels.core.spec import EnvSpec
from worldmodels.model.latent import demand_axes
from worldmodels.nn.encoder import Encoder
from worldmodels.nn.mlp import MLP, Activation, Scheme, init_weights
from worldmodels.nn.norm import NormKind


class VectorRepresentation(nn.Module):
    """Observations by way of an encoder to vectors of `size` numbers."""

    def __init__(
        self,
        spec: EnvSpec,
        encoder: Callable[..., Encoder],
        *,
        size: Count = 128,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        self.encoder = encoder(spec, norm=norm, activation=activation, init=init)
        self.out = nn.Linear(self.encoder.size, size)
        init_weights(self.out, init)
        self.shape = (size,)

    def forward(self, obs: Mapping[str, Tensor]) -> Float[Tensor, "*batch D"]:
        return self.out(self.encoder(obs))


class VectorDynamics(nn.Module):
    """What an action adds to a latent, by `layers` layers of `units`; without `residual`, what it makes of it."""

    def __init__(
        self,
        shape: tuple[int, ...],
        actions: int,
        *,
        units: Count = 256,
        layers: Natural = 1,
        residual: bool = True,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        demand_axes(shape, 1, "model/dynamics=vector")
        (size,) = shape
        self.residual = residual
        self.mlp = MLP(size + actions, units, layers, size, norm=norm, activation=activation, init=init)

    def forward(
        self, latent: Float[Tensor, "*batch D"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch D"]:
        change = self.mlp(torch.cat([latent, action.to(latent.dtype)], -1))
        return latent + change if self.residual else change


class Flat(nn.Flatten):
    """All numbers of a latent in a row, as a head takes them."""

    def __init__(self, shape: tuple[int, ...], **_: object) -> None:
        super().__init__(-len(shape))
        self.size = math.prod(shape)
