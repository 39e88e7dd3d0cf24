"""Observations to vectors: one trunk per kind of array, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor, nn
from torch.nn import functional

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Obs
from worldmodels.core.options import Count, Natural, Options
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.nn.conv import ConvEncoder, Nature, Style
from worldmodels.nn.mlp import MLP, Activation, Scheme, make_activation
from worldmodels.nn.norm import NormKind
from worldmodels.ops import bins

Grid = Literal["conv", "mlp"]


def float_shape(spec: ArraySpec) -> tuple[int, ...]:
    """The shape that `to_float` gives one array: (C, H, W) for anything with three axes, else the array's own."""
    if spec.kind == "vector":
        return spec.shape
    height, width, channels = spec.shape
    return (sum(spec.classes) if spec.kind == "symbols" else channels, height, width)


def to_float(spec: ArraySpec, array: Shaped[Tensor, "*N"]) -> Float32[Tensor, "*M"]:
    """An array (..., *spec.shape) as networks take it: (..., *float_shape(spec)) in float32.

    Images in [0, 1], planes as zeros and ones, symbols one-hot; channels come first. The result may be a view whose
    memory is still channels last, which convolutions like.
    """
    if spec.kind == "vector":
        return array.float()
    if spec.kind == "symbols":
        parts = [functional.one_hot(array[..., c].long(), n) for c, n in enumerate(spec.classes)]
        array = torch.cat(parts, -1)
    picture = array.float()
    if spec.kind == "image" and spec.dtype == "uint8":
        picture = picture.div_(255) if picture is not array else picture / 255
    return picture.movedim(-1, -3)


def slot(name: str) -> str:
    """What the module of an observation is called: as it is, unless torch has no room for that name, such as `type`."""
    taken = "." in name or hasattr(nn.ModuleDict(), name)
    return f"obs_{name.replace('.', '_')}" if taken else name


def to_tensors(obs: Obs, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Arrays as tensors; on the CPU they share memory, so use them before the env writes its next step."""
    return {name: torch.from_numpy(array).to(device) for name, array in obs.items()}


@dataclass(frozen=True)
class Inputs:
    """What is done to numbers before the first layer."""

    symlog: bool = True  # of vectors
    centre: bool = False  # pixels in [-0.5, 0.5] instead of [0, 1]


class Encoder(nn.Module):
    """Observations (..., *shape) of all names to one vector (..., size), in the order of `spec.obs`.

    Images and grids go through convolutions of `depth` channels and more, or, with grid="mlp", grids through `layers`
    layers of `units`; vectors always through those. `out` > 0 adds a linear layer of that size, on grids with an
    activation (pydreamer's `dense` and `vecobs`). style="nature" is the network of DQN for 84 x 84 greys.
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        depth: Count = 16,
        units: Count = 256,
        layers: Natural = 1,
        out: Natural = 0,
        grid: Grid = "conv",
        style: Style | Literal["nature"] = "auto",
        multipliers: Sequence[Count] = (),
        inputs: Annotated[Mapping[str, Any] | None, Options(Inputs)] = None,
        norm: NormKind = "rms",
        activation: Activation = "silu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        if grid not in ("conv", "mlp"):
            raise ConfigError(f"grid={grid!r}", "conv or mlp", "choose one of them")
        self.arrays = dict(spec.obs)
        self.inputs = Inputs(**(inputs or {}))
        self.trunks = nn.ModuleDict()
        for name, array in self.arrays.items():
            shape = float_shape(array)
            if array.kind == "vector" or (grid == "mlp" and array.kind != "image"):
                size = int(torch.Size(shape).numel())
                trunk = MLP(size, units, layers, out or None, norm=norm, activation=activation, init=init)
                if out and array.kind != "vector":
                    trunk.append(make_activation(activation))
                self.trunks[slot(name)] = trunk
            elif style == "nature":
                self.trunks[slot(name)] = Nature(shape, init=init)
            else:
                self.trunks[slot(name)] = ConvEncoder(
                    shape, depth, style=style, multipliers=multipliers, norm=norm, activation=activation, init=init
                )
        self.size = sum(int(trunk.size) for trunk in self.trunks.values())  # pyright: ignore[reportArgumentType]

    def forward(self, obs: Mapping[str, Shaped[Tensor, "*_"]]) -> Float[Tensor, "*N size"]:
        parts = [self._one(name, array, obs[name]) for name, array in self.arrays.items()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _one(self, name: str, spec: ArraySpec, array: Tensor) -> Tensor:
        x = to_float(spec, array)
        if spec.kind == "vector" and self.inputs.symlog:
            x = bins.symlog(x)
        if spec.kind == "image" and self.inputs.centre:
            x = x - 0.5
        trunk = self.trunks[slot(name)]
        if isinstance(trunk, MLP):
            x = x.flatten(x.dim() - len(float_shape(spec))) if float_shape(spec) else x.unsqueeze(-1)
        return trunk(x)
