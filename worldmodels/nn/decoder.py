"""From features back to observations, by the kind of each array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Natural, Options
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.nn.conv import Style
from worldmodels.nn.deconv import ConvDecoder
from worldmodels.nn.encoder import float_shape, slot
from worldmodels.nn.likelihood import Likelihood, loss, mean
from worldmodels.nn.mlp import MLP, Manner


class Decoder(nn.Module):
    """One head per observation. `means` and `losses` speak in the layout at rest: (h, w, C), colours in [0, 1].

    Features begin with `deter` numbers of deterministic state, which with blocks > 0 enter pictures by a block-diagonal
    layer, the rest by a small network (DreamerV3); with blocks = 0 one layer takes them all (DreamerV2).
    """

    def __init__(
        self,
        spec: EnvSpec,
        size_in: int,
        *,
        deter: int = 0,
        units: Count = 256,
        layers: Natural = 1,
        depth: Count = 16,
        grid: Literal["conv", "mlp"] = "conv",
        style: Style = "auto",
        multipliers: Sequence[Count] = (),
        blocks: Natural = 0,
        likelihood: Annotated[Mapping[str, Any] | None, Options(Likelihood)] = None,
        manner: Manner | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.likelihood = spec, Likelihood(**(likelihood or {}))
        if grid not in ("conv", "mlp"):
            raise ConfigError(f"grid={grid!r}", "conv or mlp", "choose one of them")
        dress: dict[str, Any] = vars(manner or Manner())
        self.heads = nn.ModuleDict()
        for name, array in spec.obs.items():
            shape = float_shape(array)
            if array.kind == "image" or (array.kind != "vector" and grid == "conv"):
                start = {"deter": deter, "units": units, "blocks": blocks}
                self.heads[slot(name)] = ConvDecoder(
                    size_in, shape, depth, style=style, multipliers=multipliers, **start, **dress
                )
            else:
                self.heads[slot(name)] = MLP(size_in, units, layers, int(torch.Size(shape).numel()), **dress)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> dict[str, Float[Tensor, "*batch ..."]]:
        """Parameters of each observation's distribution, (..., h, w, C) or (..., *shape)."""
        return {name: self._shaped(array, self.heads[slot(name)](feature)) for name, array in self.spec.obs.items()}

    def losses(
        self, parameters: Mapping[str, Tensor], obs: Mapping[str, Shaped[Tensor, "*batch ..."]]
    ) -> dict[str, Tensor]:
        """How surprising the observations are, (...) each; for squared errors up to a constant."""
        arrays, how = self.spec.obs, self.likelihood
        return {name: loss(arrays[name], value, obs[name], how) for name, value in parameters.items()}

    def means(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: mean(self.spec.obs[name], value, self.likelihood) for name, value in parameters.items()}

    @staticmethod
    def _shaped(array: ArraySpec, value: Tensor) -> Tensor:
        if array.kind == "vector":
            return value.unflatten(-1, array.shape) if array.shape else value.squeeze(-1)
        shape = float_shape(array)
        if value.shape[-3:] == shape:
            return value.movedim(-3, -1)
        return value.unflatten(-1, (*shape[1:], shape[0]))
