"""From features back to observations, by the kind of each array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Natural
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.nn.conv import ConvDecoder
from worldmodels.nn.encoder import float_shape
from worldmodels.nn.mlp import MLP
from worldmodels.nn.norm import NormKind
from worldmodels.ops.bins import symexp, symlog


class Decoder(nn.Module):
    """One head per observation. `means` and `losses` speak in the layout at rest: (h, w, C), colours in [0, 1].

    images: squared error, summed over pixels and channels; planes: Bernoulli per cell; symbols: categorical per
    channel of a cell; vectors: squared error of symlog values. Hafner et al. (2024), "World model learning"; the
    Bernoulli planes are kenjyoung/dreamerv2_JAX's choice for MinAtar.
    """

    def __init__(
        self,
        spec: EnvSpec,
        size_in: int,
        *,
        units: Count = 256,
        layers: Natural = 1,
        depth: Count = 16,
        grid: Literal["conv", "mlp"] = "conv",
        norm: NormKind = "rms",
    ) -> None:
        super().__init__()
        self.spec = spec
        if grid not in ("conv", "mlp"):
            raise ConfigError(f"grid={grid!r}", "conv or mlp", "choose one of them")
        self.heads = nn.ModuleDict()
        for name, array in spec.obs.items():
            shape = float_shape(array)
            if array.kind == "image" or (array.kind != "vector" and grid == "conv"):
                self.heads[name] = ConvDecoder(size_in, shape, depth, norm=norm)
            else:
                self.heads[name] = MLP(size_in, units, layers, int(torch.Size(shape).numel()), norm=norm)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> dict[str, Float[Tensor, "*batch ..."]]:
        """Parameters of each observation's distribution, (..., h, w, C) or (..., *shape)."""
        return {name: self._shaped(self.spec.obs[name], head(feature)) for name, head in self.heads.items()}

    def losses(
        self, parameters: Mapping[str, Tensor], obs: Mapping[str, Shaped[Tensor, "*batch ..."]]
    ) -> dict[str, Tensor]:
        """How surprising the observations are, (...) each; for squared errors up to a constant."""
        return {name: loss(self.spec.obs[name], value, obs[name]) for name, value in parameters.items()}

    def means(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: mean(self.spec.obs[name], value) for name, value in parameters.items()}

    @staticmethod
    def _shaped(array: ArraySpec, value: Tensor) -> Tensor:
        if array.kind == "vector":
            return value.unflatten(-1, array.shape) if array.shape else value.squeeze(-1)
        shape = float_shape(array)
        if value.shape[-3:] == shape:
            return value.movedim(-3, -1)
        return value.unflatten(-1, (*shape[1:], shape[0]))


def loss(array: ArraySpec, value: Float[Tensor, "..."], obs: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Negative log-likelihood of one observation, summed over its axes, in float32 whatever the network computed in."""
    value = value.float()
    axes = tuple(range(-len(array.shape), 0))
    if array.kind == "planes":
        each = F.binary_cross_entropy_with_logits(value, obs.to(value.dtype), reduction="none")
    elif array.kind == "symbols":
        each = torch.cat(
            [
                -logits.log_softmax(-1).gather(-1, obs[..., c : c + 1].long())
                for c, logits in enumerate(value.split(array.classes, -1))
            ],
            -1,
        )
    elif array.kind == "image":
        each = (torch.sigmoid(value) - obs.to(value.dtype) / 255).square()
    else:
        each = (value - symlog(obs.to(value.dtype))).square()
    return each.sum(axes) if axes else each


def mean(array: ArraySpec, value: Float[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The expected observation: colours and planes in [0, 1], the likeliest symbol, vectors in their own units."""
    value = value.float()
    if array.kind == "vector":
        return symexp(value)
    if array.kind == "symbols":
        return torch.stack([logits.argmax(-1) for logits in value.split(array.classes, -1)], -1)
    return torch.sigmoid(value)
