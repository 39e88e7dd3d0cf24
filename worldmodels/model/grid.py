"""Parts of a latent model whose latents are grids of features, (C, h, w), as MuZero's are.

Layers come as convolution, ReLU, norm; 3 x 3 convolutions see reflections beyond the edge. norm=layer is over all
numbers of a grid (one group of GroupNorm), scaled by channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Natural
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.model.latent import demand_axes
from worldmodels.nn.encoder import float_shape, to_float
from worldmodels.nn.mlp import Activation, Scheme, init_weights, make_activation
from worldmodels.nn.norm import NormKind, make_norm

SMALL = 32  # pixels; below, a picture is a grid as it stands


def grid_norm(kind: NormKind, channels: int) -> nn.Module:
    return nn.GroupNorm(1, channels) if kind == "layer" else make_norm(kind, channels, axis=-3)


def conv(before: int, after: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride=stride, padding=1, padding_mode="reflect")


class Residual(nn.Module):
    """Convolution, ReLU, norm, convolution, norm; what comes of that is added, and passes a ReLU."""

    def __init__(self, channels: int, norm: NormKind, activation: Activation) -> None:
        super().__init__()
        first = (conv(channels, channels), make_activation(activation), grid_norm(norm, channels))
        self.net = nn.Sequential(*first, conv(channels, channels), grid_norm(norm, channels))
        self.activation = make_activation(activation)

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        return self.activation(x + self.net(x))


class GridRepresentation(nn.Module):
    """One picture to a grid of `channels`.

    Pictures of 32 pixels and more are halved four times, twice by strides and twice by averages, with `blocks` residual
    blocks in between, the first of them at half the channels: 96 pixels come to 6. Smaller ones, such as MinAtar's,
    keep their sides, and have as many blocks in all.
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        channels: Count = 256,
        blocks: Sequence[Natural] = (2, 3, 3),
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        self.name, self.array = only_picture(spec)
        planes, height, width = float_shape(self.array)

        def into(before: int, after: int, stride: int) -> list[nn.Module]:
            return [conv(before, after, stride=stride), make_activation(activation), grid_norm(norm, after)]

        def deep(count: int, width: int) -> list[nn.Module]:
            return [Residual(width, norm, activation) for _ in range(count)]

        if min(height, width) < SMALL:
            layers = [*into(planes, channels, 1), *deep(sum(blocks), channels)]
            sides = (height, width)
        else:
            if len(blocks) != 3:
                found = f"blocks={list(blocks)} for a picture of {height} x {width}"
                raise ConfigError(found, "three numbers", "set model.representation.blocks=[2,3,3]")
            first, second, third = blocks
            layers = [*into(planes, channels // 2, 2), *deep(first, channels // 2)]
            layers += [*into(channels // 2, channels, 2), *deep(second, channels)]
            layers += [nn.AvgPool2d(2), *deep(third, channels), nn.AvgPool2d(2)]
            sides = (quarter(height) // 4, quarter(width) // 4)
        self.net = nn.Sequential(*layers)
        self.shape = (channels, *sides)
        init_weights(self.net, init)

    def forward(self, obs: Mapping[str, Tensor]) -> Float[Tensor, "*batch C h w"]:
        picture = to_float(self.array, obs[self.name])
        found = self.net(picture.reshape(-1, *picture.shape[-3:]))
        return found.reshape(*picture.shape[:-3], *self.shape)


class FiLM(nn.Module):
    """A residual block of what an action's embedding scales and shifts, channel by channel. Perez et al. (2018)."""

    def __init__(self, channels: int, embedding: int, norm: NormKind, activation: Activation) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, affine=False) if norm != "none" else nn.Identity()
        self.read = nn.Linear(embedding, 2 * channels)
        self.block = Residual(channels, norm, activation)

    def forward(self, x: Float[Tensor, "N C h w"], embedded: Float[Tensor, "N E"]) -> Float[Tensor, "N C h w"]:
        scale, shift = self.read(embedded)[..., None, None].chunk(2, 1)
        return self.block(self.norm(x) * (1 + scale) + shift)


class GridDynamics(nn.Module):
    """The latent and a plane for each action, a convolution back to the latent's channels, and residual blocks.

    With `film` there are no planes: an embedding of the action scales and shifts what every block reads.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        actions: int,
        *,
        blocks: Natural = 16,
        film: bool = False,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        demand_axes(shape, 3, "model/dynamics=grid")
        channels = shape[0]
        before = channels if film else channels + actions
        self.enter = nn.Sequential(conv(before, channels), make_activation(activation), grid_norm(norm, channels))
        self.embed = nn.Linear(actions, actions, bias=False) if film else None
        self.blocks = nn.ModuleList(
            FiLM(channels, actions, norm, activation) if film else Residual(channels, norm, activation)
            for _ in range(blocks)
        )
        self.leave = nn.Sequential(conv(channels, channels), make_activation(activation))
        self.shape = shape
        init_weights(self, init)

    def forward(
        self, latent: Float[Tensor, "*batch C h w"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch C h w"]:
        rows, action = latent.reshape(-1, *self.shape), action.reshape(-1, action.shape[-1]).to(latent.dtype)
        if self.embed is None:
            planes = action[..., None, None].expand(*action.shape, *self.shape[1:])
            x = self.enter(torch.cat([rows, planes], 1))
            for block in self.blocks:
                x = block(x)
        else:
            x, embedded = self.enter(rows), self.embed(action)
            for block in self.blocks:
                x = block(x, embedded)
        return self.leave(x).reshape(latent.shape)


class Squeeze(nn.Module):
    """A grid through a 1 x 1 convolution to `channels`, ReLU, norm, in a row: what a head reads."""

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        channels: Count = 1,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        demand_axes(shape, 3, "model/neck=squeeze")
        depth, height, width = shape
        self.net = nn.Sequential(nn.Conv2d(depth, channels, 1), make_activation(activation), grid_norm(norm, channels))
        self.size = channels * height * width
        init_weights(self.net, init)

    def forward(self, latent: Float[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch F"]:
        return self.net(latent.reshape(-1, *latent.shape[-3:])).reshape(*latent.shape[:-3], self.size)


def only_picture(spec: EnvSpec) -> tuple[str, ArraySpec]:
    """Name and array of the one picture that a world shows. ConfigError if it shows other things."""
    (name, array), *more = spec.obs.items()
    if more or len(array.shape) != 3:
        raise ConfigError(
            f"{spec.name} shows {', '.join(spec.obs)}", "one picture for latents that are grids", "take model=muzero"
        )
    return name, array


def quarter(side: int) -> int:
    """Of a side after two strides of 2, each rounded up."""
    return ((side + 1) // 2 + 1) // 2
