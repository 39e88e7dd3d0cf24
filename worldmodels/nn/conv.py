"""Convolutions down from a picture to a vector, and up again.

Pictures are channels first, (..., C, H, W), with any leading dimensions. Three styles: `pool` (DreamerV3: kernel 5,
then halved by max-pooling; up by repeating pixels), `stride` (kernel 4, stride 2, padding 1, after DreamerV2) and
`grid` (kernel 3, stride 1, no padding, for small grids such as MinAtar's 10 x 10). Any size will do: half of an odd
side is rounded up by `pool` and down by `stride`, without a pixel left out, and the way up goes through the same sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.nn.mlp import Activation, Scheme, init_weights, make_activation
from worldmodels.nn.norm import NormKind, make_norm

Style = Literal["auto", "pool", "stride", "grid"]

_MULTIPLIERS = {"pool": (2, 3, 4, 4), "stride": (1, 2, 4, 8), "grid": (1, 2)}
_SMALLEST = 4  # images are halved down to 4 x 4


@dataclass(frozen=True)
class ConvPlan:
    """The stages of a picture's way down: channels and sides after each, from the picture itself to the last."""

    style: str
    channels: tuple[int, ...]
    sides: tuple[tuple[int, int], ...]

    @property
    def bottom(self) -> tuple[int, int, int]:
        """Channels, height and width of the smallest map."""
        return (self.channels[-1], *self.sides[-1])

    @property
    def size(self) -> int:
        channels, height, width = self.bottom
        return channels * height * width


def plan(shape: Sequence[int], depth: int, style: Style = "auto", multipliers: Sequence[int] = ()) -> ConvPlan:
    """Stages for pictures of `shape` (C, H, W), with `depth` times `multipliers` channels.

    `auto` takes `grid` below 32 pixels and `pool` above. Without multipliers, images go down to about 4 x 4.
    """
    channels, height, width = shape
    style = ("grid" if min(height, width) < 32 else "pool") if style == "auto" else style
    if style not in _MULTIPLIERS:
        raise ConfigError(f"conv style {style!r}", "auto, pool, stride or grid", "choose one of them")
    multipliers = tuple(multipliers) or _default(style, min(height, width))
    sides = [(height, width)]
    for _ in multipliers:
        high, wide = sides[-1]
        if style == "grid":
            sides.append((high - 2, wide - 2))
        elif style == "pool":
            sides.append(((high + 1) // 2, (wide + 1) // 2))
        else:
            sides.append((high // 2, wide // 2))
    if min(sides[-1]) < 1:
        raise SpecError(
            f"a picture of {height} x {width}, too small for {len(multipliers)} stages of style {style}",
            "at least one pixel at the bottom",
            "give fewer multipliers, or take style=pool",
        )
    return ConvPlan(style, (channels, *[depth * m for m in multipliers]), tuple(sides))


def _default(style: str, side: int) -> tuple[int, ...]:
    multipliers = _MULTIPLIERS[style]
    if style == "grid":
        return multipliers[: max(1, (side - 1) // 2)]
    stages = 0
    while side >> (stages + 1) >= _SMALLEST:
        stages += 1
    return tuple(multipliers[min(i, len(multipliers) - 1)] for i in range(max(stages, 1)))


class ConvEncoder(nn.Module):
    """Picture (..., C, H, W) to vector (..., size); shape: (C, H, W)."""

    def __init__(
        self,
        shape: Sequence[int],
        depth: int,
        *,
        style: Style = "auto",
        multipliers: Sequence[int] = (),
        norm: NormKind = "rms",
        activation: Activation = "silu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        self.plan = plan(shape, depth, style, multipliers)
        layers: list[nn.Module] = []
        for before, after in pairwise(self.plan.channels):
            layers += _down(self.plan.style, before, after)
            layers += [make_norm(norm, after, axis=-3), make_activation(activation)]
        self.net = nn.Sequential(*layers)
        self.size = self.plan.size
        init_weights(self.net, init, 2**0.5 if init == "orthogonal" else 1.0)

    def forward(self, picture: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N size"]:
        leading = picture.shape[:-3]
        return self.net(picture.reshape(-1, *picture.shape[-3:])).reshape(*leading, self.size)


class ConvDecoder(nn.Module):
    """Vector (..., size_in) to the means or logits of a picture (..., C, H, W); mirrors `ConvEncoder`."""

    def __init__(
        self,
        size_in: int,
        shape: Sequence[int],
        depth: int,
        *,
        style: Style = "auto",
        multipliers: Sequence[int] = (),
        norm: NormKind = "rms",
        activation: Activation = "silu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        self.plan = plan(shape, depth, style, multipliers)
        self.shape = tuple(shape)
        channels, sides = self.plan.channels[::-1], self.plan.sides[::-1]
        self.start = nn.Linear(size_in, self.plan.size)
        layers: list[nn.Module] = []
        for (before, after), (_, side) in zip(pairwise(channels), pairwise(sides), strict=True):
            layers += [make_norm(norm, before, axis=-3), make_activation(activation)]
            layers += _up(self.plan.style, before, after, side)
        self.net = nn.Sequential(*layers)
        init_weights(self, init)

    def forward(self, feature: Float[Tensor, "*N size_in"]) -> Float[Tensor, "*N C H W"]:
        bottom = self.start(feature.reshape(-1, feature.shape[-1])).reshape(-1, *self.plan.bottom)
        return self.net(bottom).reshape(*feature.shape[:-1], *self.shape)


def _down(style: str, before: int, after: int) -> list[nn.Module]:
    if style == "pool":
        return [nn.Conv2d(before, after, 5, padding=2), nn.MaxPool2d(2, ceil_mode=True)]
    if style == "stride":
        return [nn.Conv2d(before, after, 4, stride=2, padding=1)]
    return [nn.Conv2d(before, after, 3)]


def _up(style: str, before: int, after: int, side: tuple[int, int]) -> list[nn.Module]:
    """One stage up to pictures of that height and width."""
    if style == "pool":
        return [nn.Upsample(size=side, mode="nearest"), nn.Conv2d(before, after, 5, padding=2)]
    if style == "stride":
        odd = (side[0] % 2, side[1] % 2)
        return [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, output_padding=odd)]
    return [nn.ConvTranspose2d(before, after, 3)]


class Nature(nn.Module):
    """The convolutions of Mnih et al. (2015) for stacked 84 x 84 greys: (..., C, H, W) to (..., size)."""

    def __init__(self, shape: Sequence[int], *, init: Scheme = "torch") -> None:
        super().__init__()
        channels, height, width = shape
        sides = []
        for side in (height, width):
            for kernel, stride in ((8, 4), (4, 2), (3, 1)):
                side = (side - kernel) // stride + 1
            sides.append(side)
        if min(sides) < 1:
            raise SpecError(
                f"a picture of {height} x {width}", "at least 36 x 36 pixels, 84 x 84 as published", "resize it"
            )
        self.net = nn.Sequential(
            *(nn.Conv2d(channels, 32, 8, stride=4), nn.ReLU()),
            *(nn.Conv2d(32, 64, 4, stride=2), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3, stride=1), nn.ReLU()),
        )
        init_weights(self.net, init, 2**0.5 if init == "orthogonal" else 1.0)
        self.size = 64 * sides[0] * sides[1]

    def forward(self, picture: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N size"]:
        leading = picture.shape[:-3]
        return self.net(picture.reshape(-1, *picture.shape[-3:])).reshape(*leading, self.size)
