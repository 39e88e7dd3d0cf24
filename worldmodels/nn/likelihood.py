"""What a decoder's numbers say of an observation: how surprising it is, and what to expect.

Values come in the layout at rest, (..., h, w, C) or (..., *shape), and are compared in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from worldmodels.core.spec import ArraySpec
from worldmodels.ops.bins import symexp, symlog


@dataclass(frozen=True)
class Likelihood:
    """How observations of each kind are scored, in sums over their axes.

    `normal` is half the squared error, so a normal with deviation 1 without its constant: of pixels in [-0.5, 0.5], of
    planes as zeros and ones, of symbols one-hot, of vectors as they are; all as in DreamerV2 and pydreamer. The others
    are those of DreamerV3, Hafner et al. (2024), "World model learning": `squared` the whole squared error of colours
    in [0, 1] behind a sigmoid; `bernoulli` per cell of a plane (after kenjyoung/dreamerv2_JAX's MinAtar); `categorical`
    per channel of a cell; `symlog` the squared error of symlog values.
    """

    image: Literal["squared", "normal"] = "squared"
    planes: Literal["bernoulli", "normal"] = "bernoulli"
    symbols: Literal["categorical", "normal"] = "categorical"
    vector: Literal["symlog", "normal"] = "symlog"

    def of(self, array: ArraySpec) -> str:
        return getattr(self, array.kind)


DREAMER = Likelihood()


def loss(
    array: ArraySpec, value: Float[Tensor, "..."], obs: Shaped[Tensor, "..."], likelihood: Likelihood = DREAMER
) -> Float[Tensor, "..."]:
    """Negative log-likelihood of one observation; of squared errors up to a constant."""
    value, how = value.float(), likelihood.of(array)
    axes = tuple(range(-len(array.shape), 0))
    if how == "bernoulli":
        each = F.binary_cross_entropy_with_logits(value, obs.to(value.dtype), reduction="none")
    elif how == "categorical":
        each = torch.cat(
            [
                -logits.log_softmax(-1).gather(-1, obs[..., c : c + 1].long())
                for c, logits in enumerate(value.split(array.classes, -1))
            ],
            -1,
        )
    elif how == "squared":
        return _squares(torch.sub(torch.sigmoid(value), obs, alpha=1 / 255), axes)
    elif how == "symlog":
        return _squares(value - symlog(obs.to(value.dtype)), axes)
    elif array.kind == "image":
        return _squares(torch.sub(value, obs, alpha=1 / 255).add_(0.5), axes) / 2
    else:
        return _squares(value - _wanted(array, obs), axes) / 2
    return each.sum(axes) if axes else each


def _squares(miss: Float32[Tensor, "..."], axes: tuple[int, ...]) -> Float32[Tensor, "..."]:
    return _Squares.apply(miss.flatten(-len(axes)) if axes else miss.unsqueeze(-1))


class _Squares(torch.autograd.Function):
    """The sum of squares over the last axis, in one pass over memory, and one back: pictures are large."""

    @staticmethod
    def forward(ctx: Any, miss: Float32[Tensor, "*N K"]) -> Float32[Tensor, "*N"]:
        ctx.save_for_backward(miss)
        return torch.linalg.vector_norm(miss, dim=-1).square_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.saved_tensors[0] * (2 * grad).unsqueeze(-1)


def _wanted(array: ArraySpec, obs: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
    if array.kind == "symbols":
        parts = [F.one_hot(obs[..., c].long(), n) for c, n in enumerate(array.classes)]
        return torch.cat(parts, -1).float()
    return obs.float()


def mean(array: ArraySpec, value: Float[Tensor, "..."], likelihood: Likelihood = DREAMER) -> Shaped[Tensor, "..."]:
    """The expected observation: colours and planes in [0, 1], the likeliest symbol, vectors in their own units."""
    value, how = value.float(), likelihood.of(array)
    if array.kind == "symbols":
        return torch.stack([logits.argmax(-1) for logits in value.split(array.classes, -1)], -1)
    if array.kind == "vector":
        return symexp(value) if how == "symlog" else value
    if how == "normal":
        return (value + 0.5 if array.kind == "image" else value).clamp(0, 1)
    return torch.sigmoid(value)
