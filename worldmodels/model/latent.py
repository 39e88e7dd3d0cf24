"""What models for search believe."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from worldmodels.core.belief import Belief
from worldmodels.core.errors import ConfigError


@dataclass(frozen=True)
class LatentBelief(Belief):
    """All that MuZero believes."""

    latent: Float[Tensor, "..."]  # (..., *shape)


@dataclass(frozen=True)
class PrefixBelief(LatentBelief):
    """The same, with what it takes to tell how much has been paid so far: see `model.prefix`."""

    hidden: Float[Tensor, "*batch U"]
    cell: Float[Tensor, "*batch U"]
    total: Float[Tensor, "*batch"]  # of rewards since the sum began
    age: Int64[Tensor, "*batch"]  # moments since something was seen
    reward: Float[Tensor, "*batch"]  # on arrival


def demand_axes(shape: tuple[int, ...], axes: int, part: str) -> None:
    """ConfigError unless latents of that shape are what a part of the model takes: vectors (1) or grids (3)."""
    if len(shape) == axes:
        return
    raise ConfigError(
        f"{part} with latents of shape {shape}",
        "latents that are grids (C, h, w)" if axes > 1 else "latents that are vectors (D,)",
        "choose model/representation= and model/dynamics= alike, vector or grid; model/neck=squeeze is for grids alone",
    )
