"""Convolutions down from a picture to a vector; the way up again is in `nn.deconv`.

Pictures are channels first, (..., C, H, W), with any leading dimensions. Four styles: `pool` (DreamerV3: kernel 5,
then halved by max-pooling; up by repeating pixels), `stride` (kernel 4, stride 2, padding 1), `grid` (kernel 3, stride
1, no padding, for small grids such as MinAtar's 10 x 10), all for any size: half of an odd side is rounded up by `pool`
and down by `stride`, without a pixel left out, and the way up goes through the same sides. `valid` is DreamerV2's: no
padding and no norm, the way up begins at a single pixel. As in pydreamer, pictures of 64 pixels take its `cnn` (kernel
4, stride 2; up with 5, 5, 6, 6), grids of less than 32 the `cnn_minatar` of its port to MinAtar (kernel 3, stride 1).
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

Style = Literal["auto", "pool", "stride", "grid", "valid"]

_MULTIPLIERS = {"pool": (2, 3, 4, 4), "stride": (1, 2, 4, 8), "grid": (1, 2), "valid": (1, 2, 4, 8)}
_SMALLEST = 4  # images are halved down to 4 x 4
_SMALL = 32  # below, a picture is a grid


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

    @property
    def small(self) -> bool:
        return min(self.sides[0]) < _SMALL


def plan(shape: Sequence[int], depth: int, style: Style = "auto", multipliers: Sequence[int] = ()) -> ConvPlan:
    """Stages for pictures of `shape` (C, H, W), with `depth` times `multipliers` channels.

    `auto` takes `grid` below 32 pixels and `pool` above. Without multipliers, images go down to about 4 x 4.
    """
    channels, height, width = shape
    style = ("grid" if min(height, width) < _SMALL else "pool") if style == "auto" else style
    if style not in _MULTIPLIERS:
        raise ConfigError(f"conv style {style!r}", "auto, pool, stride, grid or valid", "choose one of them")
    multipliers = tuple(multipliers) or _default(style, min(height, width))
    sides = [(height, width)]
    for _ in multipliers:
        high, wide = sides[-1]
        sides.append((_below(style, height, high), _below(style, width, wide)))
    if min(sides[-1]) < 1:
        raise SpecError(
            f"a picture of {height} x {width}, too small for {len(multipliers)} stages of style {style}",
            "at least one pixel at the bottom",
            "give fewer multipliers, or set model.encoder.style=pool (+stage.net.encoder.style=pool of DQN and PPO)",
        )
    return ConvPlan(style, (channels, *[depth * m for m in multipliers]), tuple(sides))


def _below(style: str, whole: int, side: int) -> int:
    if style == "grid" or (style == "valid" and whole < _SMALL):
        return side - 2
    if style == "valid":
        return (side - 4) // 2 + 1
    return (side + 1) // 2 if style == "pool" else side // 2


def _default(style: str, side: int) -> tuple[int, ...]:
    multipliers = _MULTIPLIERS[style]
    if style == "valid" and side >= _SMALL:
        return multipliers
    if style in ("grid", "valid"):
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
            layers += _down(self.plan, before, after)
            layers += between(self.plan, after, norm, activation)
        self.net = nn.Sequential(*layers)
        self.size = self.plan.size
        init_weights(self.net, init, 2**0.5 if init == "orthogonal" else 1.0)

    def forward(self, picture: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N size"]:
        leading = picture.shape[:-3]
        return self.net(picture.reshape(-1, *picture.shape[-3:])).reshape(*leading, self.size)


def between(plan: ConvPlan, channels: int, norm: NormKind, activation: Activation) -> list[nn.Module]:
    normed = [] if plan.style == "valid" else [make_norm(norm, channels, axis=-3)]
    return [*normed, make_activation(activation)]


def _down(plan: ConvPlan, before: int, after: int) -> list[nn.Module]:
    if plan.style == "pool":
        return [nn.Conv2d(before, after, 5, padding=2), nn.MaxPool2d(2, ceil_mode=True)]
    if plan.style == "stride":
        return [nn.Conv2d(before, after, 4, stride=2, padding=1)]
    if plan.style == "valid" and not plan.small:
        return [nn.Conv2d(before, after, 4, stride=2)]
    return [nn.Conv2d(before, after, 3)]


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
