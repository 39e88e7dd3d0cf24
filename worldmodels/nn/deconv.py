"""From a vector up to a picture, in the styles of `nn.conv` and through the same sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.errors import SpecError
from worldmodels.nn.conv import ConvPlan, Style, between, plan
from worldmodels.nn.mlp import MLP, Activation, Scheme, init_weights
from worldmodels.nn.norm import NormKind
from worldmodels.nn.recurrent import BlockLinear

_UP = {64: (5, 5, 6, 6), 10: (2, 3, 4, 4)}  # kernels of `valid` from one pixel up to this side


class ConvDecoder(nn.Module):
    """Vector (..., size_in) to the means or logits of a picture (..., C, H, W); mirrors `ConvEncoder`.

    With blocks > 0 the first `deter` numbers of the vector enter by a block-diagonal layer, see `BlockStart`.
    """

    def __init__(
        self,
        size_in: int,
        shape: Sequence[int],
        depth: int,
        *,
        style: Style = "auto",
        multipliers: Sequence[int] = (),
        deter: int = 0,
        units: int = 0,
        blocks: int = 0,
        norm: NormKind = "rms",
        activation: Activation = "silu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        self.plan = plan(shape, depth, style, multipliers)
        self.shape = tuple(shape)
        layers = _climb(self.plan, norm, activation)
        if blocks:
            self.start = BlockStart(deter, size_in - deter, self.plan.bottom, units, blocks, norm, activation)
        else:
            self.start = nn.Linear(size_in, self.plan.size)
        self.net = nn.Sequential(*layers)
        init_weights(self, init)

    def forward(self, feature: Float[Tensor, "*N size_in"]) -> Float[Tensor, "*N C H W"]:
        bottom = self.start(feature.reshape(-1, feature.shape[-1]))
        shape = (self.plan.size, 1, 1) if self.plan.style == "valid" else self.plan.bottom
        return self.net(bottom.reshape(-1, *shape)).reshape(*feature.shape[:-1], *self.shape)


class BlockStart(nn.Module):
    """The bottom of a picture as the sum of what state and latents say of it, (N, C h w).

    The state enters by a block-diagonal layer, each block of it giving its share of the channels, the latents by two.
    Hafner et al. (2024), in the code: `bspace`.
    """

    def __init__(
        self,
        deter: int,
        latent: int,
        bottom: tuple[int, int, int],
        units: int,
        blocks: int,
        norm: NormKind,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.deter, size = deter, math.prod(bottom)
        self.state = BlockLinear(deter, size, blocks)
        self.latent = MLP(latent, 2 * units, 1, size, norm=norm, activation=activation)

    def forward(self, feature: Float[Tensor, "N F"]) -> Float[Tensor, "N size"]:
        return self.state(feature[:, : self.deter]) + self.latent(feature[:, self.deter :])


def _climb(plan: ConvPlan, norm: NormKind, activation: Activation) -> list[nn.Module]:
    """All stages from the bottom to the picture."""
    channels, sides = plan.channels[::-1], plan.sides[::-1]
    layers: list[nn.Module] = []
    if plan.style == "valid":
        widths = (plan.size, *channels[1:])
        for (before, after), kernel in zip(pairwise(widths), _kernels(plan), strict=True):
            layers += between(plan, before, norm, activation) if layers else []
            kind = nn.ConvTranspose2d if layers else FromPixel
            layers.append(kind(before, after, kernel, 1 if plan.small else 2))
        return layers
    for (before, after), (_, side) in zip(pairwise(channels), pairwise(sides), strict=True):
        layers += [*between(plan, before, norm, activation), *_up(plan.style, before, after, side)]
    return layers


def _up(style: str, before: int, after: int, side: tuple[int, int]) -> list[nn.Module]:
    """One stage up to pictures of that height and width."""
    if style == "pool":
        return [GrownConv(before, after, side)]
    if style == "stride":
        odd = (side[0] % 2, side[1] % 2)
        return [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, output_padding=odd)]
    return [nn.ConvTranspose2d(before, after, 3)]


class FromPixel(nn.ConvTranspose2d):
    """A transposed convolution of a single pixel, computed as the linear map that it is: ten times as fast on a CPU."""

    def forward(
        self,
        input: Float[Tensor, "N C 1 1"],  # noqa: A002 (as in torch)
        output_size: list[int] | None = None,  # noqa: ARG002 (there is no choice)
    ) -> Float[Tensor, "N O _H _W"]:
        height, width = self.weight.shape[-2:]
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)  # channels last, as the next convolution likes them
        bias = None if self.bias is None else self.bias.repeat(height * width)
        grown = nn.functional.linear(input.flatten(1), weight, bias)
        return grown.unflatten(-1, (height, width, -1)).movedim(-1, 1)


class GrownConv(nn.Conv2d):
    """A picture grown to `side` by repeating pixels, and then a convolution with kernel 5 (DreamerV3).

    Where the side doubles, a repeated pixel is looked at by several weights, so that each of the four pixels which one
    becomes needs a kernel of 3 on the small picture: 36 products for 100, and nothing is repeated in memory.
    """

    taps: Tensor  # (2, 3, 5): which weights meet the left, own and right neighbour of a small pixel, for its two halves

    def __init__(self, before: int, after: int, side: tuple[int, int]) -> None:
        super().__init__(before, after, 5, padding=2)
        self.side = side
        taps = torch.zeros(2, 3, 5)
        for odd in range(2):
            for k in range(5):
                taps[odd, (odd + k) // 2, k] = 1.0
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, input: Float[Tensor, "N C _h _w"]) -> Float[Tensor, "N O _H _W"]:  # noqa: A002 (as in torch)
        if self.side != (2 * input.shape[-2], 2 * input.shape[-1]):
            return super().forward(nn.functional.interpolate(input, self.side))
        taps, rows = self.taps.to(self.weight.dtype), 4 * self.out_channels
        weight = torch.einsum("apr,oirs,bqs->aboipq", taps, self.weight, taps).reshape(rows, -1, 3, 3)
        bias = None if self.bias is None else self.bias.repeat(4)
        four = nn.functional.conv2d(input, weight, bias, padding=1).movedim(1, -1)  # (N, h, w, 4 O)
        four = four.unflatten(-1, (2, 2, -1)).transpose(2, 3)  # (N, h, 2, w, 2, O)
        return four.flatten(3, 4).flatten(1, 2).movedim(-1, 1)


def _kernels(plan: ConvPlan) -> list[tuple[int, int]]:
    """Of `valid`'s way up, from one pixel to the picture."""
    stages = len(plan.channels) - 1
    each = [_kernel(side, stages, plan.small) for side in plan.sides[0]]
    return list(zip(*each, strict=True))


def _kernel(side: int, stages: int, small: bool) -> tuple[int, ...]:
    known = _UP.get(side, ())
    if len(known) == stages:
        return known
    if not small:
        raise SpecError(
            f"a picture with a side of {side} pixels and {stages} stages for a decoder of style valid",
            "64 pixels and 4 stages, the only ones that DreamerV2's kernels reach",
            "resize the picture to 64 x 64, or set model.encoder.style=pool",
        )
    even, more = divmod(side - 1, stages)
    return tuple(1 + even + (i >= stages - more) for i in range(stages))
